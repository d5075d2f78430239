"""Ctrl-C in a ``with`` statement, in programs of their own: the jobs may end, for a while, and a second one waits for nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.schedulers.loop import STOP_TIMEOUT_S, is_stopping

PATIENCE_S = 60.0

ASYNCIO = """
    import asyncio

    async def coroutine():
        say("coroutine begins")
        try:
            while not may_end():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            say("coroutine cancelled")
            raise
        say("coroutine ends")

    async def main():
        async with Scheduler(stop_timeout=STOP_TIMEOUT) as scheduler:
            begin(scheduler, coroutine)
            await asyncio.sleep(3600)

    asyncio.run(main())
"""

PROGRAMS = {
    "asyncio": "from schedcore.adapters.asyncio import AsyncIOScheduler as Scheduler" + ASYNCIO,
    "tornado": "from schedcore.adapters.tornado import TornadoScheduler as Scheduler" + ASYNCIO,
    "gevent": """
    import gevent
    from schedcore.adapters.gevent import GeventScheduler, GeventThreadExecutor

    def greenlet():
        say("coroutine begins")
        try:
            while not may_end():
                gevent.sleep(0.01)
        except gevent.GreenletExit:
            say("coroutine cancelled")
            raise
        say("coroutine ends")

    with GeventScheduler(stop_timeout=STOP_TIMEOUT, executors={"threads": GeventThreadExecutor()}) as scheduler:
        begin(scheduler, greenlet, executor="threads")
        gevent.sleep(3600)
    """,
}

# ``end`` is a file that lets the jobs end when it is there.
BEFORE = """
    import logging, os, sys, threading, time

    real_sleep = time.sleep

    logging.basicConfig(level="WARNING", stream=sys.stdout, format="log: %(message)s")

    def say(text):
        print(text, flush=True)

    def may_end():
        return os.path.exists(END)

    def function():
        say("function begins")
        while not may_end():
            real_sleep(0.01)
        say("function ends")

    def begin(scheduler, native, **options):
        threading.Thread(target=watch, args=(scheduler,), daemon=True).start()
        scheduler.add_job(native)
        scheduler.add_job(function, **options)

    def watch(scheduler):
        while scheduler.running:
            real_sleep(0.005)
        say("stopping")
"""


class Program:
    """A program that runs until it is told to end."""

    def __init__(self, name: str, stop_timeout: float | None, end: str) -> None:
        code = f"STOP_TIMEOUT = {stop_timeout!r}\nEND = {end!r}\n{textwrap.dedent(BEFORE)}\n"
        lines = PROGRAMS[name].split("\n", 1)
        code += textwrap.dedent(lines[0]) + "\n" + textwrap.dedent(lines[1])
        self._said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def wait_for(self, *texts: str) -> None:
        """Read what it says until all of this is said."""
        assert self.process.stdout is not None
        left = set(texts)
        while left:
            line = self.process.stdout.readline()
            assert line, f"it ended before it said {left}:\n{''.join(self._said)}"
            self._said.append(line)
            left = {text for text in left if text not in line}

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> str:
        """All that it said, when it has ended, which it has afterwards in any case."""
        try:
            rest, _ = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            rest, _ = self.process.communicate()
            pytest.fail(f"it does not end; it said:\n{''.join(self._said)}{rest}")
        return "".join(self._said) + rest


@pytest.fixture(params=PROGRAMS)
def name(request: pytest.FixtureRequest) -> str:
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def end(tmp_path: object) -> str:
    return f"{tmp_path}/end"


def start(name: str, stop_timeout: float | None, end: str) -> Program:
    program = Program(name, stop_timeout, end)
    try:
        program.wait_for("coroutine begins", "function begins")
        program.interrupt()
        program.wait_for("stopping")
    except BaseException:
        program.process.kill()
        program.end()
        raise
    return program


@pytest.mark.slow
def test_what_runs_may_end(name: str, end: str) -> None:
    program = start(name, None, end)
    try:
        with open(end, "w"):
            pass
        program.wait_for("coroutine ends", "function ends")
    finally:
        said = program.end()
    assert "coroutine cancelled" not in said
    assert program.process.returncode != 0, said


@pytest.mark.slow
def test_what_takes_too_long_is_cancelled_or_left_behind(name: str, end: str) -> None:
    program = start(name, 0.1, end)
    said = program.end()
    assert "coroutine cancelled" in said
    assert "have 0.1 s to end" in said
    assert "ends\n" not in said


@pytest.mark.slow
def test_a_second_one_waits_for_nothing(name: str, end: str) -> None:
    program = start(name, None, end)
    program.interrupt()
    said = program.end()
    assert "have as long as they take to end" in said
    assert "ends\n" not in said


def test_what_is_not_said_is_ten_seconds() -> None:
    assert AsyncIOScheduler()._stop_timeout_s == STOP_TIMEOUT_S == 10
    assert AsyncIOScheduler(stop_timeout="2.5")._stop_timeout_s == 2.5
    assert AsyncIOScheduler(stop_timeout=None)._stop_timeout_s is None


def test_an_error_is_not_the_end_of_the_program() -> None:
    assert not is_stopping(None)
    assert not is_stopping(ValueError)
    assert is_stopping(KeyboardInterrupt)
