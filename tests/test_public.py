"""The public surface and the walls between the rooms, checked on the source itself."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedcore.errors import MissingExtraError

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {
    "asyncio",
    "gevent",
    "greenlet",
    "qtpy",
    "PyQt5",
    "PyQt6",
    "PySide2",
    "PySide6",
    "tornado",
    "twisted",
    "zope",
}
# Top-level modules that come with an extra: where one is missing, the module that needs it cannot be looked at.
EXTRAS = {
    *("cbor2", "rich", "sqlalchemy", "typer"),
    *("bson", "google", "h2", "hpack", "kazoo", "pymongo", "redis", "rethinkdb"),
    *("gevent", "greenlet", "qtpy", "tornado", "twisted"),
}


def sources() -> dict[str, Path]:
    """Each module of the installed package and where it is written: ``adapters/`` is installed as schedcore.adapters."""
    found = {}
    for folder, prefix in (("schedcore", ""), ("adapters", "schedcore.")):
        for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()
MODULES = [name for name in SOURCES if not name.endswith("__main__")]


def parse(name: str) -> ast.Module:
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"), filename=str(SOURCES[name]))


def has_code(tree: ast.Module) -> bool:
    """Whether there is more than a docstring."""
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in tree.body)


def imports_at_top(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """What is imported when the module is: not what functions import, nor what only the type checker sees."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from imports_at_top(node.body)
            yield from imports_at_top(node.orelse)
        elif isinstance(node, ast.Try):
            for part in (node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody):
                yield from imports_at_top(part)
        elif isinstance(node, (ast.With, ast.ClassDef)):
            yield from imports_at_top(node.body)


def is_there(module: object, public: str) -> bool:
    """Whether a module offers a name; one that needs an extra which is not installed is there, and says so."""
    try:
        return hasattr(module, public)
    except MissingExtraError:
        return True


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_listed_and_exist(name: str) -> None:
    tree = parse(name)
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] in EXTRAS:
                pytest.skip(f"needs {cause.name}, which an extra brings")
            cause = cause.__cause__
        raise
    if not has_code(tree):
        return
    assert hasattr(module, "__all__"), f"{name} has no __all__"
    listed = list(module.__all__)
    assert len(listed) == len(set(listed)), f"{name}.__all__ names something twice"
    missing = [public for public in listed if not is_there(module, public)]
    assert not missing, f"{name}.__all__ lists what is not there: {missing}"
    defined = [n.name for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    hidden = [public for public in dict.fromkeys(defined) if not public.startswith("_") and public not in listed]
    assert not hidden, f"{name} defines public names that its __all__ does not list: {hidden}"


@pytest.mark.parametrize("name", MODULES)
def test_core_imports_no_framework_and_no_adapter(name: str) -> None:
    if name.startswith("schedcore.adapters"):
        pytest.skip("adapters are where frameworks are imported")
    free = name.startswith(("schedcore.testing", "schedcore.cli"))
    for imported, line in imports_at_top(parse(name).body):
        top = imported.split(".")[0]
        wrong = imported.startswith("schedcore.adapters") or top in FRAMEWORKS
        assert free or not wrong, f"{SOURCES[name].relative_to(ROOT)}:{line} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("schedcore.adapters.")])
def test_adapters_import_no_other_adapter_and_no_private_module(name: str) -> None:
    own = ".".join(name.split(".")[:3])
    for imported, line in imports_at_top(parse(name).body):
        if not imported.startswith("schedcore.") or imported == own or imported.startswith(f"{own}."):
            continue
        if own == "schedcore.adapters.tornado" and imported.startswith("schedcore.adapters.asyncio."):
            continue  # every IOLoop is a face of an asyncio loop, and asyncio is there wherever Python is
        where = f"{SOURCES[name].relative_to(ROOT)}:{line}"
        assert not imported.startswith("schedcore.adapters"), f"{where} imports {imported}"
        assert not any(part.startswith("_") for part in imported.split(".")), f"{where} imports the private {imported}"


def test_nothing_names_a_path_of_one_machine() -> None:
    home = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/[\w.-]+|[A-Z]:\\Users\\")
    folders = ("adapters", "benchmarks", "docs", "examples", "schedcore", "scripts", "tests", ".ci")
    files = [path for folder in folders for path in ROOT.glob(f"{folder}/**/*")]
    files += [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.ini"), *ROOT.glob(".*.yaml")]
    found = []
    for path in sorted(files):
        if path.is_file() and path.suffix in {
            "",
            ".cfg",
            ".ini",
            ".json",
            ".md",
            ".py",
            ".pyi",
            ".toml",
            ".yaml",
            ".yml",
        }:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := home.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, "\n".join(found)
