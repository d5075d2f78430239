"""Tests that are coroutines run in the thread of a reactor made for each of them, within a bounded time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.events import EVENT_ALL, SchedulerEvent

# Seconds. How long a test may take before it is given up.
LIMIT_S = 60.0


@pytest.fixture
def io() -> Iterator[ReactorThread]:
    """A reactor that runs in a thread."""
    with ReactorThread() as thread:
        yield thread


@pytest.fixture
def reactor(io: ReactorThread) -> Any:
    return io.reactor


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not iscoroutinefunction(pyfuncitem.obj):
        return None
    test = pyfuncitem.obj
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    io: Any = pyfuncitem.funcargs["io"]

    def begin() -> Deferred[None]:
        return Deferred.fromCoroutine(test(**arguments)).addTimeout(LIMIT_S, io.reactor)

    io.result(begin)
    return True


class Log:
    """Events as they come, from any thread, and a way to wait for them in the reactor's."""

    def __init__(self, reactor: Any, scheduler: Any, mask: int) -> None:
        self.events: list[Any] = []
        self._reactor = reactor
        self._waiting: list[tuple[int, int, Deferred[list[Any]]]] = []
        scheduler.add_listener(self, mask)

    def __call__(self, event: SchedulerEvent) -> None:
        self.events.append(event)
        self._reactor.callFromThread(self._look)

    def of(self, code: int) -> list[Any]:
        return [event for event in self.events if event.code == code]

    def wait_for(self, code: int, times: int = 1) -> Deferred[list[Any]]:
        deferred: Deferred[list[Any]] = Deferred()
        self._waiting.append((code, times, deferred))
        self._look()
        return deferred

    def _look(self) -> None:
        for entry in list(self._waiting):
            code, times, deferred = entry
            if len(self.of(code)) >= times:
                self._waiting.remove(entry)
                deferred.callback(self.of(code))


@pytest.fixture
def watch(reactor: Any) -> Callable[..., Log]:
    """``watch(scheduler)`` gives the log of its events."""
    return lambda scheduler, mask=EVENT_ALL: Log(reactor, scheduler, mask)


@pytest.fixture
def run_program() -> Callable[[str], tuple[int, str, str]]:
    """Runs a program with warnings as errors; gives its exit code and what it wrote."""

    def run(program: str) -> tuple[int, str, str]:
        done = subprocess.run(
            # -P: the package that is installed, and not the folder of its source, in which there are no adapters.
            [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run
