"""Plain functions in threads. One that returns an awaitable means the loop's: it is awaited there."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, wait
from typing import Any

from schedcore.adapters.asyncio.wakeup import is_over, is_the_programs
from schedcore.executors.loop import LOOK_S
from schedcore.executors.pool import ThreadPoolExecutor

__all__ = ["Threads"]


class Threads(ThreadPoolExecutor):
    """``loop`` is to be set before it is started."""

    loop: asyncio.AbstractEventLoop

    def _finish_awaitable(self, awaitable: Any) -> Any:
        stopped: list[BaseException] = []

        async def value() -> Any:
            try:
                return await awaitable
            except (Exception, asyncio.CancelledError, GeneratorExit):
                raise
            # What is left would end the loop, which is not the job's: it goes back to the job's thread.
            except BaseException as error:
                if is_the_programs(error):
                    raise
                stopped.append(error)

        loop = self.loop
        coroutine = value()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()
            raise
        while not wait([future], LOOK_S).done:
            if is_over(loop):
                raise RuntimeError("the event loop ended before the awaitable that the job returned")
        try:
            retval = future.result()
        except CancelledError as error:
            raise RuntimeError("the awaitable that the job returned was cancelled") from error
        if stopped:
            raise stopped.pop()
        return retval
