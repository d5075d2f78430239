"""The scheduler with a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import NativeJob, Runtime, SchedulerTraits, Steps

NAME = "background"
NEEDS = None
TRAITS = SchedulerTraits(native=("coroutine",))


def _coroutine_job(steps: Steps) -> Callable[[], Any]:
    # Run to its end in a worker thread, on a loop made for it.
    async def job() -> Any:
        steps.begin()
        while not steps.may_end():
            await asyncio.sleep(0.002)
        return steps.end()

    return job


class BackgroundRuntime(Runtime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"coroutine": _coroutine_job}

    def make(self, **options: Any) -> BaseScheduler:
        return BackgroundScheduler(**options)


@contextmanager
def runtime() -> Iterator[BackgroundRuntime]:
    yield BackgroundRuntime()
