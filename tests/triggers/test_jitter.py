"""Jitter: a delay on top of a grid that it does not move, in the engine and in whole schedulers."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime, to_datetime
from schedcore.engine import Claim, decide, dispatch_us
from schedcore.errors import InvalidTriggerError
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.run import Run, current_run
from schedcore.testing import VirtualScheduler
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.jitter import Jitter, from_jitter_us

calm = settings(deadline=None, derandomize=True, max_examples=200)
SECOND = 1_000_000
START = "2026-01-01T00:00:00+00:00"
T0 = from_datetime(datetime.fromisoformat(START))
MODES: list[Callable[[float], float]] = [float, lambda seconds: Jitter(seconds, "hashed")]


def run_for(trigger: BaseTrigger, seconds: float, job_id: str = "job") -> list[tuple[float, float]]:
    """Each run in a whole scheduler: its fire time and when it began, in seconds from the start."""
    scheduler = VirtualScheduler(start=START)
    seen: list[tuple[float, float]] = []

    def job() -> None:
        run = current_run.get()
        assert isinstance(run, Run)
        seen.append(((run.fire_us - T0) / SECOND, (scheduler.clock.wall_us() - T0) / SECOND))

    scheduler.add_job(job, trigger, id=job_id)
    scheduler.start()
    scheduler.advance(seconds)
    scheduler.shutdown()
    return seen


@pytest.mark.parametrize("jitter", MODES, ids=["random", "hashed"])
def test_j1_an_hourly_job_runs_once_an_hour(jitter: Callable[[float], float]) -> None:
    runs = run_for(CronTrigger(minute=0, timezone="UTC", jitter=jitter(120)), 240 * 3600 - 1)
    assert [fire for fire, _ in runs] == [3600 * hour for hour in range(240)]
    assert all(fire <= began <= fire + 120 for fire, began in runs)
    assert len({round(began - fire) for fire, began in runs}) > 50


@pytest.mark.parametrize("jitter", MODES, ids=["random", "hashed"])
def test_j2_no_run_is_dropped_at_the_end_nor_begins_after_it(jitter: Callable[[float], float]) -> None:
    for end_s in (0, 1, 5):
        trigger = CronTrigger(
            minute=0, timezone="UTC", jitter=jitter(120), end_date=to_datetime(T0 + (7200 + end_s) * SECOND)
        )
        runs = run_for(trigger, 4 * 3600)
        assert [fire for fire, _ in runs] == [0, 3600, 7200]
        assert runs[-1][1] <= 7200 + end_s


@pytest.mark.parametrize("jitter", MODES, ids=["random", "hashed"])
def test_j3_jitter_does_not_add_up(jitter: Callable[[float], float]) -> None:
    trigger = IntervalTrigger(seconds=60, start_date=START, timezone="UTC", jitter=jitter(10))
    runs = run_for(trigger, 60 * 1000)
    assert [fire for fire, _ in runs[:1000]] == [60 * number for number in range(1000)]
    assert all(fire <= began <= fire + 10 for fire, began in runs)
    period_s = (runs[999][1] - runs[0][1]) / 999
    assert period_s == pytest.approx(60, rel=0.001)


@pytest.mark.parametrize("jitter", MODES, ids=["random", "hashed"])
def test_j4_jitter_that_is_larger_than_the_period_loses_no_run(jitter: Callable[[float], float]) -> None:
    runs = run_for(CronTrigger(second="*/10", timezone="UTC", jitter=jitter(15)), 100 - 0.001)
    assert [fire for fire, _ in runs] == [10 * number for number in range(10)]
    assert all(fire <= began < fire + 10 for fire, began in runs)


@pytest.mark.parametrize(
    "make",
    [
        lambda jitter: CalendarIntervalTrigger(days=1, start_date="2026-01-01", timezone="UTC", jitter=jitter),
        lambda jitter: OrTrigger(
            [CronTrigger(hour="*/6", timezone="UTC"), CronTrigger(hour=1, timezone="UTC")], jitter=jitter
        ),
        lambda jitter: AndTrigger(
            [CronTrigger(hour="*/6", timezone="UTC", jitter=jitter), CronTrigger(minute=0, timezone="UTC")]
        ),
    ],
)
def test_other_triggers(make: Callable[[float], BaseTrigger]) -> None:
    for mode in MODES:
        plain, spread = run_for(make(mode(0)), 20 * 86400 - 1), run_for(make(mode(300)), 20 * 86400 - 1)
        assert [fire for fire, _ in spread] == [fire for fire, _ in plain]
        assert all(fire == began for fire, began in plain)
        assert sum(began > fire for fire, began in spread) > len(spread) / 2


def test_hashed_jitter_is_the_same_at_every_start_and_not_for_every_job() -> None:
    trigger = IntervalTrigger(seconds=60, start_date=START, timezone="UTC", jitter=Jitter(30, "hashed"))
    first = run_for(trigger, 1800)
    assert run_for(trigger, 1800) == first
    other = run_for(trigger, 1800, "another")
    assert [fire for fire, _ in other] == [fire for fire, _ in first]
    assert sum(one == two for one, two in zip(first, other, strict=True)) < 3


def test_hashed_delays_are_spread_evenly() -> None:
    trigger = IntervalTrigger(hours=1, start_date=START, timezone="UTC", jitter=Jitter(60, "hashed"))
    delays = Counter((dispatch_us(trigger, T0, None, f"job {number}") - T0) // (6 * SECOND) for number in range(2000))
    assert set(delays) == set(range(10))
    assert all(140 < number < 260 for number in delays.values())
    # The same on every machine: this is what the stores of running systems were written with.
    assert dispatch_us(trigger, T0, None, "job") - T0 == PINNED_US


PINNED_US = 50_278_716


@calm
@given(
    step_s=st.integers(1, 100),
    jitter_us=st.integers(-200 * SECOND, 200 * SECOND),
    share=st.floats(0, 1, exclude_max=True),
    room_s=st.none() | st.integers(0, 150),
    job_id=st.text(max_size=5),
)
def test_a_dispatch_is_before_the_next_fire_time_and_not_after_the_end(
    step_s: int, jitter_us: int, share: float, room_s: int | None, job_id: str
) -> None:
    end = None if room_s is None else to_datetime(T0 + room_s * SECOND)
    trigger = IntervalTrigger(
        seconds=step_s, start_date=START, end_date=end, timezone="UTC", jitter=from_jitter_us(jitter_us)
    )
    assert trigger.jitter_us == jitter_us
    at_us = dispatch_us(trigger, T0, lambda: share, job_id)
    assert T0 <= at_us <= T0 + abs(jitter_us)
    following = trigger.next_us(T0)
    assert following is None or at_us < following
    assert trigger.end_us is None or at_us <= trigger.end_us
    if jitter_us < 0:
        assert at_us == dispatch_us(trigger, T0, None, job_id)


def test_the_engine_hashes_with_the_jobs_id() -> None:
    trigger = IntervalTrigger(minutes=1, start_date=START, timezone="UTC", jitter=Jitter(30, "hashed"))

    def decided(now_us: int, coalesce: bool = True) -> int | None:
        job = JobRecord("job", "job", print, None, (), NO_KWARGS, trigger, JobPolicy(coalesce=coalesce))
        return decide(Claim(job, T0, T0, 0, None), now_us).due_us

    assert decided(T0) == dispatch_us(trigger, T0 + 60 * SECOND, None, "job")
    assert decided(T0 + 200 * SECOND) == dispatch_us(trigger, T0 + 240 * SECOND, None, "job")


TRIGGERS: list[Callable[[Any], EngineTrigger]] = [
    lambda jitter: IntervalTrigger(minutes=1, start_date=START, timezone="UTC", jitter=jitter),
    lambda jitter: CronTrigger(minute=1, timezone="UTC", jitter=jitter),
    lambda jitter: CalendarIntervalTrigger(days=1, start_date="2026-01-01", timezone="UTC", jitter=jitter),
    lambda jitter: OrTrigger([CronTrigger(minute=1, timezone="UTC")], jitter=jitter),
]


@pytest.mark.parametrize("make", TRIGGERS)
def test_jitter_is_part_of_the_value(make: Callable[[Any], Any]) -> None:
    trigger = make(Jitter(2.5, "hashed"))
    assert trigger.jitter == 2.5
    assert trigger.jitter.mode == "hashed"
    assert trigger.jitter_us == -2_500_000
    assert trigger != make(2.5)
    assert make(Jitter(2.5)) == make(2.5)
    assert "jitter=Jitter(2.5, 'hashed')" in repr(trigger)
    restored = object.__new__(type(trigger))
    restored.__setstate__(json.loads(json.dumps(trigger.__getstate__())))
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert (repr(copy), copy.jitter_us) == (repr(trigger), trigger.jitter_us)


def test_the_value() -> None:
    assert float(Jitter(5)) == 5
    assert Jitter(5).us == 5_000_000
    assert from_jitter_us(0) is None
    assert pickle.loads(pickle.dumps(Jitter(1, "hashed"))).mode == "hashed"
    assert repr(Jitter(5)) == "Jitter(5.0, 'random')"
    wrong: list[tuple[Any, ...]] = [(-1,), ("5",), (float("nan"),), (True,), (None,)]
    for arguments in wrong:
        with pytest.raises(InvalidTriggerError, match="give the longest delay in seconds, 0 or more"):
            Jitter(*arguments)
    with pytest.raises(InvalidTriggerError, match="did you mean 'hashed'"):
        Jitter(5, "hash")  # type: ignore[arg-type]
