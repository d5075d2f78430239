"""A signal handler that shuts a scheduler down in the midst of a call into a job store, made by the same thread."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import until

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy, which the extra 'sqlalchemy' brings")

LIMIT_S = 30.0


@contextmanager
def on_signal(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_shutdown_does_not_wait_for_the_call_that_it_interrupts(tmp_path: Path) -> None:
    """A step of the scheduler waited for that call, the shutdown for the step, and the call for the handler."""
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    returned: list[Any] = []
    add = store._sql.add

    def add_and_signal(cursor: Any, rows: Any) -> None:
        add(cursor, rows)
        pump = scheduler._pumps["default"]
        pump.touched = True
        scheduler._ask()
        until(lambda: pump.busy, "no step is made")
        signal.raise_signal(signal.SIGUSR1)

    scheduler.start()
    closed = scheduler._closed
    store._sql.add = add_and_signal
    try:
        with on_signal(lambda *_: returned.append((scheduler.shutdown(), closed.is_set()))):
            scheduler.add_job("time:time", "interval", hours=1, id="added")
        assert returned == [([], False)]
        assert closed.wait(LIMIT_S)
    finally:
        scheduler.shutdown()
    assert not scheduler.running
