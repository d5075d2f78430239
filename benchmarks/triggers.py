"""The next fire time, beside APScheduler and beside the two libraries that do nothing else, cronsim and croniter.

One measurement asks for ``size`` fire times of each expression in each zone, in short chains that begin at various times of
the year, each answer being the next question. Each library is asked as its documentation shows: the schedulers' triggers by
``get_next_fire_time``, the other two as iterators. Making the objects is not part of it (it is a case of its own). The
expressions mean the same to all four: weekdays by name, and never both kinds of day restricted. The time of an expression is
the median of its chains, so that what interrupts one of them does not make it the slowest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import cycle, islice, pairwise
from random import Random
from statistics import fmean, geometric_mean, median
from time import perf_counter, process_time, thread_time
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks._meters import Watch, percentile
from benchmarks._plan import LIBRARIES, Case, Figures, Target

__all__ = ["CASES", "EXPRESSIONS", "TARGETS", "ZONES"]

EXPRESSIONS = (
    "* * * * *",
    "*/2 * * * *",
    "*/5 * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "30 * * * *",
    "7,37 * * * *",
    "0 */2 * * *",
    "0 */6 * * *",
    "*/10 9-17 * * *",
    "*/5 9-17 * * mon-fri",
    "0 9-17 * * mon-fri",
    "0 0 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "15 10,12 * * *",
    "0 22 * * mon-fri",
    "0 0 * * mon",
    "5 4 * * sun",
    "0 6 * * sat,sun",
    "0 0 1 * *",
    "0 0 1,15 * *",
    "30 8 1-7 * *",
    "0 12 31 * *",
    "0 0 1 */3 *",
    "0 9 * jan-mar mon",
    "0 12 * jul,aug *",
    "0 0 1 1 *",
    "0 0 25 12 *",
    "59 23 31 12 *",
    "0 0 29 2 *",
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York")
SUBJECTS = (*LIBRARIES, "cronsim", "croniter")

# Answers in a row. Leap days are four years apart, and some of the libraries end in 2099.
_CHAIN = 10
_STARTS = tuple(datetime(2026, month, 27, 22, 58, 30, tzinfo=UTC) for month in (1, 3, 6, 10, 12))

# Seeds of random schedules.
_SEEDS = 6

#: From a start, a function that gives one fire time after the other.
_Asker = Callable[[datetime], Callable[[], Any]]


def _asker(subject: str, expression: str, zone: ZoneInfo) -> _Asker:
    if subject == "cronsim":
        simulated = import_module("cronsim").CronSim
        return lambda start: simulated(expression, start.astimezone(zone)).__next__
    if subject == "croniter":
        iterator = import_module("croniter").croniter

        def from_start(start: datetime) -> Callable[[], Any]:
            get_next = iterator(expression, start.astimezone(zone)).get_next
            return lambda: get_next(datetime)

        return from_start
    trigger = import_module(f"{subject}.triggers.cron").CronTrigger.from_crontab(expression, timezone=zone)
    ask = trigger.get_next_fire_time

    def chained(start: datetime) -> Callable[[], Any]:
        last = start.astimezone(zone)

        def following() -> Any:
            nonlocal last
            last = ask(last, last)
            return last

        return following

    return chained


def _one(step: Callable[[], Any]) -> float:
    """Microseconds for each answer of a chain."""
    began_s = perf_counter()
    for _ in range(_CHAIN):
        step()
    return (perf_counter() - began_s) / _CHAIN * 1e6


def following(subject: str, n: int) -> Figures:
    """``n`` fire times of each expression in each zone."""
    wall_us: list[float] = []
    cpu_s = 0.0
    for expression in EXPRESSIONS:
        zones_us = []
        for name in ZONES:
            ask = _asker(subject, expression, ZoneInfo(name))
            chains = [ask(start) for start in islice(cycle(_STARTS), n // _CHAIN)]
            began_s = process_time()
            zones_us.append(median([_one(step) for step in chains]))
            cpu_s += process_time() - began_s
        wall_us.append(fmean(zones_us))
    return {
        "mean_us": fmean(wall_us),
        "mean_cpu_us": cpu_s / (n // _CHAIN * _CHAIN * len(ZONES) * len(EXPRESSIONS)) * 1e6,
        "geometric_mean_us": geometric_mean(wall_us),
        "worst_us": max(wall_us),
    }


def instants(subject: str, n: int) -> Figures:
    """The same as a scheduler asks it, in integers."""
    assert subject == "schedcore"
    wall_us: list[float] = []
    for expression in EXPRESSIONS:
        zones_us = []
        for name in ZONES:
            ask = import_module("schedcore.triggers.cron").CronTrigger.from_crontab(expression, name).next_us
            chains_us = []
            for start in islice(cycle(_STARTS), n // _CHAIN):
                at_us = int(start.timestamp()) * 1_000_000
                began_s = perf_counter()
                for _ in range(_CHAIN):
                    at_us = ask(at_us)
                chains_us.append((perf_counter() - began_s) / _CHAIN * 1e6)
            zones_us.append(median(chains_us))
        wall_us.append(fmean(zones_us))
    return {"mean_us": fmean(wall_us), "worst_us": max(wall_us)}


def making(subject: str, n: int) -> Figures:
    """A trigger from crontab text, each of the ``n`` another text."""
    zone = ZoneInfo("Europe/Berlin")
    start = _STARTS[0].astimezone(zone)
    texts = [f"{i % 60} {i // 60 % 24} {1 + i // 1440 % 28} * *" for i in range(n)]
    make: Callable[[str], Any]
    if subject in LIBRARIES:
        from_crontab = import_module(f"{subject}.triggers.cron").CronTrigger.from_crontab
        make = lambda text: from_crontab(text, timezone=zone)  # noqa: E731
    else:
        cls = import_module(subject).croniter if subject == "croniter" else import_module(subject).CronSim
        make = lambda text: cls(text, start)  # noqa: E731
    make("* * * * *")
    with Watch() as watch:
        for text in texts:
            make(text)
    return {"make_us": watch.wall_s / n * 1e6, "make_cpu_us": watch.cpu_s / n * 1e6}


def interval(subject: str, n: int) -> Figures:
    """The fire times of an interval, one after the other."""
    start = datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    trigger = import_module(f"{subject}.triggers.interval").IntervalTrigger(minutes=5, start_date=start)
    ask = trigger.get_next_fire_time
    last = start
    with Watch() as watch:
        for _ in range(n):
            last = ask(last, last)
    return {"next_us": watch.wall_s / n * 1e6, "next_cpu_us": watch.cpu_s / n * 1e6}


def coalescing(subject: str, n: int) -> Figures:
    """What to do about ``n`` missed minutes: how many, the last of them, and the next one after now.

    The best of some, each over another span: what is told is the work, not what the rest of the machine does meanwhile.
    """
    assert subject == "schedcore"
    took_us = []
    for name in ZONES:
        trigger = import_module("schedcore.triggers.cron").CronTrigger.from_crontab("* * * * *", name)
        points = [int((_STARTS[0] + timedelta(days=3 * i)).timestamp()) * 1_000_000 for i in range(21)]
        best_s = float("inf")
        for at_us, _ in pairwise(points):
            began_s = perf_counter()
            backlog = trigger.backlog(at_us, at_us + n * 60_000_000)
            best_s = min(best_s, perf_counter() - began_s)
            assert backlog.times == n
        took_us.append(best_s * 1e6)
    return {"backlog_us": fmean(took_us)}


def searching(subject: str, n: int) -> Figures:
    """``n`` random schedules of each kind for each of some seeds, of which triggers remember nothing: how long it takes to make
    one, to answer its first question, for which all is worked out that depends on the schedule alone, and the fifty that follow;
    and how many first searches ended without an answer. In CPU time of the thread, without that of the garbage collector; what
    takes long is measured again, since anything may have disturbed it. Of each kind the slowest are told.
    """
    assert subject == "schedcore"
    from benchmarks._schedules import ASKED, KINDS, forget
    from schedcore.errors import InvalidTriggerError

    asked_us = [int(datetime.fromisoformat(text).timestamp()) * 1_000_000 for text in ASKED]
    figures: dict[str, float] = {}
    lost = 0
    for kind, make in KINDS.items():
        found_ms: dict[str, list[float]] = {"made": [], "first": [], "later": []}
        slowest: dict[str, tuple[float, str]] = dict.fromkeys(found_ms, (0.0, ""))
        for random in [Random(f"{kind} {number}") for number in range(_SEEDS)]:
            count = 0
            while count < n:
                seed, at_us = random.random(), random.choice(asked_us)
                try:
                    _asked_ms(make(Random(seed)), at_us)  # what is worked out once for its zones
                except InvalidTriggerError:  # refused when it is made
                    continue
                count += 1
                best: list[float] = []
                for _ in range(3):
                    forget()
                    began_s = thread_time()
                    trigger = make(Random(seed))
                    took_ms = [(thread_time() - began_s) * 1e3]
                    first_ms, answered = _asked_ms(trigger, at_us)
                    took_ms += [first_ms, *(_following_ms(trigger, at_us) if answered else ())]
                    best = [min(both) for both in zip(best, took_ms, strict=True)] if best else took_ms
                    if max(best) < 0.5:
                        break
                lost += not answered
                for what, times_ms in (("made", best[:1]), ("first", best[1:2]), ("later", best[2:])):
                    found_ms[what] += times_ms
                    if times_ms and max(times_ms) > slowest[what][0]:
                        slowest[what] = max(times_ms), f"Random({seed}) asked at {at_us}: {trigger}"
        for what, all_ms in found_ms.items():
            if not all_ms:  # none of a few fires
                continue
            figures[f"{kind}_{what}_median_ms"] = median(all_ms)
            figures[f"{kind}_{what}_99_percent_ms"] = percentile(all_ms, 0.99)
            figures[f"{kind}_{what}_worst_ms"] = max(all_ms)
            figures[f"{what}_worst_ms"] = max(*all_ms, figures.get(f"{what}_worst_ms", 0.0))
            print(f"{kind} {what}, slowest: {slowest[what][0]:.2f} ms, {slowest[what][1]:.300}")
    return figures | {"without_an_answer": lost}


def _following_ms(trigger: Any, at_us: int) -> list[float]:
    """How long each of the next fifty fire times takes, each asked for from the one before."""
    found: list[float] = []
    next_us = trigger.next_us(at_us)
    while next_us is not None and len(found) < 50:
        took_ms, answered = _asked_ms(trigger, next_us)
        found.append(took_ms)
        if not answered:
            break
        next_us = trigger.next_us(next_us)
    return found


def _asked_ms(trigger: Any, at_us: int) -> tuple[float, bool]:
    """How long the next fire time takes, and whether there was an answer; "never" is one."""
    from schedcore.errors import InvalidTriggerError

    answered = True
    gc.disable()
    began_s = thread_time()
    try:
        trigger.next_us(at_us)
    except InvalidTriggerError:
        answered = False
    finally:
        took_s = thread_time() - began_s
        gc.enable()
    return took_s * 1e3, answered


CASES = (
    Case("following", "next fire times of 31 expressions in 3 zones", following, (100,), (100,), SUBJECTS),
    Case("instants", "the same in integers, as the scheduler asks", instants, (100,), (100,), ("schedcore",)),
    Case("making", "a trigger from crontab text", making, (2_000,), (2_000,), SUBJECTS),
    Case("interval", "next fire time of an interval", interval, (20_000,), (20_000,), LIBRARIES, repeats=7),
    Case("coalescing", "a year of missed minutes", coalescing, (525_600,), (525_600,), ("schedcore",)),
    Case("searching", "questions to random schedules", searching, (500,), (50,), ("schedcore",), timeout_s=900),
)

TARGETS = (
    Target("next fire time, mean", "following", 100, "mean_us", "faster", 12, "apscheduler", "mean_cpu_us"),
    Target("next fire time, slowest expression", "following", 100, "worst_us", "faster", 15, "apscheduler"),
    Target("next fire time, mean", "following", 100, "mean_us", "faster", 1, "cronsim", "mean_cpu_us"),
    Target("next fire time, mean", "following", 100, "mean_us", "faster", 1, "croniter", "mean_cpu_us"),
    Target("next fire time, geometric mean", "following", 100, "geometric_mean_us", "faster", 1, "cronsim"),
    Target("interval", "interval", 20_000, "next_us", "faster", 1.3, "apscheduler", "next_cpu_us"),
    Target("a year of missed minutes", "coalescing", 525_600, "backlog_us", "value", 100),
    Target("slowest first search", "searching", 500, "first_worst_ms", "value", 1, quick_size=50),
    Target("slowest later search", "searching", 500, "later_worst_ms", "value", 1, quick_size=50),
)
