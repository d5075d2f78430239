"""Schedulers for the tests in this folder; each is shut down when its test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schedcore.testing import VirtualScheduler


@pytest.fixture
def virtual() -> Iterator[Callable[..., VirtualScheduler]]:
    """Makes schedulers in virtual time; ``virtual(started=False)`` does not start it."""
    made: list[VirtualScheduler] = []

    def make(*, started: bool = True, **options: Any) -> VirtualScheduler:
        scheduler = VirtualScheduler(**options)
        made.append(scheduler)
        if started:
            scheduler.start()
        return scheduler

    yield make
    for scheduler in made:
        scheduler.shutdown()
