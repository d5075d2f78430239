"""A schedule explained: in words, its next fire times, why it does not fire at an instant, and what may surprise.

``explain(trigger)`` gives frozen values; ``str()`` of them is the text for people, ``as_data()`` plain data for programs.
What may surprise has a code each (``Finding.code``):

``never``           there is no fire time, or none any more;
``gap``             within two years a time is skipped or moved, because the clocks go forward over it;
``overlap``         within two years a time comes twice, because the clocks go back;
``weekday-number``  a weekday is a number, and other dialects count otherwise;
``long-step``       a step is longer than the range that it goes through;
``either-day``      both day fields are restricted, and dialects differ about what that means;
``jitter``          the jitter is not shorter than the time between two fire times;
``interval-days``   an interval of whole days in a zone whose clocks change: elapsed time moves on the wall clock;
``host-zone``       nobody named the zone; it is the machine's own.

A trigger of another kind may say more: ``why_not(at_us)`` gives the reasons for which it does not fire at an instant (a list
of texts), ``changes(after_us, upto_us, limit)`` is that of ``CronTrigger``. Both are optional.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from itertools import pairwise
from typing import Any, Literal

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._zones import FIRST_US, LAST_US, to_instant
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.cron._changes import ClockChange
from schedcore.triggers.cron._dst import offsets_for
from schedcore.triggers.cron._fields import WEEKDAYS
from schedcore.triggers.cron._reasons import long_steps, not_at, readings
from schedcore.triggers.foreign import as_grid
from schedcore.triggers.interval import IntervalTrigger

__all__ = ["Answer", "Explanation", "Finding", "FireTime", "explain", "shown"]

_DAY_US = 86_400_000_000
# How far ahead clock changes are looked for.
_AHEAD_US = 2 * 366 * _DAY_US
# Clock changes looked at, and fire times that a period is measured by.
_CHANGES = 1000
_PERIODS = 10
_ALL_HOURS = (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FireTime:
    """One of the next fire times."""

    at: datetime  #: aware, in the zone of the trigger
    note: str = ""  #: what is special about it: the clocks change on this day, it was moved there


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether a trigger fires at an instant."""

    asked: str  #: the instant, for people
    at: datetime | None  #: None for a local time that does not exist
    fires: bool
    reasons: tuple[str, ...]  #: why it does not; or why it does, where that may surprise
    before: datetime | None  #: the fire time before it; None where the search for it ended without one, too
    after: datetime | None  #: the fire time after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that may surprise."""

    code: str
    level: Literal["warning", "note"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A schedule explained."""

    schedule: str  #: as ``str(trigger)`` shows it
    dialect: str | None  #: that of a crontab text
    words: str
    timezone: str
    next: tuple[FireTime, ...]
    answer: Answer | None  #: when an instant was asked about
    lint: tuple[Finding, ...]

    def as_data(self) -> dict[str, Any]:
        """Plain data with stable names; instants are ISO 8601 text with offsets."""
        answer = self.answer
        return {
            "schedule": self.schedule,
            "dialect": self.dialect,
            "words": self.words,
            "timezone": self.timezone,
            "next": [{"at": fire.at.isoformat(), "note": fire.note} for fire in self.next],
            "at": None
            if answer is None
            else {
                "at": _iso(answer.at),
                "fires": answer.fires,
                "reasons": list(answer.reasons),
                "before": _iso(answer.before),
                "after": _iso(answer.after),
            },
            "lint": [{"code": each.code, "level": each.level, "message": each.message} for each in self.lint],
        }

    def __str__(self) -> str:
        how = f"{self.dialect}, {self.timezone}" if self.dialect else self.timezone
        lines = [f"{self.schedule}  ({how})", self.words]
        if self.next:
            lines += ["", "next:"]
            for fire in self.next:
                lines.append(f"  {shown(fire.at)}" + (f"  {fire.note}" if fire.note else ""))
        answer = self.answer
        if answer is not None:
            lines += ["", f"{answer.asked}: {'fires' if answer.fires else 'does not fire'}"]
            lines += [f"  {reason}" for reason in answer.reasons]
            lines.append(f"  before it: {'none' if answer.before is None else shown(answer.before)}")
            lines.append(f"  after it:  {'none' if answer.after is None else shown(answer.after)}")
        if self.lint:
            lines.append("")
            lines += [f"{finding.level}: {finding.message} [{finding.code}]" for finding in self.lint]
        return "\n".join(lines)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def shown(at: datetime) -> str:
    """An aware datetime for people: ``Sun 2026-03-29 03:00:00 +02:00``."""
    text = at.isoformat(sep=" ")
    return f"{WEEKDAYS[at.weekday()][:3]} {text[:-6]} {text[-6:]}" if re.search(r"[+-]\d\d:\d\d$", text) else text


def explain(
    trigger: BaseTrigger,
    *,
    now: datetime | None = None,
    count: int = 5,
    at: date | datetime | str | None = None,
    zone_guessed: bool = False,
) -> Explanation:
    """Explain a trigger.

    :param now: an aware datetime, from which on things are looked at; None: the current time.
    :param count: how many fire times to show.
    :param at: an instant: why does the trigger fire at it, or not? A date, a datetime or ISO 8601 text; without an offset it is
        local time of the trigger.
    :param zone_guessed: whether the trigger has the machine's own zone because nobody named one.
    :raises InvalidTriggerError: for an ``at`` that is no date.
    """
    grid = as_grid(trigger)
    now_us = time.time_ns() // 1000 if now is None else from_datetime(now)
    fires = list(_fires(grid, now_us, count))
    return Explanation(
        schedule=str(trigger),
        dialect=trigger.dialect if isinstance(trigger, CronTrigger) else None,
        words=trigger.describe(),
        timezone=str(grid.timezone),
        next=tuple(FireTime(at=_zoned(grid, fire_us), note=_note(grid, fire_us)) for fire_us in fires),
        answer=None if at is None else _answer(grid, at),
        lint=tuple(_lint(grid, now_us, zone_guessed)),
    )


def _fires(trigger: EngineTrigger, now_us: int, count: int) -> Iterator[int]:
    fire_us = trigger.first_us(now_us)
    for _ in range(count):
        if fire_us is None:
            return
        yield fire_us
        fire_us = trigger.next_us(fire_us)


def _zoned(trigger: EngineTrigger, at_us: int) -> datetime:
    return to_datetime(at_us).astimezone(trigger.timezone)


def _changes(trigger: EngineTrigger, after_us: int, upto_us: int, limit: int) -> list[ClockChange]:
    changes: Callable[[int, int, int], list[ClockChange]] | None = getattr(trigger, "changes", None)
    return [] if changes is None else changes(after_us, upto_us, limit)


def _all_changes(
    trigger: EngineTrigger, after_us: int, upto_us: int, concerns: Callable[[EngineTrigger, ClockChange], bool]
) -> Iterator[tuple[str, ClockChange]]:
    """What the clocks do to the times of a trigger and of those that it is made of, each with what that one is called: as far as
    it concerns that trigger, and all that are made of it.
    """
    for change in _changes(trigger, after_us, upto_us, _CHANGES):
        if concerns(trigger, change):
            yield "", change
    for name, child in _children(trigger):
        for inner, change in _all_changes(child, after_us, upto_us, concerns):
            if concerns(trigger, change):
                yield f"{name}{inner}", change


# --- the next fire times --------------------------------------------------------------------------------------------


def _note(trigger: EngineTrigger, fire_us: int) -> str:
    notes = []
    moved = [change for change in _changes(trigger, fire_us - 1, fire_us, _CHANGES) if change.kind == "gap: moved"]
    if moved:
        notes.append(f"moved from {', '.join(f'{change.local:%H:%M}' for change in moved)}")
    notes += [f"the clocks go {text} on this day" for text in _shifts_on(trigger.timezone, fire_us)]
    return "; ".join(notes)


def _shifts_on(zone: tzinfo, at_us: int) -> Iterator[str]:
    """How the clocks change on the local day of an instant."""
    at_s = at_us // 1_000_000
    pieces = offsets_for(zone).pieces(at_s)
    day = next((at_s + offset) // 86400 for _, end_s, offset in pieces if at_s < end_s)
    for (_, cut_s, old), (_, _, new) in pairwise(pieces):
        # At midnight a gap belongs to the day that it begins, an overlap to the day that it prolongs.
        if day in ((cut_s + old - (new < old)) // 86400, (cut_s + new) // 86400):
            # With the date where nobody could tell it: a zone that crosses the date line.
            dated = abs(new - old) > 43200
            first, then = (_clock(cut_s + offset, dated) for offset in (old, new))
            yield f"forward from {first} to {then}" if new > old else f"back from {first} to {then}"


def _clock(local_s: int, dated: bool) -> str:
    local = to_datetime(local_s * 1_000_000)
    text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return f"{local:%Y-%m-%d} {text}" if dated else text


# --- why not at an instant ------------------------------------------------------------------------------------------


def _answer(trigger: EngineTrigger, at: date | datetime | str) -> Answer:
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at.strip())
        except ValueError:
            to_instant(at, trigger.timezone, "at")  # says what to write
            raise
    elif not isinstance(at, datetime):
        to_instant(at, trigger.timezone, "at")  # says what to give
        at = datetime(at.year, at.month, at.day)  # noqa: DTZ001 - the wall clock's
    local = None if at.tzinfo is not None else at
    asked = shown(at) if local is None else f"{WEEKDAYS[at.weekday()][:3]} {at.isoformat(sep=' ')}"
    try:
        at_us = to_instant(at, trigger.timezone, "at")
    except InvalidTriggerError as error:
        if local is None or "does not exist" not in str(error):
            raise
        return _in_a_gap(trigger, asked, local)
    moment = _zoned(trigger, at_us)
    fires = trigger.next_us(at_us - 1) == at_us
    reasons: Iterable[str] = _note_reasons(trigger, at_us) if fires else _reasons(trigger, at_us)
    twice = []
    if local is not None and moment.replace(fold=1 - moment.fold).utcoffset() != moment.utcoffset():
        other = "first" if moment.fold else "second"
        twice.append(
            f"{local:%H:%M:%S} comes twice on this day; this is the one of {moment.isoformat()[-6:]}, "
            f"and one with an offset asks about the {other}"
        )
    return Answer(
        asked=shown(moment),
        at=moment,
        fires=fires,
        reasons=(*reasons, *twice),
        before=_before(trigger, at_us - 1),
        after=_after(trigger, at_us),
    )


def _note_reasons(trigger: EngineTrigger, at_us: int) -> list[str]:
    found = _changes(trigger, at_us - 1, at_us, _CHANGES)
    return [change.reason for change in found if change.kind in ("gap: moved", "overlap: twice")]


def _in_a_gap(trigger: EngineTrigger, asked: str, local: datetime) -> Answer:
    """About a local time that does not exist."""
    around_us = from_datetime(local.replace(tzinfo=trigger.timezone, fold=1))
    beyond_us = from_datetime(local.replace(tzinfo=trigger.timezone, fold=0))
    reasons = []
    for name, change in _jumped_over(trigger, local, around_us, beyond_us):
        reasons.append(f"{name}{change.reason}")
        at_us = from_datetime(change.at)
        if (
            change.kind == "gap: moved" and trigger.next_us(at_us - 1) != at_us
        ):  # one that it is made of alone runs then
            reasons += _reasons(trigger, at_us)
    if not reasons:
        shifts = ", ".join(_shifts_on(trigger.timezone, beyond_us)) or "over it"
        no_time = "; and it is no time of the schedule" if _tells(trigger) else ""
        reasons = [f"it falls in the gap of {local:%Y-%m-%d} in {trigger.timezone}: the clocks go {shifts}{no_time}"]
    return Answer(
        asked=asked,
        at=None,
        fires=False,
        reasons=tuple(reasons),
        before=_before(trigger, around_us),
        after=_after(trigger, around_us),
    )


def _jumped_over(
    trigger: EngineTrigger, local: datetime, after_us: int, upto_us: int
) -> Iterator[tuple[str, ClockChange]]:
    """What becomes of a local time that does not exist, where the trigger, or one that it is made of, names it."""
    return _all_changes(trigger, after_us, upto_us, lambda _, change: change.local == local)


def _tells(trigger: EngineTrigger) -> bool:
    """Whether all local times that a trigger names and that do not exist can be asked for."""
    children = [child for _, child in _children(trigger)]
    return trigger.elapsed or hasattr(trigger, "changes") or (bool(children) and all(map(_tells, children)))


def _children(trigger: EngineTrigger) -> Iterator[tuple[str, EngineTrigger]]:
    """The triggers that a trigger is made of, and how each is called in a sentence about it."""
    inner: BaseTrigger | None = getattr(trigger, "trigger", None)
    if inner is not None:
        yield "", as_grid(inner)
    else:
        children: Iterable[BaseTrigger] = getattr(trigger, "triggers", ())
        for child in children:
            yield f"{child}: ", as_grid(child)


def _before(trigger: EngineTrigger, upto_us: int) -> datetime | None:
    from schedcore.triggers._meet import last_of

    last_us: Callable[[int], int | None] | None = getattr(trigger, "last_us", None)
    try:
        try:
            found = None if last_us is None else last_us(upto_us)
        except LookupError:  # it can be asked forward alone; one of a third party's not about just any instant
            found = None if trigger.foreign else last_of(trigger.next_us, upto_us)
    except InvalidTriggerError:  # there is none up to where the search ended, be it in centuries
        found = None
    return None if found is None else _zoned(trigger, found)


def _after(trigger: EngineTrigger, after_us: int) -> datetime | None:
    found = trigger.next_us(after_us)
    return None if found is None else _zoned(trigger, found)


def _reasons(trigger: EngineTrigger, at_us: int) -> list[str]:
    """Why a trigger does not fire at an instant."""
    if isinstance(trigger, CronTrigger):
        return not_at(trigger, at_us)
    own: Callable[[int], Iterable[str]] | None = getattr(trigger, "why_not", None)
    found = [] if own is None else list(own(at_us))
    found = found or [change.reason for change in _changes(trigger, at_us - 1, at_us, _CHANGES)]
    if found:
        return found
    if trigger.excludes and trigger.excluded(at_us - 1, at_us + 1) is not None:
        return [f"excluded by {getattr(trigger, 'calendar', 'a calendar')}"]
    for name, child in _children(trigger):
        if child.next_us(at_us - 1) != at_us:
            found += [f"{name}{reason}" for reason in _reasons(child, at_us)]
    if isinstance(trigger, IntervalTrigger) and not found:
        if at_us < from_datetime(trigger.start_date):
            found.append(f"it is before the start, {shown(trigger.start_date)}")
        elif trigger.end_us is not None and at_us > trigger.end_us:
            found.append(f"it is after the end, {shown(_zoned(trigger, trigger.end_us))}")
        else:
            found.append(f"it is not a whole number of intervals after the start, {shown(trigger.start_date)}")
    return found or ["it is none of the fire times"]


# --- what may surprise ----------------------------------------------------------------------------------------------


def _lint(trigger: EngineTrigger, now_us: int, zone_guessed: bool) -> Iterator[Finding]:
    first_us = trigger.first_us(now_us)
    if first_us is None:
        last = _before(trigger, LAST_US)
        if last is None:
            hint = ""
            if getattr(trigger, "tolerance", None) == 0:  # an ``and``
                hint = (
                    "; where its triggers come about at the same time but not at the same instant, give it a tolerance"
                )
            yield Finding(code="never", level="warning", message=f"it never fires{hint}")
        else:
            yield Finding(
                code="never", level="warning", message=f"it does not fire any more; the last time was {shown(last)}"
            )
    else:
        yield from _clock_findings(trigger, now_us)
        yield from _jitter(trigger, now_us)
    if isinstance(trigger, CronTrigger):
        for message in long_steps(trigger):
            yield Finding(code="long-step", level="warning", message=message)
        for code, message in readings(trigger):
            yield Finding(code=code, level="note", message=message)
    if isinstance(trigger, IntervalTrigger) and trigger.interval_us % _DAY_US == 0:
        yield from _days(trigger, now_us)
    if zone_guessed:
        yield Finding(
            code="host-zone",
            level="note",
            message=f"no time zone was given; {trigger.timezone} is that of this machine, and another machine may have "
            f"another one",
        )


def _clock_findings(trigger: EngineTrigger, now_us: int) -> Iterator[Finding]:
    """The first skipped or moved time and the first doubled one, and how many there are."""
    upto_us = min(now_us + _AHEAD_US, LAST_US)
    found = sorted(_all_changes(trigger, now_us, upto_us, _concerns), key=lambda each: each[1].at)
    for code in ("gap", "overlap"):
        some = [(name, change) for name, change in found if change.kind.startswith(code)]
        if some:
            name, first = some[0]
            more = f" (and {len(some) - 1} more within two years)" if len(some) > 1 else ""
            yield Finding(
                code=code,
                level="warning" if first.kind == "gap: skipped" else "note",
                message=f"{name}{first.reason}{more}",
            )


def _concerns(trigger: EngineTrigger, change: ClockChange) -> bool:
    """Whether what the clocks do to a trigger, or to a part of it, is seen in its runs."""
    if isinstance(trigger, CronTrigger) and trigger.rule.hours == _ALL_HOURS and not trigger.once:
        return False  # it fires at every hour that there is
    ran_us = from_datetime(change.at)
    if change.kind == "gap: skipped":
        return bool(trigger.swallowed(ran_us - 1, ran_us))
    if change.kind == "overlap: first only":
        ran_us = from_datetime(change.local.replace(tzinfo=trigger.timezone, fold=0))
    return trigger.next_us(ran_us - 1) == ran_us


def _jitter(trigger: EngineTrigger, now_us: int) -> Iterator[Finding]:
    if not trigger.jitter_us:
        return
    fires = list(_fires(trigger, now_us, _PERIODS + 1))
    periods = [later - sooner for sooner, later in pairwise(fires)]
    jitter_us = abs(trigger.jitter_us)
    if periods and jitter_us >= min(periods):
        yield Finding(
            code="jitter",
            level="warning",
            message=f"the jitter, {jitter_us / 1e6:g} s, is not shorter than the {min(periods) / 1e6:g} s between two "
            f"fire times, so that runs come in bunches",
        )


def _days(trigger: IntervalTrigger, now_us: int) -> Iterator[Finding]:
    from_s = max(now_us, FIRST_US) // 1_000_000
    pieces = list(offsets_for(trigger.timezone).spans(from_s, from_s + _AHEAD_US // 1_000_000))
    if len(pieces) > 1:
        cut = to_datetime(pieces[1][0] * 1_000_000).astimezone(trigger.timezone)
        yield Finding(
            code="interval-days",
            level="warning",
            message=f"the interval is elapsed time: from {cut:%Y-%m-%d} on, when the clocks change in {trigger.timezone}, it "
            f"fires at another time of the day; calendarinterval keeps the time of the day",
        )
