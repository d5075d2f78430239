"""What the text of a stored record may name: promise 10, data and not code.

A record is data, but it names code: the job's function, and the functions that its trigger's calendars are made of. Whoever can
write to a job store could thus have any function run that the interpreter can import. ``allowed_refs`` says which ones may
be; it is asked when a job is added, before it is stored, and again when it is loaded, before anything is imported.

A pattern is ``"module:name"`` with ``*`` for any part of either: ``"myapp.jobs:*"``, ``"myapp.*:*"``, ``"backup:run"``. What a
module merely imports is not its own: ``"myapp.jobs:*"`` allows neither ``"myapp.jobs:os.system"`` nor, after ``from os import
system``, ``"myapp.jobs:system"``; a name without ``*`` allows what it says. Nor does a function lead any further: what is behind
names such as ``__globals__`` is not what its module offers.

Without ``allowed_refs`` everything may be named but what ``RISKY`` lists, the parts of the standard library that run programs or
code, or change files; what the standard library keeps to itself (names that begin with ``_``); and schedcore itself, which runs
programs (``run_command``), and has schedulers and job stores, which import and call what their arguments say. That draws no
boundary: what is left reads files and opens connections, and a library that is installed may run programs. A program whose job
really is ``os.system`` says so: ``allowed_refs=["default", "os:system"]``, where ``"default"`` stands for that rule.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from schedcore.errors import ConfigurationError, ReferenceNotAllowedError

__all__ = ["DEFAULT", "RISKY", "AllowedRefs", "limited", "limits"]

#: The pattern that stands for everything but ``RISKY``.
DEFAULT: Final = "default"

#: Modules of the standard library, with all that is below them, that only ``allowed_refs`` makes available to stored records.
RISKY: Final = frozenset(
    """
    _ctypes _frozen_importlib _frozen_importlib_external _interpreters _io _pickle _posixsubprocess _testcapi
    _testinternalcapi _winapi _xxinterpchannels _xxsubinterpreters aifc antigravity asyncio.subprocess atexit bdb bz2 cgi
    cgitb code codeop compileall compression concurrent cProfile ctypes dbm distutils doctest ensurepip faulthandler fcntl
    fileinput glob gzip http.cookiejar idlelib imaplib imp importlib io lib2to3 logging.config logging.handlers lzma
    mailbox mailcap marshal mmap modulefinder msilib msvcrt multiprocessing nt os ossaudiodev pathlib pdb pickle pip pipes
    pkgutil posix profile pstats pty py_compile pydoc readline resource runpy shelve shutil signal site sqlite3 subprocess
    sunau sys tarfile tempfile termios test timeit tkinter trace tracemalloc turtle turtledemo unittest urllib.request uu
    venv wave webbrowser winreg wsgiref zipapp zipfile zipimport
    """.split()  # noqa: SIM905  # names one under the other would fill a page
)
# The same in modules where most names are harmless.
_RISKY_NAMES: Final = {
    "builtins": frozenset(
        """
        __build_class__ __import__ breakpoint compile delattr eval exec exit getattr globals help input locals open quit setattr
        vars
        """.split()  # noqa: SIM905
    ),
    "codecs": frozenset({"open"}),
    "logging": frozenset({"FileHandler", "basicConfig", "disable", "shutdown"}),
    "xml.etree.ElementTree": frozenset({"ElementTree"}),
}
# Where schedcore itself has functions for jobs that do nothing. Its other modules run programs, or build what a text names.
_OURS: Final = "schedcore.testing.store_suite"
# References that are remembered. Many jobs have the same few.
_FINE = 1000
_PATTERN: Final = re.compile(r"[\w.*]+:[\w.*]+")
# Whose ``__module__`` says where they were defined. Other objects say where their class was.
_DEFINED: Final = (FunctionType, BuiltinFunctionType, MethodType, type)

_limit: ContextVar[AllowedRefs | None] = ContextVar("schedcore_allowed_refs", default=None)


class AllowedRefs:
    """Which references a job store may hold.

    ``patterns``: see the module's docstring; None: ``["default"]``. Raises ``ConfigurationError`` naming what is no
    pattern.
    """

    __slots__ = ("_exact", "_fine", "_lenient", "_patterns", "_wild")

    def __init__(self, patterns: Iterable[str] | None = None) -> None:
        if isinstance(patterns, str):
            patterns = [pattern for pattern in re.split(r"[,\s]+", patterns) if pattern]
        elif patterns is not None and not isinstance(patterns, Iterable):
            raise ConfigurationError(f"allowed_refs: {patterns!r} is no list of patterns")
        self._patterns = (DEFAULT,) if patterns is None else tuple(patterns)
        self._lenient = DEFAULT in self._patterns
        self._exact: set[str] = set()
        self._fine: set[str] = set()  # some of those that were asked for and may be looked up
        self._wild: list[re.Pattern[str]] = []
        for pattern in self._patterns:
            if pattern == DEFAULT:
                continue
            if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
                raise ConfigurationError(
                    f'allowed_refs: {pattern!r} is no pattern; write "package.module:name", with * for any part of it, such as '
                    f'"myapp.jobs:*"'
                )
            if "*" in pattern:
                self._wild.append(re.compile(re.escape(pattern).replace(r"\*", r"[\w.]*")))
            else:
                self._exact.add(pattern)

    def check_text(self, reference: str) -> None:
        """Raise ``ReferenceNotAllowedError`` unless a reference may be looked up."""
        if reference in self._exact or reference in self._fine:
            return
        self._check_text(reference)
        if len(self._fine) < _FINE:
            self._fine.add(reference)

    def _check_text(self, reference: str) -> None:
        module, _, path = reference.partition(":")
        for name in path.split("."):
            if name[:2] == name[-2:] == "__" and name != "__call__" and module != "builtins":
                raise ReferenceNotAllowedError(
                    reference, f"{reference!r} leads through {name}, out of what its module offers"
                )
        if any(wild.fullmatch(reference) for wild in self._wild):
            return
        if self._lenient:
            if _is_private(module, path):
                what = "is a private matter of the library"
            elif _is_risky(module, path):
                what = "runs programs or code, or changes files"
            else:
                return
            raise ReferenceNotAllowedError(
                reference,
                f"{reference!r} {what}, and stored jobs may name it only where the job store's allowed_refs says so "
                f'(["default", {reference!r}])',
            )
        raise ReferenceNotAllowedError(
            reference,
            f"{reference!r} is none of the references that this job store may hold "
            f"(allowed_refs: {', '.join(self._patterns) or 'none'})",
        )

    def check_step(self, reference: str, found: object) -> None:
        """Raise ``ReferenceNotAllowedError`` if a reference leads through a module that another one merely imported."""
        if isinstance(found, ModuleType) and reference not in self._exact:
            raise ReferenceNotAllowedError(
                reference, f"{reference!r} leads into {found.__name__!r}, which that module only imports"
            )

    def check_object(self, reference: str, found: Any) -> None:
        """Raise ``ReferenceNotAllowedError`` unless what a reference led to may be used."""
        if reference in self._exact or not isinstance(found, _DEFINED):
            return
        home: object = found.__module__
        path: object = found.__qualname__
        if not isinstance(home, str) or not isinstance(path, str):
            return
        own = reference.partition(":")[0]
        if self._lenient:
            if not _is_risky(home, path):
                return
        elif home.partition(".")[0] == own.partition(".")[0] or any(
            wild.fullmatch(f"{home}:{path}") for wild in self._wild
        ):
            return
        raise ReferenceNotAllowedError(
            reference,
            f"{reference!r} is {home}:{path} under another name; to allow it, name it without * in allowed_refs",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._patterns)!r})"


def _is_risky(module: str, path: str) -> bool:
    parts = module.split(".")
    if parts[0] == "schedcore":
        return module != _OURS
    above = {".".join(parts[: number + 1]) for number in range(len(parts))}
    return not RISKY.isdisjoint(above) or path.partition(".")[0] in _RISKY_NAMES.get(module, ())


def _is_private(module: str, path: str) -> bool:
    """Whether a reference names what the standard library, or schedcore, keeps for itself: registries, and ways to run things."""
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names and top != "schedcore":
        return False
    return top != "__main__" and any(name[:1] == "_" for name in (*module.split("."), *path.split(".")))


class limited:
    """Within this, references that are looked up or made are held to ``allowed``."""

    # A class, because a generator costs three times as much, at each job that is stored or loaded.
    __slots__ = ("_allowed", "_token")

    def __init__(self, allowed: AllowedRefs | None) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        self._token: Token[AllowedRefs | None] = _limit.set(self._allowed)

    def __exit__(self, *error: object) -> None:
        _limit.reset(self._token)


def limits() -> AllowedRefs | None:
    """What references are held to here, or None."""
    return _limit.get()
