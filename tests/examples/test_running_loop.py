"""A loop that runs already, in the thread in which the user's code is entered: as in a notebook."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "jupyter" / "cells.py"


class Kernel:
    """Runs cells as ipykernel does: in one namespace, from callbacks of the loop, and a cell may await."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__"}

    async def run(self, cell: str) -> None:
        code = compile(cell, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        call = types.FunctionType(code, self.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            await call()
            return
        over = asyncio.get_running_loop().create_future()

        def run() -> None:
            # No coroutine is running then, but the loop is.
            assert asyncio.current_task() is None
            try:
                over.set_result(call())
            except Exception as error:  # noqa: BLE001  # it is the cell's
                over.set_exception(error)

        asyncio.get_running_loop().call_soon(run)
        await over


def in_notebook(test: Callable[[Kernel], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test(Kernel())

    asyncio.run(bounded())


@pytest.mark.slow
def test_the_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    async def test(kernel: Kernel) -> None:
        for cell in re.split(r"^# %%$", NOTEBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE):
            await kernel.run(cell)
        assert not kernel.namespace["scheduler"].running

    in_notebook(test)
    found = re.fullmatch(r"(\d+) samples\n(\d+) more\n", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) > 1
    assert int(found[2]) > 1


def test_cells_that_start_it_twice_and_wait_where_they_cannot() -> None:
    async def test(kernel: Kernel) -> None:
        await kernel.run(
            "from schedcore.adapters.asyncio import AsyncIOScheduler\n"
            "from schedcore.errors import SchedulerAlreadyRunningError\n"
            "ran = []\n"
            "scheduler = AsyncIOScheduler()\n"
            "job = scheduler.add_job(lambda: ran.append(1), id='job')\n"
            "scheduler.start()"
        )
        with pytest.raises(kernel.namespace["SchedulerAlreadyRunningError"]):
            await kernel.run("scheduler.start()")
        # A cell that does not await returns at once, and the loop goes on.
        await kernel.run("end = scheduler.shutdown()")
        await kernel.run("cut = await end")
        assert kernel.namespace["cut"] == []
        # It may be started in a later cell again.
        await kernel.run("scheduler.start()")
        await kernel.run("scheduler.add_job(ran.append, args=[2])")
        while 2 not in kernel.namespace["ran"]:
            await asyncio.sleep(0.002)
        await kernel.run("await scheduler.shutdown()")

    in_notebook(test)
