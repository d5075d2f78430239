"""``engine.decide`` against the rules of its docstring, written down once more in the slowest way."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime, to_datetime
from schedcore.engine import Claim, decide, dispatch_us
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.run import Skip, SkipReason
from schedcore.triggers import foreign
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.foreign import MAX_STEPS, ForeignTrigger, as_grid
from schedcore.triggers.interval import IntervalTrigger
from tests.effort import lines_run

T0 = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
SECOND = 1_000_000
DAY = 86_400 * SECOND
PLAIN = JobPolicy()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' triggers take no time: on a busy machine a walk would be out of patience, and decide less than it could."""
    monkeypatch.setattr(foreign, "monotonic", lambda: 0.0)


class ListTrigger(EngineTrigger):
    """Fires at the instants that it is given: the slow truth that others are compared with."""

    timezone = UTC

    def __init__(self, times: Sequence[int], jitter_us: int = 0, end_us: int | None = None) -> None:
        self.times = sorted(times)
        self.jitter_us = jitter_us
        self.end_us = end_us

    def next_us(self, after_us: int) -> int | None:
        return min((t for t in self.times if t > after_us), default=None)

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        inside = [t for t in self.times if after_us < t <= upto_us]
        return Backlog(len(inside), max(inside, default=None), self.next_us(upto_us))


class OldKind(BaseTrigger):
    """A trigger of the 3.x kind, one method, over the same list."""

    def __init__(self, times: Sequence[int]) -> None:
        self.times = sorted(times)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        if previous_fire_time is None:
            at_us = from_datetime(now)
            answer = min((t for t in self.times if t >= at_us), default=None)
        else:
            after_us = from_datetime(previous_fire_time)
            answer = min((t for t in self.times if t > after_us), default=None)
        return None if answer is None else to_datetime(answer)


class Answers(BaseTrigger):
    """Answers whatever it is told to."""

    def __init__(self, answer: Callable[[datetime | None, datetime], Any]) -> None:
        self.answer = answer

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> Any:
        return self.answer(previous_fire_time, now)

    def __str__(self) -> str:
        return "odd"


def record(trigger: BaseTrigger, policy: JobPolicy = PLAIN) -> JobRecord:
    return JobRecord("job", "job", print, None, (), NO_KWARGS, as_grid(trigger), policy)


def claim(
    trigger: BaseTrigger,
    fire_us: int,
    policy: JobPolicy = PLAIN,
    *,
    due_us: int | None = None,
    live: int = 0,
) -> Claim:
    return Claim(record(trigger, policy), fire_us, fire_us if due_us is None else due_us, live, None)


def by_the_rules(asked: Claim, now_us: int, times: Sequence[int]) -> tuple[list[int], list[Skip], int | None]:
    """The rules, over a list of all fire times."""
    policy = asked.job.policy
    backlog = [asked.fire_us, *(t for t in sorted(times) if asked.fire_us < t <= now_us)]
    skips: list[Skip] = []

    def skip(reason: SkipReason, passed: list[int]) -> None:
        if passed:
            skips.append(Skip(reason, passed[0], passed[-1], len(passed)))

    if policy.misfire_grace_us is not None:
        due = {t: t for t in backlog} | {asked.fire_us: asked.due_us}
        late = [t for t in backlog if now_us - due[t] > policy.misfire_grace_us]
        skip(SkipReason.MISFIRED, late)
        backlog = [t for t in backlog if t not in late]
    if policy.coalesce:
        skip(SkipReason.COALESCED, backlog[:-1])
        backlog = backlog[-1:]
    else:
        skip(SkipReason.CATCHUP_LIMIT, backlog[policy.max_catchup :])
        backlog = backlog[: policy.max_catchup]
    waiting = asked.live - policy.max_instances
    if waiting > 0 or (waiting == 0 and len(backlog) == 1):
        skip(SkipReason.OVERLAP, backlog)
        backlog = []
    return backlog, skips, min((t for t in times if t > max(now_us, asked.fire_us)), default=None)


policies = st.builds(
    JobPolicy,
    misfire_grace_us=st.none() | st.integers(1, 30),
    coalesce=st.booleans(),
    max_instances=st.integers(1, 3),
    max_catchup=st.integers(1, 8),
)
grids = st.lists(st.integers(0, 60), min_size=1, max_size=25, unique=True)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[int], int, int, JobPolicy, int]:
    """Fire times, the one that is due, now, a policy, and how many runs are live."""
    times = draw(grids)
    fire_us = draw(st.sampled_from(times))
    return times, fire_us, fire_us + draw(st.integers(0, 70)), draw(policies), draw(st.integers(0, 4))


exhaustive = settings(max_examples=400, derandomize=True, deadline=None)


@exhaustive
@given(situations())
def test_follows_the_rules(situation: tuple[list[int], int, int, JobPolicy, int]) -> None:
    times, fire_us, now_us, policy, live = situation
    asked = claim(ListTrigger(times), fire_us, policy, live=live)
    answer = decide(asked, now_us)
    fires, skips, next_us = by_the_rules(asked, now_us, times)
    assert list(answer.fires) == fires
    assert list(answer.skips) == skips
    assert answer.next_us == answer.due_us == next_us
    assert answer.broken is None
    assert answer.error is None


@exhaustive
@given(situations())
def test_accounts_for_every_fire_time_once(situation: tuple[list[int], int, int, JobPolicy, int]) -> None:
    times, fire_us, now_us, policy, live = situation
    answer = decide(claim(ListTrigger(times), fire_us, policy, live=live), now_us)
    backlog = [t for t in times if fire_us <= t <= now_us]
    assert len(answer.fires) + sum(skip.times for skip in answer.skips) == len(backlog)
    assert list(answer.fires) == sorted(set(answer.fires))
    assert set(answer.fires) <= set(backlog)
    for skip in answer.skips:
        assert skip.first_us in backlog
        assert skip.last_us in backlog
        assert skip.times == sum(skip.first_us <= t <= skip.last_us for t in backlog)
        assert not any(skip.first_us <= t <= skip.last_us for t in answer.fires)
    if answer.next_us is not None:
        assert answer.next_us > max(backlog)
        assert answer.next_us > now_us


@exhaustive
@given(situations())
def test_a_trigger_of_the_old_kind_gives_the_same(situation: tuple[list[int], int, int, JobPolicy, int]) -> None:
    times, fire_us, now_us, policy, live = situation
    ours = decide(claim(ListTrigger(times), fire_us, policy, live=live), now_us)
    theirs = decide(claim(OldKind(times), fire_us, policy, live=live), now_us)
    assert ours[1:] == theirs[1:]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    every=st.integers(1, 7),
    start=st.integers(-5, 20),
    length=st.none() | st.integers(0, 60),
    steps=st.integers(0, 9),
    late=st.integers(0, 70),
    policy=policies,
    live=st.integers(0, 3),
)
def test_intervals_in_closed_form_are_those_counted_out(
    every: int, start: int, length: int | None, steps: int, late: int, policy: JobPolicy, live: int
) -> None:
    end = None if length is None else to_datetime(T0 + start + length)
    trigger = IntervalTrigger(seconds=every / SECOND, start_date=to_datetime(T0 + start), end_date=end, timezone="UTC")
    last = start + 200 if length is None else start + length
    times = [T0 + t for t in range(start, last + 1, every)]
    fire_us = times[min(steps, len(times) - 1)]
    now_us = fire_us + late
    asked = claim(trigger, fire_us, policy, live=live)
    answer = decide(asked, now_us)
    fires, skips, next_us = by_the_rules(asked, now_us, times)
    assert (list(answer.fires), list(answer.skips), answer.next_us) == (fires, skips, next_us)


@exhaustive
@given(situations(), st.integers(0, 2**32))
def test_is_pure(situation: tuple[list[int], int, int, JobPolicy, int], seed: int) -> None:
    times, fire_us, now_us, policy, live = situation
    trigger = ListTrigger(times, jitter_us=5)
    before = pickle.dumps((trigger.times, policy))
    asked = claim(trigger, fire_us, policy, live=live)
    first = decide(asked, now_us, Random(seed).random)
    assert decide(asked, now_us, Random(seed).random) == first
    assert pickle.dumps((trigger.times, policy)) == before


def test_cron_state_is_untouched() -> None:
    trigger = CronTrigger(minute="*/5", timezone="Europe/Berlin", jitter=30)
    before = pickle.dumps(trigger)
    fire_us = trigger.first_us(T0)
    assert fire_us is not None
    decide(claim(trigger, fire_us, JobPolicy(coalesce=False)), fire_us + 30 * DAY, Random(1).random)
    assert pickle.dumps(trigger) == before


# -- jitter ------------------------------------------------------------------------------------------------------------


@exhaustive
@given(situations(), st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.none() | st.integers(0, 70))
def test_jitter_stays_before_the_next_fire_time_and_the_end(
    situation: tuple[list[int], int, int, JobPolicy, int], jitter_us: int, draw: float, end: int | None
) -> None:
    times, fire_us, now_us, policy, live = situation
    if end is not None:
        times = [t for t in times if t <= end] or [end]
        fire_us = min(fire_us, max(times))
    trigger = ListTrigger(times, jitter_us, end)
    answer = decide(claim(trigger, fire_us, policy, live=live), now_us, lambda: draw)
    if answer.next_us is None:
        assert answer.due_us is None
        return
    assert answer.due_us is not None
    assert answer.next_us <= answer.due_us <= answer.next_us + jitter_us
    after_us = trigger.next_us(answer.next_us)
    assert after_us is None or answer.due_us < after_us
    assert end is None or answer.due_us <= end


def dispatches(trigger: EngineTrigger, start_us: int, runs: int, seed: int = 7) -> list[tuple[int, int]]:
    """Fire time and dispatch of the first ``runs`` runs, each decided about when it is due."""
    draw = Random(seed).random
    fire_us = trigger.first_us(start_us)
    assert fire_us is not None
    due_us = dispatch_us(trigger, fire_us, draw)
    found: list[tuple[int, int]] = []
    while len(found) < runs:
        answer = decide(claim(trigger, fire_us, due_us=due_us), due_us, draw)
        assert answer.fires == (fire_us,)
        found.append((fire_us, due_us))
        if answer.next_us is None or answer.due_us is None:
            break
        fire_us, due_us = answer.next_us, answer.due_us
    return found


@pytest.mark.parametrize(
    ("trigger", "period_s", "jitter_s"),
    [
        (CronTrigger(minute=0, jitter=120, timezone="Europe/Berlin"), 3600, 120),  # ran twice an hour elsewhere
        (IntervalTrigger(seconds=60, jitter=10, start_date=to_datetime(T0), timezone="UTC"), 60, 10),  # drifted
        (CronTrigger(second="*/10", jitter=15, timezone="UTC"), 10, 10),  # lost runs: jitter beyond the period
    ],
    ids=["cron hourly", "interval", "jitter longer than the period"],
)
def test_jitter_keeps_the_mean_period(trigger: EngineTrigger, period_s: int, jitter_s: int) -> None:
    found = dispatches(trigger, T0, 1000)
    fire_times = [fire_us for fire_us, _ in found]
    assert fire_times == [fire_times[0] + k * period_s * SECOND for k in range(1000)]
    delays = [due_us - fire_us for fire_us, due_us in found]
    assert all(0 <= delay < jitter_s * SECOND for delay in delays)
    assert [due_us for _, due_us in found] == sorted({due_us for _, due_us in found})
    mean_s = sum(delays) / len(delays) / SECOND
    assert 0.4 * jitter_s < mean_s < 0.6 * jitter_s


def test_jitter_is_cut_at_the_end_date() -> None:
    end = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
    trigger = CronTrigger(hour=12, jitter=600, end_date=end, timezone="UTC")
    [(fire_us, due_us)] = dispatches(trigger, T0, 10)
    assert to_datetime(fire_us) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert fire_us <= due_us <= from_datetime(end)


def test_lateness_counts_from_the_jittered_dispatch() -> None:
    trigger = IntervalTrigger(seconds=60, jitter=30, start_date=to_datetime(T0), timezone="UTC")
    policy = JobPolicy(misfire_grace_us=SECOND)
    asked = claim(trigger, T0, policy, due_us=T0 + 20 * SECOND)
    assert decide(asked, T0 + 21 * SECOND).fires == (T0,)
    assert decide(asked, T0 + 21 * SECOND + 1).fires == ()


# -- triggers that break their contract ----------------------------------------------------------------------------------


def hour_later(previous: datetime | None, now: datetime) -> datetime:
    return to_datetime(from_datetime(previous or now) + 3600 * SECOND)


def raising(previous: datetime | None, now: datetime) -> datetime:
    raise ZeroDivisionError("no such day")


class MuteError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def mute(previous: datetime | None, now: datetime) -> datetime:
    raise MuteError


BROKEN: dict[str, tuple[Callable[[datetime | None, datetime], Any], str]] = {
    "stands still": (lambda previous, now: previous, "does not advance"),
    "goes back": (lambda previous, now: to_datetime(T0 - DAY), "does not advance"),
    "raises": (raising, "its trigger raised ZeroDivisionError: no such day"),
    "raises what cannot be shown": (mute, "its trigger raised MuteError (it cannot be shown"),
    "naive": (lambda previous, now: datetime(2026, 1, 2), "which names no instant without a time zone"),  # noqa: DTZ001
    "text": (lambda previous, now: "tomorrow", "returned 'tomorrow', not a datetime or None"),
    "number": (lambda previous, now: 17, "returned 17, not a datetime or None"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_trigger_sets_its_job_aside_after_what_is_due(kind: str) -> None:
    answer_of, reason = BROKEN[kind]
    answer = decide(claim(Answers(answer_of), T0), T0 + DAY)
    assert answer.fires == (T0,)
    assert answer.skips == ()
    assert answer.next_us is None
    assert answer.due_us is None
    assert answer.broken is not None
    assert reason in answer.broken
    assert (answer.error is None) == ("does not advance" in reason)


def leaving(previous: datetime | None, now: datetime) -> datetime:
    sys.exit(3)


def test_a_trigger_that_exits_is_broken_where_no_signal_handler_can_have_done_it() -> None:
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(decide, claim(Answers(leaving), T0), T0).result()
    assert answer.fires == (T0,)
    assert answer.broken == "its trigger raised RuntimeError: it called sys.exit(3)"
    assert isinstance(answer.error, RuntimeError)
    assert isinstance(answer.error.__cause__, SystemExit)
    with pytest.raises(SystemExit):
        decide(claim(Answers(leaving), T0), T0)


@pytest.mark.parametrize(
    ("policy", "behind", "live", "made", "skipped"),
    [
        (JobPolicy(coalesce=False), 26, 0, 27, []),
        (JobPolicy(coalesce=False), 26, 1, 27, []),
        (JobPolicy(coalesce=False), 26, 2, 0, [(SkipReason.OVERLAP, 27)]),
        (JobPolicy(coalesce=False), 0, 1, 0, [(SkipReason.OVERLAP, 1)]),
        (JobPolicy(coalesce=False, max_instances=3), 26, 2, 27, []),
        (JobPolicy(coalesce=False, max_instances=3), 26, 3, 27, []),
        (JobPolicy(coalesce=False, max_instances=3), 26, 4, 0, [(SkipReason.OVERLAP, 27)]),
        (JobPolicy(coalesce=False, max_catchup=20), 26, 1, 20, [(SkipReason.CATCHUP_LIMIT, 7)]),
        (JobPolicy(coalesce=False, misfire_grace_us=9 * SECOND), 26, 1, 10, [(SkipReason.MISFIRED, 17)]),
        (
            JobPolicy(coalesce=False, misfire_grace_us=SECOND // 2),
            26,
            1,
            0,
            [(SkipReason.MISFIRED, 26), (SkipReason.OVERLAP, 1)],
        ),
        (JobPolicy(), 26, 1, 0, [(SkipReason.COALESCED, 26), (SkipReason.OVERLAP, 1)]),
    ],
)
def test_a_backlog_behind_live_runs(
    policy: JobPolicy, behind: int, live: int, made: int, skipped: list[tuple[SkipReason, int]]
) -> None:
    """What was missed while nobody could look is made behind the run that is live, unless earlier ones wait for it."""
    trigger = IntervalTrigger(seconds=1, start_date=to_datetime(T0), timezone="UTC")
    answer = decide(claim(trigger, T0, policy, live=live), T0 + behind * SECOND)
    assert len(answer.fires) == made
    assert [(skip.reason, skip.times) for skip in answer.skips] == skipped
    assert answer.next_us == T0 + (behind + 1) * SECOND


@exhaustive
@given(situations())
def test_a_live_run_takes_nothing_from_a_backlog_that_is_not_coalesced(
    situation: tuple[list[int], int, int, JobPolicy, int],
) -> None:
    times, fire_us, now_us, policy, _ = situation
    policy = policy._replace(coalesce=False)
    trigger = ListTrigger(times)
    alone = decide(claim(trigger, fire_us, policy), now_us)
    beside = decide(claim(trigger, fire_us, policy, live=policy.max_instances), now_us)
    if len(alone.fires) > 1:
        assert beside[1:] == alone[1:]
    else:
        assert beside.fires == ()


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_trigger_does_not_change_the_other_rules(kind: str) -> None:
    trigger = Answers(BROKEN[kind][0])
    late = decide(claim(trigger, T0, JobPolicy(misfire_grace_us=SECOND)), T0 + 2 * SECOND)
    assert late.fires == ()
    assert late.skips == (Skip(SkipReason.MISFIRED, T0, T0, 1),)
    assert late.broken is not None
    busy = decide(claim(trigger, T0, live=1), T0)
    assert busy.fires == ()
    assert busy.skips == (Skip(SkipReason.OVERLAP, T0, T0, 1),)
    assert busy.broken is not None


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("grace_h", [None, 3, 23])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_trigger_that_breaks_within_a_backlog(kind: str, coalesce: bool, grace_h: int | None, after: int) -> None:
    """It answers ``after`` times as it should, and then never again: no loop, and what was found is accounted for."""
    calls = 0

    def answer_of(previous: datetime | None, now: datetime) -> Any:
        nonlocal calls
        calls += 1
        at = hour_later(previous, now)
        return at if at <= to_datetime(T0 + after * 3600 * SECOND) else BROKEN[kind][0](previous, now)

    policy = JobPolicy(coalesce=coalesce, misfire_grace_us=None if grace_h is None else grace_h * 3600 * SECOND)
    answer = decide(claim(Answers(answer_of), T0, policy), T0 + DAY)
    assert answer.broken is not None
    assert answer.next_us is None
    assert bool(answer.fires) == (grace_h is None or (grace_h == 23 and answer.error is None))
    assert calls < 50
    if answer.error is None:
        assert len(answer.fires) + sum(skip.times for skip in answer.skips) == 1 + after


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    st.lists(st.none() | st.integers(0, 40), min_size=1, max_size=8),
    st.integers(0, 20),
    st.integers(0, 40),
    policies,
    st.integers(0, 3),
)
def test_whatever_a_trigger_answers_nothing_is_doubled_and_time_goes_on(
    answers: list[int | None], fire_us: int, late_us: int, policy: JobPolicy, live: int
) -> None:
    calls = 0

    def answer_of(previous: datetime | None, now: datetime) -> datetime | None:
        nonlocal calls
        calls += 1
        at_us = answers[calls % len(answers)]
        return None if at_us is None else to_datetime(at_us)

    answer = decide(claim(Answers(answer_of), fire_us, policy, live=live), fire_us + late_us)
    assert calls < 200
    assert list(answer.fires) == sorted(set(answer.fires))
    for at_us in answer.fires:
        assert fire_us <= at_us <= fire_us + late_us
        assert not any(skip.first_us <= at_us <= skip.last_us for skip in answer.skips)
    for earlier, later in zip(answer.skips, answer.skips[1:], strict=False):
        assert earlier.last_us < later.first_us or later.last_us < earlier.first_us
    if answer.next_us is not None:
        assert answer.next_us > max([fire_us, *answer.fires, *(skip.last_us for skip in answer.skips)])


def test_a_trigger_that_crawls_cannot_take_long() -> None:
    """One microsecond further at each call: the search ends, and so does the work of one decision."""
    calls = 0

    def crawl(previous: datetime | None, now: datetime) -> datetime:
        nonlocal calls
        calls += 1
        return to_datetime(from_datetime(previous or now) + 1)

    answer = decide(claim(Answers(crawl), T0), T0 + 3600 * SECOND)
    assert calls <= 4 * MAX_STEPS
    assert answer.broken is None
    assert answer.next_us is not None
    assert answer.next_us > T0 + 3600 * SECOND


def test_what_is_not_an_exception_passes() -> None:
    def stop(previous: datetime | None, now: datetime) -> datetime:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decide(claim(Answers(stop), T0), T0)


# -- a long sleep ----------------------------------------------------------------------------------------------------------

SLEEPS = {"30 days": 30 * DAY, "10 years": 3653 * DAY}


@pytest.mark.parametrize("length", SLEEPS)
@pytest.mark.parametrize("grace_us", [None, 3600 * SECOND])
def test_a_long_sleep_is_one_short_decision(length: str, grace_us: int | None) -> None:
    trigger = IntervalTrigger(seconds=1, start_date=to_datetime(T0), timezone="UTC")
    asked = claim(trigger, T0, JobPolicy(misfire_grace_us=grace_us))
    now_us = T0 + SLEEPS[length] + 1
    answer = decide(asked, now_us)
    assert answer.fires == (T0 + SLEEPS[length],)
    assert sum(skip.times for skip in answer.skips) == SLEEPS[length] // SECOND
    assert answer.next_us == T0 + SLEEPS[length] + SECOND
    assert lines_run(lambda: decide(asked, now_us)) < 500


@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("trigger", ["interval", "cron", "old kind"])
def test_a_long_sleep_takes_no_memory(trigger: str, coalesce: bool) -> None:
    made: dict[str, BaseTrigger] = {
        "interval": IntervalTrigger(seconds=1, start_date=to_datetime(T0), timezone="UTC"),
        "cron": CronTrigger(second="*", timezone="Europe/Berlin"),
        "old kind": Answers(
            lambda previous, now: to_datetime(from_datetime(previous or now) // SECOND * SECOND + SECOND)
        ),
    }
    asked = claim(made[trigger], T0, JobPolicy(coalesce=coalesce, max_catchup=100))
    decide(asked, T0 + SLEEPS["30 days"])  # what is built once is built
    peaks = []
    for length_us in SLEEPS.values():
        tracemalloc.start()
        answer = decide(asked, T0 + length_us)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(answer.fires) == (1 if coalesce else 100)
        assert answer.next_us == T0 + length_us + SECOND
    assert max(peaks) < 100_000


def test_an_old_kind_that_cannot_skip_ahead_is_walked_in_parts() -> None:
    """It answers from its own state only: each decision goes a bounded way further, later than the last, and accounts for it."""
    calls = 0

    def plod(previous: datetime | None, now: datetime) -> datetime:
        nonlocal calls
        calls += 1
        return to_datetime((T0 if previous is None else from_datetime(previous)) + SECOND)

    now_us = T0 + 3 * MAX_STEPS * SECOND
    fire_us: int | None = T0
    decided = []
    while fire_us is not None and fire_us <= now_us:
        calls = 0
        answer = decide(claim(Answers(plod), fire_us), now_us)
        assert calls <= 4 * MAX_STEPS
        assert answer.broken is None
        assert answer.next_us is not None
        decided.append(len(answer.fires) + sum(skip.times for skip in answer.skips))
        assert answer.next_us > fire_us
        fire_us = answer.next_us
    assert sum(decided) == 3 * MAX_STEPS + 1


def test_wrapping_keeps_the_trigger_itself() -> None:
    inner = OldKind([1, 2, 3])
    wrapped = as_grid(inner)
    assert isinstance(wrapped, ForeignTrigger)
    assert wrapped.inner is inner
    grid = ListTrigger([1])
    assert as_grid(grid) is grid
