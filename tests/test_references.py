from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from schedcore.errors import ReferenceLookupError, TransientJobError
from schedcore.references import (
    UnnameableCallableError,
    callable_name,
    is_coroutine_callable,
    ref_of,
    resolve,
    unbind,
)
from tests.same_everywhere.neighbour import slowness

SOURCE = """
import functools

def plain(a, b=1): pass
async def coroutine(): pass
def replaced(): pass
old_replaced = replaced
def replaced(): pass
renamed = plain
del globals()["plain"]
def plain(a, b=1): pass
def outer():
    def inner(): pass
    class Local:
        def method(self): pass
    return inner, Local
inner, Local = outer()
class LocalChild(Local): pass
anonymous = lambda: None
part = functools.partial(plain, 1)
cached = functools.lru_cache(plain)

class Base:
    def method(self): pass
    @classmethod
    def make(cls): pass
    @staticmethod
    def static(): pass
    def __private(self): pass
    def private(self): return self.__private
    def __call__(self): pass
    class Nested:
        def method(self): pass

class Child(Base):
    @property
    def broken(self): pass

class Broken:
    class Meta(type):
        @property
        def bad(cls): raise RuntimeError("no")
    class Thing(metaclass=Meta): pass
"""


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "ref_sample.py").write_text(SOURCE)
    package = tmp_path / "ref_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "needy.py").write_text("import ref_not_installed")
    (package / "syntax.py").write_text("def (")
    (package / "fails.py").write_text("raise RuntimeError('on fire')")
    (package / "script.py").write_text("import sys; sys.exit(3)")
    (package / "quits.py").write_text("raise GeneratorExit('enough')")
    (package / "lazy.py").write_text("def __getattr__(name):\n    if name == 'f':\n        raise SystemExit(4)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    yield importlib.import_module("ref_sample")
    for name in [name for name in sys.modules if name.startswith("ref_")]:
        del sys.modules[name]


# --- ref_of and resolve ---


@pytest.mark.parametrize(
    ("expression", "reference"),
    [
        ("plain", "ref_sample:plain"),
        ("coroutine", "ref_sample:coroutine"),
        ("cached", None),
        ("Base", "ref_sample:Base"),
        ("Base.method", "ref_sample:Base.method"),
        ("Base.static", "ref_sample:Base.static"),
        ("Base.make", "ref_sample:Base.make"),
        ("Child.make", "ref_sample:Child.make"),
        ("Child().make", "ref_sample:Child.make"),
        ("Child().static", "ref_sample:Base.static"),
        ("Base.Nested", "ref_sample:Base.Nested"),
        ("Base.Nested.method", "ref_sample:Base.Nested.method"),
    ],
)
def test_a_reference_leads_back_to_its_object(sample: ModuleType, expression: str, reference: str | None) -> None:
    obj = eval(expression, vars(sample))
    if reference is None:
        with pytest.raises(UnnameableCallableError):
            ref_of(obj)
    else:
        assert ref_of(obj) == reference
        assert resolve(reference) == obj


@pytest.mark.parametrize(
    ("expression", "reference"),
    [
        ("Base().method", "ref_sample:Base.method"),
        ("Child().method", "ref_sample:Child.method"),
        ("Base.Nested().method", "ref_sample:Base.Nested.method"),
        ("Child().private()", "ref_sample:Child._Base__private"),
        ("Child().__call__", "ref_sample:Child.__call__"),
    ],
)
def test_a_bound_method_is_named_by_its_class(sample: ModuleType, expression: str, reference: str) -> None:
    method = eval(expression, vars(sample))
    assert ref_of(method) == reference
    function, first = unbind(method)
    assert first == (method.__self__,)
    assert resolve(reference) is function


def test_a_method_of_a_local_class_cannot_be_named(sample: ModuleType) -> None:
    with pytest.raises(UnnameableCallableError, match=r"'Local\.method' is defined inside another function"):
        ref_of(sample.Local().method)
    # A subclass that can be named will do.
    assert ref_of(sample.LocalChild().method) == "ref_sample:LocalChild.method"


def test_a_local_subclass_is_named_by_the_base_that_defines_the_method(sample: ModuleType) -> None:
    local = types.new_class("outer.<locals>.Thing", (sample.Base,))
    local.__qualname__ = "outer.<locals>.Thing"
    local.__module__ = "ref_sample"
    assert ref_of(local().method) == "ref_sample:Base.method"


@pytest.mark.parametrize(
    ("builtin", "reference"),
    [
        (len, "builtins:len"),
        (time.sleep, "time:sleep"),
        (dict.fromkeys, "builtins:dict.fromkeys"),
        (int, "builtins:int"),
        (str.upper, "builtins:str.upper"),
    ],
)
def test_builtins_have_references(builtin: Any, reference: str) -> None:
    assert ref_of(builtin) == reference
    assert resolve(reference) == builtin


def test_a_bound_builtin_method_is_named_by_its_class() -> None:
    items: list[int] = []
    function, first = unbind(items.append)
    assert ref_of(items.append) == "builtins:list.append"
    function(*first, 1)
    assert items == [1]


def test_unbind_leaves_the_rest_alone(sample: ModuleType) -> None:
    for func in (sample.plain, sample.Base, sample.Base.make, sample.Base().static, sample.part, len, dict.fromkeys):
        assert unbind(func) == (func, ())


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("anonymous", "a lambda has no name"),
        ("inner", "'inner' is defined inside another function"),
        ("Local", "'Local' is defined inside another function"),
        ("part", "plain is a partial"),
        ("old_replaced", "'ref_sample:replaced' leads to a different object"),
        ("renamed", "'ref_sample:plain' leads to a different object"),
        ("Base()", "the Base object does not know the name"),
        ("3", "the int object does not know the name"),
        ("None", "the NoneType object does not know the name"),
    ],
)
def test_what_text_cannot_name_is_refused_with_a_hint(sample: ModuleType, expression: str, words: str) -> None:
    with pytest.raises(UnnameableCallableError, match=words) as caught:
        ref_of(eval(expression, vars(sample)))
    error = caught.value
    assert isinstance(error, ValueError)
    assert isinstance(error, ReferenceLookupError)
    assert str(error).endswith('or give it as "package.module:name"')
    # The reason alone makes the sentence of the error that add_job raises.
    assert "package.module:name" not in error.reason
    assert error.reason in str(TransientJobError("j", error.reason))


def test_a_function_that_its_module_no_longer_has_is_refused(sample: ModuleType) -> None:
    func = sample.coroutine
    del sample.coroutine
    with pytest.raises(UnnameableCallableError, match="the module 'ref_sample' has no 'coroutine'"):
        ref_of(func)
    func.__module__ = "ref_elsewhere"
    with pytest.raises(UnnameableCallableError, match="'ref_elsewhere', which is not loaded"):
        ref_of(func)
    func.__module__ = None
    with pytest.raises(UnnameableCallableError, match="not loaded"):
        ref_of(func)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a reference"),
        ("os", "'os' is not a reference: it must read"),
        ("os.path.join", "did you mean 'os.path:join'?"),
        ("os:", "is not a reference"),
        (":join", "is not a reference"),
        ("os:path:join", "is not a reference"),
        ("os..path:join", "is not a reference"),
        ("os:path.", "is not a reference"),
        (".os:path", "is not a reference"),
        ("os: path", "is not a reference"),
        ("os:<lambda>", "is not a reference"),
        ("os:f.<locals>.g", "is not a reference"),
        ("os\x00:path", "is not a reference"),
        ("../os:path", "is not a reference"),
        (None, "not None"),
        (b"os:path", "not b'os:path'"),
        ("os:pahtconf.join", "module 'os' has no attribute 'pahtconf'; did you mean 'pathconf'?"),
        ("os:path.joim", "has no attribute 'joim'; did you mean 'join'?"),
        ("os:zzzzzz", "module 'os' has no attribute 'zzzzzz'$"),
        ("ref_sample:Base.methd", "'Base' has no attribute 'methd'; did you mean 'method'?"),
        ("ref_sample:Broken.Thing.bad", "reading 'bad' raised RuntimeError: no"),
        ("ref_missing:f", "there is no module 'ref_missing'"),
        ("ref_missing.sub:f", "there is no module 'ref_missing'"),
        ("ref_package.missing:f", "there is no module 'ref_package.missing'"),
        ("ref_package.needy:f", "importing 'ref_package.needy' failed, as it needs 'ref_not_installed'"),
        ("ref_package.syntax:f", "importing 'ref_package.syntax' raised SyntaxError"),
        ("ref_package.fails:f", "importing 'ref_package.fails' raised RuntimeError: on fire"),
        ("ref_package.script:f", "importing 'ref_package.script' raised SystemExit: 3"),
        ("ref_package.quits:f", "importing 'ref_package.quits' raised RuntimeError: it raised GeneratorExit: enough"),
        ("ref_package.lazy:f", "reading 'f' raised SystemExit: 4"),
    ],
)
def test_references_that_lead_nowhere(sample: ModuleType, text: Any, words: str) -> None:
    with pytest.raises(ReferenceLookupError, match=words) as caught:
        resolve(text)
    if "module" in words or "raised" in words:
        assert caught.value.__cause__ is not None


def test_resolve_imports_the_module(sample: ModuleType) -> None:
    del sys.modules["ref_sample"]
    assert resolve("ref_sample:Base.method").__module__ == "ref_sample"


# --- names and kinds ---


class Callee:
    def __call__(self) -> None: ...
    def method(self) -> None: ...
    @classmethod
    def make(cls) -> None: ...


class AsyncCallee:
    async def __call__(self) -> None: ...


class ChildCallee(Callee): ...


async def coroutine() -> None: ...


def plain() -> None: ...


@types.coroutine
def generator_coroutine() -> Any:
    yield


@functools.wraps(coroutine)
def sync_wrapper(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (plain, "plain"),
        (Callee, "Callee"),
        (Callee.method, "Callee.method"),
        (Callee().method, "Callee.method"),
        (ChildCallee().method, "ChildCallee.method"),
        (ChildCallee.make, "ChildCallee.make"),
        (Callee(), "Callee"),
        (functools.partial(plain), "plain"),
        (functools.partial(Callee().method), "Callee.method"),
        (functools.partial(Callee()), "Callee"),
        (len, "len"),
        ([].append, "list.append"),
        (str.upper, "str.upper"),
        (functools.lru_cache(plain), "plain"),
        (mock.Mock(), "Mock"),
    ],
)
def test_callable_name(func: Callable[..., Any], name: str) -> None:
    assert callable_name(func) == name


def test_callable_name_of_a_nested_function_tells_where() -> None:
    def inner() -> None: ...

    assert callable_name(inner).endswith("<locals>.inner")


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (plain, False),
        (coroutine, True),
        (functools.partial(coroutine), True),
        (functools.partial(functools.partial(coroutine)), True),
        (functools.partial(plain), False),
        (AsyncCallee(), True),
        (functools.partial(AsyncCallee()), True),
        (AsyncCallee().__call__, True),
        (AsyncCallee, False),
        (Callee(), False),
        (Callee().method, False),
        (generator_coroutine, True),
        (sync_wrapper, False),
        (asyncio.sleep, True),
        (len, False),
        (int, False),
        (mock.AsyncMock(), True),
        (mock.Mock(), False),
        (mock.MagicMock(), False),
    ],
)
def test_is_coroutine_callable(func: Callable[..., Any], expected: bool) -> None:
    assert is_coroutine_callable(func) is expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the mark exists from Python 3.12 on")
def test_a_marked_function_is_a_coroutine_callable() -> None:
    def marked() -> Any: ...

    inspect.markcoroutinefunction(marked)  # type: ignore[attr-defined,unused-ignore]
    assert is_coroutine_callable(marked)


def test_the_core_imports_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys
        import schedcore.references as r, schedcore.signatures as s, schedcore.plugins, schedcore.config
        def f(a, b=1, *, c=2): pass
        class C:
            def __init__(self, a): pass
            def m(self): pass
        s.check_arguments(f, (1,), {"c": 2})
        s.check_arguments(C, (1,), {})
        s.check_arguments(C(1).m, (), {})
        r.is_coroutine_callable(f), r.is_coroutine_callable(C(1).m), r.callable_name(C), r.ref_of(f)
        heavy = {"inspect", "dataclasses", "asyncio", "importlib.metadata", "multiprocessing", "concurrent.futures"}
        print(*sorted(heavy & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("text", ["builtins:len" + ".a" * 5_000_000, "a." * 5_000_000 + "b:c", "x" * 10_000_000])
def test_what_is_too_long_is_not_looked_up(text: str) -> None:
    before = time.process_time()
    with pytest.raises(
        ReferenceLookupError, match=r"… has 10,000,\d\d\d characters; a reference has at most 1,000"
    ) as caught:
        resolve(text)
    assert len(str(caught.value)) < 200
    assert time.process_time() - before < 0.3 * slowness()
