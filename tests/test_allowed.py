"""What stored records may name. What stores make of it is tested with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schedcore.allowed import RISKY, AllowedRefs, limited
from schedcore.errors import ConfigurationError, ReferenceLookupError, ReferenceNotAllowedError
from schedcore.references import ref_of, resolve

MODULE = """
import os
import os.path as path
from os import system
from functools import lru_cache, partial, wraps

def work(): ...
class Kind:
    def method(self): ...
    @classmethod
    def make(cls): ...
cached = lru_cache(work)
half = partial(work)
alias = os.getcwd
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "allowed_refs_app"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "jobs.py").write_text(MODULE)
    (tmp_path / name / "api.py").write_text(f"from {name}.jobs import work\nfrom json import dumps\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for loaded in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[loaded]


def found(reference: str, patterns: Any = None) -> Any:
    with limited(AllowedRefs(patterns)):
        return resolve(reference)


@pytest.mark.parametrize(
    "name", ["jobs:work", "jobs:Kind", "jobs:Kind.method", "jobs:Kind.make", "jobs:cached", "jobs:half", "api:work"]
)
@pytest.mark.parametrize("pattern", [None, "{0}.jobs:*|{0}.api:*", "{0}.*:*", "{0}*:*", "*:*", "{1}"])
def test_allowed(module: str, name: str, pattern: str | None) -> None:
    reference = f"{module}.{name}"
    patterns = None if pattern is None else pattern.format(module, reference).split("|")
    assert callable(found(reference, patterns))


@pytest.mark.parametrize("name", ["jobs:os.system", "jobs:path.join", "jobs:system", "jobs:alias", "api:dumps"])
def test_what_a_module_imports_is_not_its_own(module: str, name: str) -> None:
    reference = f"{module}.{name}"
    with pytest.raises(ReferenceNotAllowedError):
        found(reference, [f"{module}.*:*"])
    assert callable(found(reference, [reference]))


@pytest.mark.parametrize("name", ["jobs:os.system", "jobs:system", "jobs:alias"])
def test_a_risky_function_under_another_name(module: str, name: str) -> None:
    with pytest.raises(ReferenceNotAllowedError):
        found(f"{module}.{name}")


@pytest.mark.parametrize(
    "reference",
    [
        *("os:system", "posix:system", "subprocess:run", "builtins:eval", "builtins:exec", "builtins:open"),
        *(
            "builtins:__import__",
            "importlib:import_module",
            "importlib.util:find_spec",
            "runpy:run_path",
            "pickle:loads",
        ),
        *("shutil:rmtree", "ctypes:CDLL", "sys:exit", "multiprocessing.process:Process.run", "code:interact"),
        *("logging.config:dictConfig", "logging:basicConfig", "urllib.request:urlretrieve", "mailcap:findmatch"),
        *(
            "asyncio.subprocess:create_subprocess_shell",
            "sqlite3:connect",
            "test.support.script_helper:run_python_until_end",
        ),
        *("uuid:_get_command_stdout", "_xxsubinterpreters:run_string", "threading:_active.clear", "re:_cache.clear"),
        *(
            "imaplib:IMAP4_stream",
            "codecs:open",
            "wave:open",
            "fcntl:ioctl",
            "builtins:help",
            "tracemalloc:Snapshot.dump",
        ),
        *("pstats:Stats.dump_stats", "xml.etree.ElementTree:ElementTree.write", "http.cookiejar:MozillaCookieJar.save"),
        *(
            "schedcore.executors.command:run_command",
            "schedcore:BackgroundScheduler",
            "schedcore.testing:VirtualScheduler",
        ),
        *("schedcore.jobstores.redis:RedisJobStore", "schedcore.cli.main:main", "schedcore.testing.time:VirtualTime"),
        *("schedcore.plugins:_loaded.clear", "schedcore.schedulers._program:anything", "_thread:interrupt_main"),
    ],
)
def test_risky_ones_are_not_even_looked_up(reference: str) -> None:
    with pytest.raises(ReferenceNotAllowedError, match="allowed_refs says so") as caught:
        found(reference)
    assert caught.value.reference == reference
    assert isinstance(caught.value, LookupError | ValueError)


@pytest.mark.parametrize("patterns", [None, ["*:*"], ["{0}.jobs:*", "json:*"], ["default", "*:*"]])
@pytest.mark.parametrize(
    "reference",
    [
        "{0}.jobs:work.__globals__.clear",
        "{0}.jobs:work.__builtins__.clear",
        "{0}.jobs:work.__code__.replace",
        "{0}.jobs:Kind.__subclasses__",
        "{0}.jobs:Kind.method.__globals__.update",
        "{0}.jobs:__loader__.set_data",
        "{0}.jobs:__builtins__.clear",
        "json:dumps.__class__",
    ],
)
def test_a_function_leads_nowhere_else(module: str, reference: str, patterns: list[str] | None) -> None:
    reference = reference.format(module)
    with pytest.raises(ReferenceNotAllowedError, match="leads through __"):
        found(reference, patterns and [pattern.format(module) for pattern in patterns])
    if "jobs:work" in reference:
        assert callable(found(reference, [reference]))


def test_a_program_is_run_by_no_other_name() -> None:
    """A coroutine function of a harmless module, which comes from one that is not."""
    with pytest.raises(
        ReferenceNotAllowedError, match=r"is asyncio\.subprocess:create_subprocess_shell under another name"
    ):
        found("asyncio:create_subprocess_shell")
    assert callable(found("asyncio:sleep"))


def test_what_can_be_called_is_named_by_its_class(module: str) -> None:
    assert callable(found(f"{module}.jobs:Kind.__call__"))
    assert callable(found("logging:info"))
    assert callable(found("operator:add"))


def test_what_is_harmless_needs_no_permission() -> None:
    assert found("builtins:print") is print
    assert found("math:sqrt")(4) == 2


@pytest.mark.parametrize("reference", ["linecache:getlines", "smtplib:SMTP", "pytest:main"])
def test_what_is_not_listed_needs_none_either(reference: str) -> None:
    """As the documentation says, so that nobody takes the list for a boundary: a list of patterns is one."""
    assert callable(found(reference))
    with pytest.raises(ReferenceNotAllowedError):
        found(reference, ["myapp.jobs:*"])


def test_nothing_is_imported_for_a_reference_that_is_not_allowed() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(ReferenceNotAllowedError, match=r"none of the references .* \(allowed_refs: myapp:\*\)"):
        found("this:s", ["myapp:*"])
    assert "this" not in sys.modules


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(ReferenceNotAllowedError, match="allowed_refs: none"):
        found("math:sqrt", [])


def test_the_default_and_some_more() -> None:
    assert found("os:getpid", ["default", "os:getpid"]) is os.getpid
    assert callable(found("math:sqrt", ["default", "os:getpid"]))
    with pytest.raises(ReferenceNotAllowedError, match=r"\[\"default\", 'os:system'\]"):
        found("os:system", ["default", "os:getpid"])


def test_text_as_configuration_files_give_it() -> None:
    assert found("math:sqrt", "json:*, math:sqrt")
    with pytest.raises(ReferenceNotAllowedError):
        found("math:cos", "json:*, math:sqrt")


def test_references_are_checked_when_they_are_made() -> None:
    with limited(AllowedRefs()), pytest.raises(ReferenceNotAllowedError):
        ref_of(os.getcwd)
    with limited(AllowedRefs(["posix:*", "nt:*"])):
        assert ref_of(os.getcwd).endswith(":getcwd")


def test_the_limit_ends_with_its_block() -> None:
    with limited(AllowedRefs([])):
        pass
    assert callable(resolve("os:getcwd"))


@pytest.mark.parametrize("pattern", ["myapp", "my app:*", "", ":", 5, "myapp.jobs:*:*"])
def test_patterns_that_are_none(pattern: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no pattern"):
        AllowedRefs([pattern])


def test_patterns_that_are_no_list() -> None:
    with pytest.raises(ConfigurationError, match="allowed_refs: 5 is no list of patterns"):
        AllowedRefs(5)  # type: ignore[arg-type]


def test_what_is_missing_is_another_error(module: str) -> None:
    with pytest.raises(ReferenceLookupError, match="has no attribute 'nobody'"):
        found(f"{module}.jobs:nobody", [f"{module}.jobs:*"])


def test_the_risky_modules_are_modules() -> None:
    beyond = {"pip", "_winapi", "msvcrt", "winreg", "nt", "test"}
    beyond |= {"_interpreters", "_testcapi", "_testinternalcapi", "_xxinterpchannels", "_xxsubinterpreters"}
    beyond |= {"compression", "msilib"}  # from 3.14 on, and on Windows
    gone = {"aifc", "cgi", "cgitb", "distutils", "imp", "lib2to3", "mailcap", "ossaudiodev", "pipes", "sunau", "uu"}
    assert {name.partition(".")[0] for name in RISKY} - beyond - gone <= sys.stdlib_module_names
