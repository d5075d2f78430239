"""The leak check of ``conftest.py`` itself: each kind of leak is found, named, and blamed on its own test only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKY = """
import asyncio, multiprocessing.resource_tracker, os, socket, subprocess, sys, tempfile, threading, time
import pytest
from hypothesis import given, strategies as st

kept = []

def test_thread():
    thread = threading.Thread(target=time.sleep, args=(20,), name="forgotten", daemon=True)
    thread.start()

def test_descriptor():
    kept.append(os.open(__file__, os.O_RDONLY))

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)  # orphan"]))

def test_task():
    async def forever():
        await asyncio.Event().wait()
    loop = asyncio.new_event_loop()
    kept.append(loop.create_task(forever()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

def test_file():
    tempfile.mkstemp(prefix="dropped-")

def test_resource_tracker():
    multiprocessing.resource_tracker.ensure_running()

def test_clean():
    pass

def test_ends_in_time():
    thread = threading.Timer(0.1, lambda: None)
    thread.start()

@given(st.integers())
def test_property(number):
    pass

@pytest.fixture
def closes_at_teardown():
    fd = os.open(__file__, os.O_RDONLY)
    yield
    os.close(fd)

def test_with_fixture(closes_at_teardown, tmp_path):
    tmp_path.joinpath("x").write_text("in tmp_path, which is pytest's to keep")

def test_last():
    for thing in kept:
        if isinstance(thing, subprocess.Popen):
            thing.kill()
            thing.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open file descriptors")
def test_each_leak_is_found_and_named(tmp_path: Path) -> None:
    text = CONFTEST.read_text(encoding="utf-8")
    assert "PATIENCE_S = 10.0" in text
    tmp_path.joinpath("conftest.py").write_text(text.replace("PATIENCE_S = 10.0", "PATIENCE_S = 1.5"), encoding="utf-8")
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    tmp_path.joinpath("test_leaky.py").write_text(LEAKY, encoding="utf-8")

    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "base")]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=150)

    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR test_leaky.py")]
    blamed = [line.split("::")[1].split()[0] for line in errors]
    assert blamed == ["test_thread", "test_descriptor", "test_socket", "test_child", "test_task", "test_file"], (
        done.stdout
    )
    assert "12 passed, 6 errors" in done.stdout.replace("6 errors, 12 passed", "12 passed, 6 errors"), done.stdout
    named_as = [
        "daemon thread 'forgotten'",
        "test_leaky.py",
        "(LISTEN)",
        "# orphan",
        "asyncio task <Task pending",
        "dropped-",
    ]
    for named in named_as:
        assert named in done.stdout
