"""What is built is what is meant to be installed: the wheel and the source distribution, looked at from outside."""

from __future__ import annotations

import ast
import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
# What a build reads. The folders that tools leave in a checkout are not among it.
SOURCES = ("adapters", "schedcore", "LICENSE", "README.md", "pyproject.toml")

pytest.importorskip("setuptools", reason="the build backend is not installed; the extra 'test' brings it")


def copy_sources(target: Path) -> Path:
    """A checkout of its own, because setuptools builds inside the tree that it is given."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def build(kind: str, source: Path, target: Path) -> Path:
    """Call the build backend as pip does, without its isolation: no network. The path of what was built."""
    target.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as backend; print(backend.build_{kind}({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=source, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build("wheel", copy_sources(folder / "source"), folder / "dist")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    return build("sdist", copy_sources(folder / "source"), folder / "dist")


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def expected_modules() -> list[str]:
    """Every module of the source tree, under the name that it is installed as."""
    modules = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("schedcore/**/*.py")]
    modules += [f"schedcore/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("adapters/**/*.py")]
    return sorted(modules)


def top_level(names: Sequence[str]) -> set[str]:
    return {name.split("/")[0] for name in names}


@pytest.mark.slow
def test_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    names = names_in(wheel)
    assert [name for name in names if name.endswith(".py")] == expected_modules()
    assert "schedcore/adapters/asyncio/__init__.py" in names
    assert "schedcore/py.typed" in names


@pytest.mark.slow
def test_wheel_installs_one_top_level_package(wheel: Path) -> None:
    names = names_in(wheel)
    info = f"schedcore-{PROJECT['version']}.dist-info"
    assert top_level(names) == {"schedcore", info}
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{info}/licenses/LICENSE") == ROOT.joinpath("LICENSE").read_bytes()
        assert "schedcore = schedcore.cli.main:main" in archive.read(f"{info}/entry_points.txt").decode()


@pytest.mark.slow
def test_wheel_requires_tzlocal_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"schedcore-{PROJECT['version']}.dist-info/METADATA"))
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [line.split(">")[0] for line in required if "Windows" not in line] == ["tzlocal"]
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "MIT"


@pytest.mark.slow
def test_source_distribution_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert unpacked.joinpath("LICENSE").is_file()
    again = build("wheel", unpacked, tmp_path / "dist")
    assert names_in(again) == names_in(wheel)


def test_version_is_written_once() -> None:
    """In pyproject.toml; the package asks its metadata for it, and only when it is asked."""
    assert installed_version("schedcore") == PROJECT["version"]
    for path in sorted([*ROOT.glob("schedcore/**/*.py"), *ROOT.glob("adapters/**/*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        again = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == PROJECT["version"]]
        assert not again, f"{path.relative_to(ROOT)} repeats the version in line {again[0]}"


def test_package_knows_its_version() -> None:
    import schedcore

    assert schedcore.__version__ == PROJECT["version"]


def test_extras_bring_what_is_used() -> None:
    """Whoever installs an extra gets nothing that no module imports."""
    modules = {"protobuf": "google", "python-dateutil": "dateutil", "PyMySQL": "pymysql"}
    # Qt is reached through qtpy, whichever of these is there.
    bindings = {"PyQt5", "PyQt6", "PySide6-Essentials"}
    imported: set[str] = set()
    for path in [*ROOT.glob("schedcore/**/*.py"), *ROOT.glob("adapters/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    for extra, requirements in PROJECT["optional-dependencies"].items():
        if extra in ("services", "docs", "lint", "types", "dev", "all") or extra.partition("-")[0] == "test":
            continue
        names = [re.split(r"[\[<>=;~ ]", requirement)[0] for requirement in requirements]
        unused = [name for name in names if modules.get(name, name) not in imported | bindings]
        assert not unused, f"nothing imports what the extra {extra!r} brings: {unused}"
