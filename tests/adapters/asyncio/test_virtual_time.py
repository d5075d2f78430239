"""A year on an asyncio loop whose time is ours, in well under a second."""

from __future__ import annotations

import asyncio
import time
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from schedcore.adapters.asyncio import AsyncIOScheduler
from tests.same_everywhere.neighbour import slowness


class VirtualAsyncIO(AsyncIOScheduler):
    # Longer than any calendar: no step of this clock goes unnoticed.
    _max_wait_s: ClassVar[float] = 86_400.0 * 400
    _min_gap_s: ClassVar[float] = 0.0


def test_a_year_of_a_daily_job_over_both_dst_changes(virtual_loop: Any) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 1, 1, tzinfo=zone)
    clock = virtual_loop.clock(start)
    runs: list[datetime] = []

    async def main() -> None:
        over = asyncio.Event()

        async def job() -> None:
            await asyncio.sleep(0)
            runs.append(datetime.fromtimestamp(clock.wall_us() / 1e6, zone))
            if len(runs) == 365:
                over.set()

        async with VirtualAsyncIO(clock=clock, timezone=zone) as scheduler:
            scheduler.add_job(job, "cron", hour=2, minute=30)
            await over.wait()
            scheduler.pause()

    began_s = time.process_time()
    virtual_loop.run_until_complete(main())
    took_s = time.process_time() - began_s
    assert [at.date() for at in runs] == [(start + timedelta(days=day)).date() for day in range(365)]
    spring = date(2026, 3, 29)
    assert {at.strftime("%H:%M") for at in runs if at.date() != spring} == {"02:30"}
    assert {at.strftime("%H:%M") for at in runs if at.date() == spring} == {"03:00"}
    assert took_s < 1.0 * slowness(), f"a year took {took_s:.2f} s"
