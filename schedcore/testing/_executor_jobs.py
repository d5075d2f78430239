"""The jobs of the suite of executors. They meet through files, so that they work alike in threads, processes and on loops."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

from schedcore.run import current_run
from schedcore.testing._suite import patience

__all__ = [
    "append",
    "double",
    "echo",
    "exit_with",
    "fail",
    "generate",
    "hold",
    "interrupt",
    "leave_behind",
    "left_behind",
    "return_awaitable",
    "who_am_i",
    "who_am_i_in_a_coroutine",
]


def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def fail(message: str) -> None:
    raise ValueError(message)


def exit_with(code: object) -> None:
    sys.exit(cast(Any, code))


def interrupt() -> None:
    raise KeyboardInterrupt


async def double(value: int, pause: Callable[[], Awaitable[object]] | None = None) -> int:
    if pause is None:
        import asyncio

        await asyncio.sleep(0)
    else:
        await pause()
    return 2 * value


def return_awaitable(value: int, pause: Callable[[], Awaitable[object]] | None = None) -> Any:
    return double(value, pause)


def generate() -> Iterator[int]:
    yield 1


def who_am_i() -> tuple[object, ...] | None:
    run = current_run.get()
    return None if run is None else (run.id, run.job.id, run.alias, run.fire_us, run.attempt, run.scheduled_at)


async def who_am_i_in_a_coroutine() -> tuple[object, ...] | None:
    return who_am_i()


left_behind: ContextVar[str | None] = ContextVar("schedcore_check_left_behind", default=None)


def leave_behind(text: str) -> str | None:
    found = left_behind.get()
    left_behind.set(text)
    return found


def append(path: str, text: str) -> None:
    """One write to a file opened for appending: whole, whoever else writes."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def hold(folder: str, name: str) -> str:
    """Say that it has begun, and wait until it is let go, or its check has failed and cleared the folder away."""
    Path(folder, f"{name}.begun").touch()
    deadline = time.monotonic() + patience.seconds
    while not Path(folder, "go").exists() and Path(folder).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was never let go")
        time.sleep(0.002)
    return name
