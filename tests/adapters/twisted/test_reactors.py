"""The suites on other reactors than the one that works everywhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.testing.scheduler_suite import check_scheduler
from schedcore.testing.wakeup_suite import check_wakeup
from tests.conformance.runtimes import twisted as conformance

pytestmark = pytest.mark.slow


def on_epoll() -> Any:
    from twisted.internet.epollreactor import EPollReactor

    make: Callable[[], Any] = EPollReactor
    return make()


@pytest.fixture(params=["asyncio", "epoll"])
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    loops: list[asyncio.AbstractEventLoop] = []

    def on_asyncio() -> Any:
        loops.append(asyncio.new_event_loop())
        return AsyncioSelectorReactor(loops[-1])

    make: Callable[[], Any] = on_asyncio if request.param == "asyncio" else on_epoll
    monkeypatch.setattr(conformance, "ReactorThread", lambda: ReactorThread(make))
    yield
    for loop in loops:
        loop.close()


def test_wakeup(other: None) -> None:
    assert len(check_wakeup(conformance.wakeup, conformance.WAKEUP_TRAITS)) > 30


def test_scheduler(other: None) -> None:
    assert len(check_scheduler(conformance.runtime, conformance.TRAITS)) > 60
