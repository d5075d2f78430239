"""The environment of the measurements: inside the checkout, under ``.benchmarks``, and made at the first run.

It has APScheduler, the two libraries that compute fire times alone, and SQLAlchemy from where pip is set up to look, and
schedcore as users get it: a wheel, built from a copy of the sources. (An editable install would add its import hook to every
import, and a wheel built in place would pick up what earlier builds left.) The wheel is built again when a source file changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["ROOT", "EnvironmentFailure", "prepare", "variables"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".benchmarks"
# The rivals are held to one version each, so that figures from two days can be compared.
REQUIREMENTS = ("apscheduler==3.11.3", "croniter==7.0.0", "cronsim==2.8", "sqlalchemy>=2.0.30", "setuptools>=77")
_SOURCES = ("schedcore", "adapters", "pyproject.toml", "README.md", "LICENSE")


class EnvironmentFailure(Exception):
    """The environment cannot be made; the message says why and what helps."""


def prepare(source: Path, more: Sequence[str], say: Callable[[str], None]) -> Path:
    """Make the environment, or bring it up to date with the schedcore in ``source``; the path of its interpreter.

    ``more``: requirements that not every measurement has; they are installed when first asked for.
    """
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n", encoding="ascii")
    (FOLDER / "tmp").mkdir(exist_ok=True)
    venv = FOLDER / "venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / "installed"
    installed = _lines(stamp)
    base = [sys.version, *REQUIREMENTS]
    if installed[:-1] != base or not python.exists():
        say(f"setting up {venv.relative_to(ROOT)} with {', '.join(REQUIREMENTS)}")
        _run(
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            "no virtual environment could be made; Debian and Ubuntu have what that needs in the package python3-venv",
        )
        _run(
            [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS],
            "pip could not install what is needed; `pip config list` says where it looks",
        )
        installed = []
    _install_more(venv / "more", more, python, say)
    wanted = [*base, _digest(source)]
    if installed != wanted:
        say(f"building and installing schedcore from {source}")
        stamp.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER / "tmp") as copy:
            for name in _SOURCES:
                if (source / name).is_dir():
                    shutil.copytree(source / name, Path(copy, name), ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source / name, copy)
            # Its dependencies are among those of APScheduler but for this one, which pip finds installed.
            command = [str(python), "-m", "pip", "install", "--quiet", "--no-build-isolation"]
            _run([*command, "--force-reinstall", "--no-deps", copy], "schedcore could not be built")
            _run([str(python), "-m", "pip", "check", "--quiet"], "what schedcore needs is not complete")
        stamp.write_text("\n".join(wanted), encoding="utf-8")
    return python


def _install_more(stamp: Path, more: Sequence[str], python: Path, say: Callable[[str], None]) -> None:
    there = _lines(stamp)
    missing = [requirement for requirement in more if requirement not in there]
    if missing:
        say(f"installing {', '.join(missing)}")
        _run([str(python), "-m", "pip", "install", "--quiet", *missing], "pip could not install what is needed")
        stamp.write_text("\n".join([*there, *missing]), encoding="utf-8")


def variables() -> dict[str, str]:
    """The environment variables of a measurement: those of ours, with temporary files inside the checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for name in ("TMPDIR", "TEMP", "TMP"):
        env[name] = str(FOLDER / "tmp")
    return env


def _lines(stamp: Path) -> list[str]:
    try:
        return stamp.read_text(encoding="utf-8").split("\n")
    except OSError:
        return []


def _digest(source: Path) -> str:
    """A digest of all that goes into the wheel. Raises ``EnvironmentFailure``."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        path = source / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not all(file.is_file() for file in files) or not files:
            raise EnvironmentFailure(f"{source} is not a checkout of schedcore: it has no {name}")
        for file in files:
            digest.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _run(command: list[str], advice: str) -> None:
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailure(f"{advice}\n{done.stdout.rstrip()}")
