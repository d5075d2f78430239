"""Whoever starts an example without what it needs is told in one line what to install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Hides a module, and starts a file as a program, or imports it as a server does.
_HIDE = "import sys, runpy; name, path, started = sys.argv[1:]; sys.modules[name] = None; "
_START = _HIDE + "runpy.run_path(path, run_name=started)"


def without(module: str, example: str, started: str = "__main__") -> list[str]:
    """The lines with which an example ends, and fails, where a module is not installed."""
    path = EXAMPLES / example
    command = [sys.executable, "-W", "error", "-c", _START, module, str(path), started]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=path.parent, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


def installed(example: str) -> str:
    """The command that the example names at its head."""
    found = re.search(r"^    (pip install .+)$", (EXAMPLES / example).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("module", "example"),
    [
        ("fastapi", "fastapi/app.py"),
        ("gevent", "gevent/server.py"),
        ("qtpy", "qt/window.py"),
        ("sqlalchemy", "tornado/app.py"),
        ("tornado", "tornado/app.py"),
        ("twisted", "twisted/web_server.py"),
    ],
)
def test_a_program_says_what_to_install(module: str, example: str) -> None:
    [line] = without(module, example)
    assert line.endswith(f"; this example needs: {installed(example)}")


@pytest.mark.parametrize(
    ("module", "example", "needs"),
    [
        ("sqlalchemy", "prefork/app.py", "pip install 'schedcore[sqlalchemy]'"),
        ("trio", "trio/schedcore_trio.py", "pip install schedcore trio"),
    ],
)
def test_what_is_imported_raises_an_error_that_says_it(module: str, example: str, needs: str) -> None:
    lines = without(module, example, started="imported")
    assert lines[-1].endswith(f"install it with: {needs}")
