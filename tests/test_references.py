from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import textwrap
import time
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from schedcore import references
from schedcore.errors import JobArgumentsError, ReferenceLookupError, TransientJobError
from schedcore.references import (
    UnnameableCallableError,
    callable_name,
    check_arguments,
    is_coroutine_callable,
    parameters_of,
    ref_of,
    resolve,
    unbind,
)

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


# --- arguments ---


def none() -> None: ...
def two(a: int, b: int) -> None: ...
def default(a: int, b: int = 2) -> None: ...
def keyword(a: int = 1, *, b: int, c: int = 3) -> None: ...
def positional(a: int, b: int = 2, /, c: int = 3) -> None: ...
def absorbing(a: int, /, *args: int, **kwargs: int) -> None: ...
def anything(*args: int, **kwargs: int) -> None: ...


class Made:
    def __init__(self, a: int, *, b: int = 2) -> None: ...
    def method(self, a: int, b: int = 2) -> None: ...
    @classmethod
    def make(cls, a: int) -> None: ...
    @staticmethod
    def static(a: int) -> None: ...
    def __call__(self, a: int) -> None: ...


class ByNew:
    def __new__(cls, a: int) -> ByNew:
        return object.__new__(cls)


class Bare: ...


class Meta(type):
    def __call__(cls, x: int) -> int:
        return x


class ByMeta(metaclass=Meta): ...


@functools.wraps(two)
def adds_one(*args: Any, **kwargs: Any) -> None: ...


def declares(*args: Any, **kwargs: Any) -> None: ...


declares.__signature__ = inspect.signature(two)  # type: ignore[attr-defined]


@functools.lru_cache
def cached(a: int) -> None: ...


FUNCTIONS: list[Any] = [
    *(none, two, default, keyword, positional, absorbing, anything, adds_one),
    *(Made, Made.make, Made.static, Made(1), Made(1).method, Made(1).make, ByNew, Bare),
    *(functools.partial(two, 1), functools.partial(two, b=1), functools.partial(keyword, b=1)),
    *(functools.partial(functools.partial(default), 1), functools.partial(Made(1).method, 1)),
    *(lambda: None, lambda a, b=1: None),
]
CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    (args, kwargs)
    for args in ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    for kwargs in ({}, {"a": 1}, {"b": 1}, {"c": 1}, {"a": 1, "b": 2}, {"b": 1, "c": 2}, {"z": 1})
]


@pytest.mark.parametrize("func", FUNCTIONS)
def test_the_check_agrees_with_the_call(func: Callable[..., Any]) -> None:
    for args, kwargs in CALLS:
        try:
            func(*args, **kwargs)
        except TypeError:
            with pytest.raises(JobArgumentsError):
                check_arguments(func, args, kwargs)
        else:
            check_arguments(func, args, kwargs)
            check_arguments(func, list(args), types.MappingProxyType(kwargs))


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "message"),
    [
        (two, (), {}, "the arguments do not fit two(): missing required arguments 'a', 'b'"),
        (two, (1,), {}, "the arguments do not fit two(): missing required argument 'b'"),
        (two, (), {"b": 1}, "missing required argument 'a'"),
        (two, (1, 2, 3), {}, "takes at most 2 positional arguments, 3 given"),
        (none, (1,), {}, "takes no positional arguments, 1 given"),
        (cached, (1, 2), {}, "takes at most 1 positional argument, 2 given"),
        (default, (1,), {"bb": 1}, "unexpected keyword argument 'bb'; did you mean 'b'?"),
        (none, (), {"zzz": 1}, "none(): unexpected keyword argument 'zzz'"),
        (default, (1,), {"a": 1}, "argument 'a' is given twice, by position and by keyword"),
        (positional, (), {"a": 1}, "argument 'a' can be given by position only; missing required argument 'a'"),
        (keyword, (), {}, "missing keyword-only argument 'b'"),
        (keyword, (1, 2), {}, "takes at most 1 positional argument, 2 given; missing keyword-only argument 'b'"),
        (absorbing, (), {"a": 1}, "missing required argument 'a'"),
        (Made(1).method, (), {}, "fit Made.method(): missing required argument 'a'"),
        (Made(1).method, (1, 2, 3), {}, "takes at most 2 positional arguments, 3 given"),
        (Made(1), (), {}, "fit Made(): missing required argument 'a'"),
        (Made, (), {"bb": 1}, "unexpected keyword argument 'bb'; did you mean 'b'?; missing required argument 'a'"),
        (ByNew, (), {}, "missing required argument 'a'"),
        (ByMeta, (), {}, "missing required argument 'x'"),
        (Bare, (1,), {}, "takes no positional arguments, 1 given"),
        (declares, (1,), {}, "missing required argument 'b'"),
        (functools.partial(two, 1), (), {}, "fit two(): missing required argument 'b'"),
        (len, (), {}, "fit len(): missing required argument 'obj'"),
        (time.sleep, (1, 2), {}, ""),
        (two, "ab", {}, "of two() must be a list or tuple, not 'ab'; a single one is written ['ab']"),
        (two, 5, {}, "must be a list or tuple, not 5"),
        (two, {1: 2}, {}, "must be a list or tuple, not {1: 2}"),
        (two, (), [1], "the keyword arguments of two() must be a mapping of names to values, not [1]"),
        (anything, (), {1: 2}, "keyword names must be text, not 1"),
    ],
)
def test_what_is_wrong_is_named(func: Callable[..., Any], args: Any, kwargs: Any, message: str) -> None:
    for _ in range(2):
        if not message:
            check_arguments(func, (1,), {})
            return
        with pytest.raises(JobArgumentsError) as caught:
            check_arguments(func, args, kwargs)
        assert message in str(caught.value)
        assert isinstance(caught.value, ValueError)


def test_a_decorator_that_adds_arguments_is_not_refused() -> None:
    check_arguments(adds_one, (1,), {})


def test_a_builtin_without_a_signature_accepts_everything() -> None:
    assert parameters_of(dict) is None
    check_arguments(dict, (1, 2, 3), {"x": 1})


def test_a_function_that_changed_is_judged_anew() -> None:
    def func(a: int, b: int = 2) -> None: ...

    check_arguments(func, (), {"a": 1})
    func.__defaults__ = None
    with pytest.raises(JobArgumentsError, match="'b'"):
        check_arguments(func, (), {"a": 1})
    func.__code__ = (lambda: None).__code__
    check_arguments(func, (), {})


def test_callables_that_went_away_are_forgotten() -> None:
    class Short:
        def __new__(cls, a: int) -> Any:
            return object.__new__(cls)

    def func(a: int) -> None: ...

    both: list[Any] = [Short, func]
    for short in both:
        check_arguments(short, (), {"a": 1})
        assert id(short) in references._seen
    keys = [id(Short), id(func)]
    gone: list[weakref.ref[Any]] = [weakref.ref(Short), weakref.ref(func)]
    del Short, func, short, both
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    for key in keys:
        kept = references._seen.get(key)
        assert kept is None or kept[0]() is not None


def test_odd_objects_are_told_apart_by_identity() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, call: Callable[..., Any]) -> None:
            self.call = call

        def __eq__(self, other: object) -> bool:
            return True

        def __call__(self, a: int) -> None: ...

    check_arguments(Odd(none), (1,), {})
    with pytest.raises(JobArgumentsError):
        check_arguments(Odd(two), (), {})


def test_mocks_accept_everything() -> None:
    check_arguments(mock.Mock(), (1, 2), {"c": 3})
    spec = mock.create_autospec(two)
    with pytest.raises(JobArgumentsError):
        check_arguments(spec, (), {})


def test_the_core_imports_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys
        import schedcore.references as r, schedcore.plugins, schedcore.config
        def f(a, b=1, *, c=2): pass
        class C:
            def __init__(self, a): pass
            def m(self): pass
        r.check_arguments(f, (1,), {"c": 2})
        r.check_arguments(C, (1,), {})
        r.check_arguments(C(1).m, (), {})
        r.is_coroutine_callable(f), r.is_coroutine_callable(C(1).m), r.callable_name(C), r.ref_of(f)
        heavy = {"inspect", "dataclasses", "asyncio", "importlib.metadata", "multiprocessing", "concurrent.futures"}
        print(*sorted(heavy & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
