"""Another trigger's fire times without those in closed time, or with those on other days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta, tzinfo
from functools import lru_cache
from typing import Any, Literal, Self

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers._boxes import ANYWHERE, KNOWN_US, Box, either, shared
from schedcore.triggers._clocks import clocks_of
from schedcore.triggers._days import CommonDays, Days, EitherDays, Smeared, together
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._finder import Finder
from schedcore.triggers._local import DAY_S
from schedcore.triggers._open_days import RolledDays
from schedcore.triggers._stored import check_version, is_other_release, zone_stamp
from schedcore.triggers._values import pack_trigger, to_trigger, unpack_trigger
from schedcore.triggers._where import WallRule, boxes_of, local_span_boxes, moved_boxes, moved_rules, wall_rules
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_zone, zone_state
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Excluded, GridTrigger, Swallowed
from schedcore.triggers.calendars._calendar import EPOCH, SOON, Calendar, LocalSet, days_of, to_calendar
from schedcore.triggers.calendars._combining import pack_calendar, unpack_calendar
from schedcore.triggers.calendars._days import iso
from schedcore.triggers.calendars._zoned import SECOND_US, Zoned
from schedcore.triggers.cron._dst import offsets_for
from schedcore.triggers.foreign import MAX_STEPS, ForeignTrigger

__all__ = ["MAX_SPANS", "Excluding"]

# Spans that one question may look at. The costliest calendar takes some 10 us for one.
MAX_SPANS = 4000
# Microseconds. A schedule that is closed for so long never runs (50 years; holidays are not known much farther).
_FURTHEST_US = 18_263 * DAY_S * 1_000_000
# Seconds. No clocks go back so far.
_BACK_S = 2 * DAY_S
# Excluded fire times of a trigger that has to walk, which are put on record at once.
_MOST_COUNTED = 50_000
# Steps of a search (``_effort``) for each look at a span.
_SPAN_STEPS = 5
# Spans that are looked at one by one before it pays to know where the others are, where asking for them is cheap.
_FEW = 8
# Steps of one look at where they are.
_STEPS = 1000
# Days. No business day is farther from the day that is moved onto it.
_ROLL_LIMIT = 366
_STATE_VERSION = 3  # as that of the other triggers
_ROLLS = ("skip", "next", "previous")

Roll = Literal["skip", "next", "previous"]


@lru_cache(maxsize=256)
def _shared_finder(boxes: tuple[Box, ...]) -> Finder:
    return Finder(boxes)


@lru_cache(maxsize=256)
def _any_of(days: tuple[tuple[Days, ...], ...]) -> Days | None:
    """The days of any of several sets, each what some have in common; None for all days."""
    each = [together(sets) for sets in days]
    known = [one for one in each if one is not None]
    return None if len(known) < len(each) else known[0] if len(known) == 1 else EitherDays(known)


@lru_cache(maxsize=256)
def _open_days_of(days: Days, opened: Days, zone: tzinfo) -> Days:
    """Those of some local days that are open, and those of which a run may come on an open one because the clocks jump."""
    clocks = clocks_of(zone)
    # It comes later by the width of the gap at the most.
    if clocks is not None and any(
        low_s // DAY_S < (2 * high_s - low_s - 1) // DAY_S for low_s, high_s, _ in clocks.gaps
    ):
        assert clocks.jumps is not None
        opened = EitherDays((opened, Smeared((clocks.jumps,), -2, 2)))
    return CommonDays((days, opened))


@lru_cache(maxsize=64)
def _rolled_days(days: Days, opened: tuple[LocalSet, ...], closed: tuple[LocalSet, ...], forward: bool) -> RolledDays:
    return RolledDays(days, days_of(opened), days_of(closed), _ROLL_LIMIT, forward=forward)


class Excluding(Zoned):
    """Another trigger's fire times, but for those in the closed time of a calendar.

    :param trigger: the trigger; one of any kind.
    :param calendar: what is closed.
    :param roll: what becomes of a fire time on a closed day. ``"skip"``: it is left out, and on record as excluded.
        ``"next"`` or ``"previous"``: it runs at the same time of the next or previous open day (once, when several fall
        together); this needs a calendar that closes whole days.
    :param timezone: whose wall clock the calendar speaks of; None: that of the trigger.
    :raises InvalidTriggerError: naming the argument that cannot be used.
    """

    __slots__ = (
        "_child",
        "_handed",
        "_lost",
        "_offsets",
        "_sieve",
        "_zone",
        "calendar",
        "end_us",
        "jitter_us",
        "roll",
        "timezone",
        "zone_data_changed",
    )

    timezone: tzinfo
    jitter_us: int
    end_us: int | None
    calendar: Calendar
    roll: Roll
    _child: EngineTrigger
    _handed: EngineTrigger | None
    _zone: tzinfo
    _sieve: Finder
    _lost: tuple[int | None, str]  # from which fire time on a search found nothing open, and what was said

    def __init__(
        self,
        trigger: BaseTrigger,
        calendar: Calendar,
        roll: Roll = "skip",
        *,
        timezone: str | tzinfo | None = None,
    ) -> None:
        child = to_trigger(trigger)
        to_calendar(calendar)
        if roll not in _ROLLS:
            raise InvalidTriggerError(
                f"roll: {roll!r} is no rule for excluded times{did_you_mean(str(roll), _ROLLS)}; write 'skip', 'next' or "
                f"'previous'",
                field="roll",
            )
        if roll != "skip" and not calendar.by_day:
            raise InvalidTriggerError(
                f"roll: {roll!r} moves a run to another day, and this calendar does not close whole days: {calendar}",
                field="roll",
            )
        self._fill(child, calendar, roll, child.timezone if timezone is None else to_zone(timezone))

    def _fill(self, child: EngineTrigger, calendar: Calendar, roll: str, zone: tzinfo) -> None:
        put = object.__setattr__
        put(self, "_child", child)
        put(self, "calendar", calendar)
        put(self, "roll", roll)
        put(self, "timezone", zone)
        put(self, "_zone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "jitter_us", child.jitter_us)
        put(self, "end_us", child.end_us)
        put(self, "zone_data_changed", child.zone_data_changed)
        put(self, "_found", (LAST_US + 1, None))

    @property
    def foreign(self) -> bool:  # type: ignore[override]
        """Whether that is so of the trigger or the calendar."""
        return self._child.foreign or self.calendar.foreign

    @property
    def trigger(self) -> BaseTrigger:
        """The trigger whose fire times these are."""
        child = self._child
        return child.inner if isinstance(child, ForeignTrigger) else child

    @property
    def elapsed(self) -> bool:  # type: ignore[override]
        """Whether the trigger follows elapsed time."""
        return self._child.elapsed

    def _boxes(self) -> tuple[Box, ...]:
        if self.roll == "skip":
            handed = self._handed_down()
            return shared(boxes_of(self._child), self._opened()) if handed is None else boxes_of(handed)
        # A run that moves to another day does so by the wall clock.
        return moved_boxes(self._child, self.timezone, self._rolled, self._opened)

    def _handed_down(self) -> EngineTrigger | None:
        """The same as an ``and`` within a tolerance whose first trigger the exclusion is of: what is closed is refused before
        the others are asked. None where it is no such one, and where what nobody knows yet would end the search elsewhere.
        """
        try:
            return self._handed
        except AttributeError:
            with_first: Callable[[Callable[[EngineTrigger], EngineTrigger]], EngineTrigger | None] | None
            with_first = getattr(self._child, "_with_first", None)
            found = None
            if with_first is not None and self.calendar.known_until is None and not self.foreign:
                found = with_first(self._with)
            object.__setattr__(self, "_handed", found)
            return found

    def _opened(self) -> tuple[Box, ...]:
        """Where the calendar may be open."""
        sets = self.calendar.sets(closed=False)
        if LocalSet() in sets:
            return ANYWHERE
        days: dict[int, tuple[tuple[Days, ...], ...]] = {}
        for each in sets:
            days[each.minutes] = (*days.get(each.minutes, ()), each.days)
        return either(local_span_boxes(self.timezone, minutes, _any_of(alike)) for minutes, alike in days.items())

    def _wall_rules(self) -> Sequence[WallRule] | None:
        if self.roll != "skip":
            return moved_rules(self._child, self.timezone, self._rolled)
        rules = wall_rules(self._child, self.timezone)
        opened = _any_of(tuple([each.days for each in self.calendar.sets(closed=False)]))
        if rules is None or opened is None:
            return rules
        return [rule._replace(days=_open_days_of(rule.days, opened, self.timezone)) for rule in rules]

    def _rolled(self, days: Days) -> RolledDays:
        calendar = self.calendar
        opened, closed = (calendar.sets(closed, unsure=False) for closed in (False, True))
        return _rolled_days(days, opened, closed, self.roll == "next")

    def _finder(self) -> Finder:
        """Where it fires at most; made when a search takes long."""
        try:
            return self._sieve
        except AttributeError:
            found = (Finder if self.foreign else _shared_finder)(self._boxes())
            object.__setattr__(self, "_sieve", found)
            return found

    # -- left out ------------------------------------------------------------------------------------------------------

    def _closed_until(self, at_us: int) -> tuple[bool, int, int]:
        """Whether an instant is closed, and the instants [since, until) around it of which the same is known; us."""
        local_s, start_s, end_s = self._shown(at_us)
        offset = local_s - at_us // SECOND_US
        closed, since_s, until_s = self.calendar.span(local_s)
        since_us = max(since_s - offset, start_s) * SECOND_US
        # A change of the clocks ends what is known, because local time goes on elsewhere; unless that is in the span as well.
        if until_s - offset > end_s and local_s - since_s > _BACK_S:
            until_us = self._wall(until_s)
            assert until_us is not None
            return closed, since_us, until_us
        return closed, since_us, min(until_s - offset, end_s) * SECOND_US

    def _search_us(self, after_us: int) -> int | None:
        if self.roll != "skip":
            return self._next_rolled(after_us)
        handed = self._handed_down()
        return self._next_open(after_us) if handed is None else handed.next_us(after_us)

    def _next_open(self, after_us: int) -> int | None:
        first_us = at_us = self._child.next_us(after_us)
        few = 1 if self._child.searches else _FEW  # what searches is dear to ask again
        for number in range(MAX_SPANS):
            if at_us is None or at_us <= after_us:
                return at_us
            assert first_us is not None
            far = at_us - first_us > _FURTHEST_US
            if (number >= few or far) and at_us >= KNOWN_US:
                found_us = self._finder().at_or_after(at_us, [_STEPS])
                if found_us is None:
                    if self._may_be_open_yet(at_us):
                        break
                    return None
                if found_us > at_us:
                    at_us = self._child.next_us(found_us - 1)
                    if at_us is not None and self._is_unknown(at_us) and at_us - first_us > _FURTHEST_US:
                        break
                    continue
            EFFORT.spend(_SPAN_STEPS, self)
            closed, _, until_us = self._closed_until(at_us)
            if not closed:
                return at_us
            if far:
                break
            if not number:
                lost = getattr(self, "_lost", None)
                if lost is not None and lost[0] == first_us:
                    raise InvalidTriggerError(lost[1], field="calendar")
            at_us = self._child.next_us(max(until_us - 1, at_us))
        text = f"all fire times from {_day_of(first_us)} to {_day_of(at_us)} are excluded, and the search ended there: {self}"
        if not self.foreign and EFFORT.depth == 1:
            object.__setattr__(self, "_lost", (first_us, text))
        raise InvalidTriggerError(text, field="calendar")

    def _is_unknown(self, at_us: int) -> bool:
        """Whether an instant comes so soon after the days that are known that it may be open because nobody knows better."""
        until = self.calendar.known_until
        return until is not None and until <= self._shown(at_us)[0] // DAY_S < until + SOON

    def _may_be_open_yet(self, at_us: int) -> bool:
        """Whether it is closed for ever from an instant on only because nobody knows better."""
        until = self.calendar.known_until
        if until is None or self._shown(at_us)[0] // DAY_S < until:
            return False
        found_us = self._finder().at_or_after(self._midnight_us(until), [_STEPS])
        return found_us is not None and self._is_unknown(found_us)

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``. Raises ``LookupError`` where that cannot be found."""
        ask: Callable[[int], int | None] | None = getattr(self._child, "last_us", None)
        if ask is None or self.roll != "skip":
            raise LookupError
        at_us = ask(upto_us)
        for _ in range(MAX_SPANS):
            if at_us is None:
                return None
            closed, since_us, _ = self._closed_until(at_us)
            if not closed:
                return at_us
            at_us = ask(since_us - 1)
        raise LookupError

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        child = self._child
        times, last_us, at_us = 0, None, after_us
        if self.roll == "skip" and isinstance(child, GridTrigger):
            for _ in range(MAX_SPANS):
                next_us = child.next_us(at_us)
                if next_us is None or next_us > upto_us:
                    return Backlog(times, last_us, None if next_us is None else self.next_us(upto_us))
                closed, _, until_us = self._closed_until(next_us)
                end_us = min(max(until_us - 1, next_us), upto_us)
                if not closed:
                    times += child.count_us(at_us, end_us)
                    last_us = child.last_us(end_us)
                at_us = end_us
        else:
            for _ in range(MAX_STEPS):
                next_us = self.next_us(at_us)
                if next_us is None or next_us > upto_us or next_us <= at_us:
                    return Backlog(times, last_us, next_us)
                times, last_us, at_us = times + 1, next_us, next_us
        # The count is a lower bound from here on.
        try:
            beyond_us = self.last_us(upto_us)
        except LookupError:
            return Backlog(times, last_us, self.next_us(at_us))
        if beyond_us is not None and beyond_us > at_us:
            times, last_us = times + 1, beyond_us
        return Backlog(times, last_us, self.next_us(upto_us))

    @property
    def excludes(self) -> bool:  # type: ignore[override]
        """Whether it leaves fire times out, rather than moving them."""
        return self.roll == "skip"

    @property
    def omits(self) -> bool:  # type: ignore[override]
        """Whether it leaves fire times out, or the trigger does."""
        return self.roll == "skip" or self._child.omits

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        """What the clocks swallow of the trigger's times, but for what was closed anyway."""
        found = self._child.swallowed(after_us, upto_us) if self._child.omits else []
        if self.roll != "skip":
            return found
        return [each for each in found if not all(self._closed_until(each.at_us - late)[0] for late in (1, 0))]

    def excluded(self, after_us: int, before_us: int) -> Excluded | None:
        if self.roll != "skip":
            return None
        child = self._child
        times, first_us, last_us = 0, 0, 0
        at_us = after_us
        for _ in range(MAX_SPANS):
            next_us = child.next_us(at_us)
            if next_us is None or next_us >= before_us or next_us <= at_us:
                break
            closed, _, until_us = self._closed_until(next_us)
            end_us = min(max(until_us - 1, next_us), before_us - 1)
            if closed:
                first_us = first_us if times else next_us
                if isinstance(child, GridTrigger):
                    times += child.count_us(at_us, end_us)
                    last_us = child.last_us(end_us) or next_us
                else:
                    backlog = child.backlog(at_us, end_us)
                    times += backlog.times
                    last_us = backlog.last_us or next_us
                    following_us = child.next_us(last_us)
                    if following_us is not None and following_us <= end_us:  # it has not counted all of them
                        if times >= _MOST_COUNTED:
                            break
                        end_us = last_us
            at_us = end_us
        return Excluded(times, first_us, last_us) if times else None

    def _bare(self) -> EngineTrigger:
        """What it would be if the calendar left nothing out."""
        inner: Callable[[], EngineTrigger] | None = getattr(self._child, "_bare", None)
        return self._child if inner is None or not self._child.excludes else inner()

    def why_not(self, at_us: int) -> list[str]:
        """Why it does not fire at an instant at which the trigger would."""
        local_s = self._shown(at_us)[0]
        if self._child.next_us(at_us - 1) != at_us or not self.calendar.span(local_s).closed:
            return []
        what = "is left out" if self.roll == "skip" else f"is moved to the {self.roll} open day"
        return [f"{EPOCH + timedelta(seconds=local_s)} is closed and {what}: {self.calendar.describe()}"]

    # -- moved to another day ------------------------------------------------------------------------------------------

    def _open_day(self, day: int, step: int) -> int | None:
        """The first open day from ``day`` on, forward (1) or back (-1), if it is no farther away than the limit."""
        seen, width = 0, 1
        while seen < _ROLL_LIMIT:
            EFFORT.spend(_SPAN_STEPS, self)
            first = day + seen if step > 0 else day - seen - width + 1
            opened = (1 << width) - 1 ^ self.calendar.closed_days(first, width)
            if opened:
                return first + ((opened & -opened).bit_length() if step > 0 else opened.bit_length()) - 1
            seen += width
            width = min(8 * width, _ROLL_LIMIT - seen)
        return None

    def _business_day(self, day: int, step: int) -> int:
        """The same; raises ``InvalidTriggerError`` where there is none."""
        found = self._open_day(day, step)
        if found is None:
            raise InvalidTriggerError(
                f"no business day is within {_ROLL_LIMIT} days of {iso(day)}: {self}", field="calendar"
            )
        return found

    def _next_rolled(self, after_us: int) -> int | None:
        forward = self.roll == "next"
        today = self._shown(after_us)[0] // DAY_S
        day = self._open_day(today, 1)
        if day is None:
            # Only a run that there is can lack a day to be moved to; and those that are moved back before today are over.
            before = None if forward else self._open_day(today, -1)
            at_us = self._child.next_us(self._midnight_us(today if before is None else before + _ROLL_LIMIT) - 1)
            if at_us is None:
                return None
            day = self._business_day(self._shown(at_us)[0] // DAY_S, 1 if forward else -1)
        for _ in range(MAX_SPANS):
            # Runs of this day, and those that are moved to it: from the closed days before it, or after it, until an open one.
            if forward:
                before = self._open_day(day - 1, -1)
                first, last = (day - _ROLL_LIMIT if before is None else before + 1), day - 1
            else:
                beyond = self._open_day(day + 1, 1)
                first, last = day + 1, (day + _ROLL_LIMIT if beyond is None else beyond - 1)
            answer_us = self._first_on(day, first, last, after_us)
            if answer_us is not None:
                return answer_us
            at_us = self._child.next_us(self._midnight_us(max(day, last) + 1) - 1)
            if at_us is None:
                return None
            following = self._shown(at_us)[0] // DAY_S
            day = max(self._business_day(following, 1 if forward else -1), day + 1)
        raise InvalidTriggerError(f"no fire time was found after {_day_of(after_us)}: {self}", field="calendar")

    def _midnight_us(self, day: int) -> int:
        at_us = self._wall(day * DAY_S)
        assert at_us is not None
        return at_us

    def _first_on(self, day: int, first: int, last: int, after_us: int) -> int | None:
        """The first run of a day later than ``after_us``: its own, or one that is moved to it from other days, in a row."""
        best_us = self._on_day(day, day, after_us)
        least_us: int | None = None
        end_us = self._midnight_us(last + 1)
        at_us = self._child.next_us(self._midnight_us(first) - 1)
        looked = 0
        while at_us is not None and at_us < end_us:
            local_s = self._shown(at_us)[0]
            source = local_s // DAY_S
            following_us = self._midnight_us(source + 1)
            if following_us <= at_us:  # the clocks went back over midnight
                source, following_us = source + 1, self._midnight_us(source + 2)
            EFFORT.spend(_SPAN_STEPS, self)
            moved_us = self._wall(local_s + (day - source) * DAY_S)
            assert moved_us is not None
            moved_us += at_us % SECOND_US
            if moved_us <= after_us:
                moved_us = self._on_day(day, source, after_us)
            if moved_us is not None and (best_us is None or moved_us < best_us):
                best_us = moved_us
            looked += 1
            if looked >= _FEW and after_us >= KNOWN_US:
                if least_us is None:
                    least_us = self._finder().at_or_after(max(after_us + 1, self._midnight_us(day)), [_STEPS])
                if least_us is None or least_us >= (self._midnight_us(day + 1) if best_us is None else best_us):
                    break
            at_us = self._child.next_us(following_us - 1)
        return best_us

    def _on_day(self, day: int, source: int, after_us: int) -> int | None:
        """The first run later than ``after_us`` that is moved from one day to another, or that stays on its day."""
        EFFORT.spend(_SPAN_STEPS, self)
        moved_s = (day - source) * DAY_S
        end_us = self._midnight_us(source + 1)
        if not moved_s:
            at_us = self._child.next_us(max(after_us, self._midnight_us(source) - 1))
            return at_us if at_us is not None and at_us < end_us else None
        # What the wall clock had not shown yet on the other day, as local time of the source's; be it shown twice there.
        past_us = self._latest_shown(after_us) - moved_s * SECOND_US
        best_us: int | None = None
        at_us = self._midnight_us(source)
        while at_us < end_us:
            local_s, _, until_s = self._shown(at_us)
            offset_us = (local_s - at_us // SECOND_US) * SECOND_US
            until_us = min(until_s * SECOND_US, end_us)
            run_us = self._child.next_us(max(past_us - offset_us, at_us - 1))
            if run_us is not None and run_us < until_us:
                there_us = self._wall((run_us + offset_us) // SECOND_US + moved_s)
                assert there_us is not None
                there_us += run_us % SECOND_US
                if best_us is None or there_us < best_us:
                    best_us = there_us
            at_us = until_us
        return best_us

    def _latest_shown(self, at_us: int) -> int:
        """The latest local time, in microseconds, that the wall clock has shown up to an instant."""
        local_s, start_s, _ = self._shown(at_us)
        before_s = self._shown(start_s * SECOND_US - 1)[0]  # the second before its last change
        return max(local_s * SECOND_US + at_us % SECOND_US, (before_s + 1) * SECOND_US - 1)

    # -- being a value -------------------------------------------------------------------------------------------------

    def _with(self, child: EngineTrigger) -> Self:
        if child is self._child:
            return self
        made = self._blank()
        made._fill(child, self.calendar, self.roll, self.timezone)
        return made

    def first_us(self, at_us: int) -> int | None:
        first_us = self._child.first_us(at_us)
        if first_us is not None and first_us < at_us and self.roll == "skip":
            # A date that has passed, which is late and not never; unless it was excluded.
            return self.next_us(first_us - 1)
        return self.next_us(at_us - 1)

    def anchored(self, now_us: int) -> Self:
        return self._with(self._child.anchored(now_us))

    def seeded(self, job_id: str) -> Self:
        return self._with(self._child.seeded(job_id))

    def same_rule(self, other: BaseTrigger) -> bool:
        return (
            isinstance(other, Excluding)
            and self._child.same_rule(other._child)
            and (self.calendar, self.roll) == (other.calendar, other.roll)
            and same_zone(self.timezone, other.timezone)
        )

    def describe(self) -> str:
        if self.roll == "skip":
            return f"{self._child.describe()}, except {self.calendar.describe()}"
        return f"{self._child.describe()}, on the {self.roll} business day where that is closed: {self.calendar.describe()}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self._child == other._child
            and (self.calendar, self.roll) == (other.calendar, other.roll)
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((Excluding, self._child, self.calendar, self.roll))

    def __str__(self) -> str:
        return f"excluding[{self._child}, {self.calendar}{'' if self.roll == 'skip' else f', {self.roll}'}]"

    def __repr__(self) -> str:
        parts = [repr(self._child), repr(self.calendar)]
        if self.roll != "skip":
            parts.append(f"roll={self.roll!r}")
        if not same_zone(self.timezone, self._child.timezone):
            parts.append(f"timezone={zone_state(self.timezone)!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "trigger": pack_trigger(self._child),
            "calendar": pack_calendar(self.calendar),
            "roll": self.roll,
            "timezone": zone_state(self.timezone),
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, _STATE_VERSION, "an excluding trigger")
        try:
            if state["roll"] not in _ROLLS:
                raise ValueError(f"the state of an excluding trigger has the unknown rule {state['roll']!r}")
            self._fill(
                unpack_trigger(state["trigger"]),
                unpack_calendar(state["calendar"]),
                state["roll"],
                to_zone(state["timezone"]),
            )
            if is_other_release(state, self.timezone):
                object.__setattr__(self, "zone_data_changed", True)
        except KeyError as error:
            raise ValueError(f"the state of an excluding trigger lacks {error}") from None


def _day_of(at_us: int | None) -> str:
    return "the end of time" if at_us is None else f"{to_datetime(min(max(at_us, FIRST_US), LAST_US)):%Y-%m-%d}"
