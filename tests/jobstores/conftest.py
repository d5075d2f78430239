"""What the tests of job stores share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedcore.jobstores.base import JobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import VirtualClock

Start = Callable[[JobStore], JobStore]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database that is not there yet."""
    return f"sqlite:///{tmp_path}/jobs.sqlite"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def start(clock: VirtualClock) -> Iterator[Start]:
    """Starts job stores, as a scheduler would that is never started itself, and shuts them down in the end."""
    scheduler = BackgroundScheduler(clock=clock, timezone="UTC")
    with ExitStack() as stack:

        def start(store: JobStore) -> JobStore:
            store.start(scheduler, "default")
            stack.callback(store.shutdown)
            return store

        yield start
