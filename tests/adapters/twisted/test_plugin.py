"""A user's tests with pytest-twisted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_twisted", reason="pytest-twisted comes with the extra 'test-twisted'")

TESTS = """
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread

from schedcore.adapters.twisted import TwistedScheduler, in_reactor


@pytest_twisted.async_yield_fixture
async def scheduler():
    scheduler = TwistedScheduler()
    scheduler.start()
    yield scheduler
    assert await scheduler.shutdown() == []


@pytest_twisted.ensureDeferred
async def test_coroutine(scheduler):
    ran = Deferred()

    async def job():
        ran.callback("ran")

    scheduler.add_job(job)
    assert await ran == "ran"


@pytest_twisted.inlineCallbacks
def test_inline_callbacks(scheduler):
    ran = Deferred()

    @inlineCallbacks
    def job():
        yield succeed(None)
        ran.callback("ran")

    yield deferToThread(scheduler.add_job, job)
    assert (yield ran) == "ran"


def test_deferred(scheduler):
    ran = Deferred()
    scheduler.add_job(in_reactor(ran.callback), args=["ran"])
    return ran
"""


def test_jobs_run_on_the_reactor_of_pytest_twisted(tmp_path: Path) -> None:
    Path(tmp_path, "test_mine.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
