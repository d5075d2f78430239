"""What schedcore uses of an operating system is looked for before it is used: nothing in it rules out Windows or macOS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("on_another_system.py")
# Top-level modules that come with an extra.
EXTRAS = {
    *("bson", "cbor2", "gevent", "google", "greenlet", "h2", "hpack", "kazoo", "pymongo", "qtpy", "redis", "rethinkdb"),
    *("rich", "sqlalchemy", "tornado", "twisted", "typer"),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["Windows", "macOS"])
def test_every_module_can_be_imported_and_jobs_run(system: str, tmp_path: Path) -> None:
    """In threads, processes, programs and on an event loop, from memory or a file, until a signal ends it."""
    command = [sys.executable, "-P", str(PROGRAM), system]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    *missing, last = done.stdout.splitlines()
    assert last == "done"
    assert [line for line in missing if line.split()[1].partition(".")[0] not in EXTRAS] == []
