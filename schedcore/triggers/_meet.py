"""When several triggers fire at the same instant: the search behind ``and``.

Theory of operation. The search leaps: each child is asked for its first fire time from a candidate on, the latest answer is
the next candidate, and when all answer the candidate itself it is a meeting. Three things make it short, and let it say
"never" because that is so and not because it gave up:

* **What merges is merged.** Cron rules of one zone become one rule, with the days, hours, minutes and seconds that all of
  them have; intervals become one interval (Chinese remainders, exact to the microsecond). What is left of ``minute=0`` and
  ``minute=30``, or of two intervals that are out of step, is nothing.
* **Boxes** (``_boxes``, ``_where``). Candidates are looked for where all children can fire at most: on a lattice, in some
  minutes of some days. Weekdays in different zones, dates and intervals of days meet there by a few operations on integers,
  for all years to come. First comes an *outline*, where there are many: a box around those of each child, whatever its clocks
  show. Most searches end there, with the first candidates or with none; the boxes of two children may be hundreds of pairs,
  each with days of its own.
* **What was found is remembered**, with the trigger and for others that are equal to it: that a search found nothing, too.

Cron rules of one zone meet by their local times: both must name the time that the wall clock shows. Rules that run after a gap
what the gap swallowed (see ``dst``) do not meet because two different times were swallowed together.

A search that can neither find nor prove ends after ``MAX_LEAPS`` and raises: the job is then set aside with that reason,
rather than dropped in silence. Triggers of third parties alone are known to need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from math import gcd, prod
from operator import attrgetter

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import ANY_MINUTE, ANY_SECOND, KNOWN_US, REPEATS_US, Box, around, near, shared
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._finder import Finder
from schedcore.triggers._local import DAY_S
from schedcore.triggers._where import boxes_of
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone
from schedcore.triggers.base import EngineTrigger, GridTrigger
from schedcore.triggers.cron._search import Plan, first_day
from schedcore.triggers.cron._trigger import CronTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = ["MAX_LEAPS", "Meeting", "last_of", "meeting_of"]

# Leaps of one search. Each asks one trigger, at some 2 us.
MAX_LEAPS = 5000
# How many times as many where all comes round after 400 years, so that the search ends in an answer or a proof before that.
_TO_A_PROOF = 4
# Steps of one look into boxes, of a microsecond or so each, and as how many leaps all of them count: a look that takes few
# counts nothing beside the leap that it saves.
MAX_STEPS, _LEAPS_OF_A_LOOK = 2000, 31
# Leaps of a search in an outline, and steps of one look into it: what takes more is looked for in all boxes.
_OUTLINE_LEAPS, _OUTLINE_STEPS = 16, 64
# So few pairs of boxes are looked into at once.
_FEW = 8

_SECOND_US = 1_000_000
_DAY_US = DAY_S * _SECOND_US
# After 400 years and a few days, everything that follows the calendar has come round.
_CYCLE_US = (146_097 + 8) * _DAY_US
# Searches that are remembered.
_KEPT = 256


def _is_plain(plan: Plan) -> bool:
    return type(plan) is Plan or type(plan) is _JointPlan


class _JointPlan(Plan):
    """The plan of the times that several plans have in common."""

    __slots__ = ("_plans",)

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans
        super().__init__(plans[0].rule)
        self._minutes = reduce(lambda mask, plan: mask & plan._minutes, plans, ANY_MINUTE)
        self._seconds = reduce(lambda mask, plan: mask & plan._seconds, plans, ANY_SECOND)
        self._low_second = _lowest(self._seconds)
        self._first_s = 60 * _lowest(self._minutes) + self._low_second
        self._last_s = 60 * (self._minutes.bit_length() - 1) + self._seconds.bit_length() - 1
        self._per_day = self._minutes.bit_count() * self._seconds.bit_count()
        named = [set(plan._years) for plan in plans if plan._years is not None]
        if named:
            years = set.intersection(*named)
            self._years = sorted(year for year in years if self._days_of(year, first_day(year)))
        self._later = {}
        self._year = self._enter(1970)

    def _days_of(self, year: int, first_day: int) -> int:
        return reduce(lambda mask, plan: mask & plan._days_of(year, first_day), self._plans, (1 << 366) - 1)

    @property
    def every_day(self) -> bool:
        return all(plan.every_day for plan in self._plans)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _merge_cron(triggers: Sequence[CronTrigger], once: bool) -> CronTrigger | None:
    """One trigger for the times that rules of one zone have in common; None when they have none."""
    first = triggers[0]
    plan: Plan = first._plan
    if len(triggers) > 1:
        plan = _JointPlan([trigger._plan for trigger in triggers])
        if not plan._minutes or not plan._seconds or plan.at_or_after(-1_000_000_000) is None:
            return None
    merged = object.__new__(CronTrigger)
    put = object.__setattr__
    put(merged, "_plan", plan)
    put(merged, "_once", once)
    put(merged, "_offsets", first._offsets)
    put(merged, "timezone", first.timezone)
    put(merged, "_from_us", max(trigger._from_us for trigger in triggers))
    put(merged, "_upto_us", min(trigger._upto_us for trigger in triggers))
    put(merged, "end_us", None)
    put(merged, "omits", not once and any(trigger.omits for trigger in triggers))
    return merged


def _merge_intervals(triggers: Sequence[IntervalTrigger]) -> IntervalTrigger | None:
    """One interval for the instants that several have in common; None when they have none."""
    box: Box | None = Box()
    for trigger in triggers:
        period_us = trigger.interval_us
        box = box and box.shared(Box(period_us, trigger._start_us % period_us))
    if box is None:
        return None
    start_us = max(trigger._start_us for trigger in triggers)
    start_us += (box.offset_us - start_us) % box.period_us
    end_us = min((trigger.end_us for trigger in triggers if trigger.end_us is not None), default=None)
    if start_us > LAST_US:
        return None
    merged = object.__new__(IntervalTrigger)
    put = object.__setattr__
    put(merged, "interval_us", box.period_us)
    put(merged, "timezone", triggers[0].timezone)
    put(merged, "_start_us", start_us)
    put(merged, "end_us", end_us)
    put(merged, "_floating", None)
    put(merged, "jitter_us", 0)
    return merged


class _Unanswered(Exception):
    """A search ended at an instant, and nothing was found or shown to be missing up to there."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us


class Meeting:
    """The search for the instants at which all of several triggers fire. What it remembers only saves time; safe to share
    between threads.

    With a tolerance it is the fire times of the first trigger from which each other one has a fire time no farther away.
    """

    __slots__ = (
        "_found",
        "_known_each",
        "_known_finder",
        "_known_outline",
        "_lost_at",
        "_parts",
        "_tolerance_us",
        "_triggers",
        "exact",
        "never",
    )

    #: The one trigger that fires when all do, where there is such a one: it answers in closed form.
    exact: GridTrigger | None
    #: Whether they never meet, also before the boxes hold.
    never: bool

    def __init__(self, triggers: Sequence[EngineTrigger], tolerance_us: int = 0) -> None:
        self._tolerance_us = tolerance_us
        self._triggers = tuple(triggers)
        quick_first = attrgetter("searches")  # what one of them rules out, those that search are not asked about
        self._found: tuple[int, int | None] = (LAST_US + 1, None)  # a question and its answer, which holds in between
        # A search that ended without an answer: from where to where the first candidate is the same, and what was said.
        self._lost_at: tuple[int, int, str] | None = None
        # Made for the first question, which a job is asked when it is added; all boxes only where their outline does not do.
        self._known_each: list[tuple[Box, ...]] | None = None
        self._known_finder: Finder | None = None
        self._known_outline: Finder | None = None
        self.exact = None
        self.never = False
        if tolerance_us:
            self._parts = (triggers[0], *sorted(triggers[1:], key=quick_first))
        else:
            parts = _merged([each for trigger in triggers for each in _children(trigger)])
            self._parts = tuple(sorted(parts or (), key=quick_first))
            self.never = parts is None
            if len(self._parts) == 1 and isinstance(self._parts[0], GridTrigger):
                self.exact = self._parts[0]

    def _each(self) -> list[tuple[Box, ...]]:
        """The boxes of each part, asked for once: some have to search for them."""
        each = self._known_each
        if each is None:
            each = self._known_each = [boxes_of(part) for part in self._parts]
        return each

    def _finder(self) -> Finder:
        """Looks where they can meet at most."""
        finder = self._known_finder
        if finder is None:
            finder = self._known_finder = Finder(self._in_common(self._each()))
        return finder

    def _outline(self) -> Finder:
        """The same of one box around all of each, which says less, and much sooner where there are many."""
        finder = self._known_outline
        if finder is None:
            each = self._each()
            few = prod(map(len, each)) <= _FEW
            finder = self._finder() if few else Finder(self._in_common([around(boxes) for boxes in each]))
            self._known_outline = finder
        return finder

    def _in_common(self, each: Sequence[tuple[Box, ...]]) -> tuple[Box, ...]:
        if self.never or not all(each):
            return ()
        near_us = self._tolerance_us
        if not near_us:
            return reduce(shared, sorted(each, key=len))
        first, *others = each
        if any(_never_near(first, boxes, near_us) for boxes in others):
            return ()
        return reduce(shared, sorted((near(boxes, near_us) for boxes in others), key=len), first)

    def boxes(self) -> tuple[Box, ...]:
        """Where they can meet at most; none: nowhere."""
        return () if self._outline().is_empty() or self._finder().is_empty() else self._finder().boxes

    def next_us(self, after_us: int, budget: list[int] | None = None) -> int | None:
        """The first meeting later than ``after_us``, or None when there is none.

        ``budget``: leaps that are left, counted down in place. Raises ``InvalidTriggerError`` when they are used up.
        """
        if self.exact is not None:
            return self.exact.next_us(after_us)
        asked_us, answer_us = self._found
        if after_us < asked_us or (answer_us is not None and answer_us <= after_us):
            lost = self._lost_at
            if budget is None and lost is not None and lost[0] <= after_us < lost[1]:
                raise InvalidTriggerError(lost[2], field="triggers")
            from_us = max(after_us, FIRST_US - 1)
            try:
                with EFFORT:
                    answer_us = self._next(from_us, budget)
            except InvalidTriggerError as error:
                if budget is None and not EFFORT.depth:
                    # Up to the next fire time of the first trigger the question is the same.
                    self._lost_at = after_us, self._parts[0].next_us(from_us) or after_us + 1, str(error)
                raise
            self._found = after_us, answer_us
        return answer_us

    def _next(self, after_us: int, budget: list[int] | None) -> int | None:
        if self.never:
            return None
        outline = self._outline()
        if self._known_finder is None:
            try:
                return self._searched(outline, after_us, [_OUTLINE_LEAPS], _OUTLINE_STEPS)
            except (_Unanswered, InvalidTriggerError):  # a part may have been asked where they cannot meet
                pass
        finder = self._finder()
        budget = [MAX_LEAPS * (_TO_A_PROOF if finder.periodic else 1)] if budget is None else budget
        try:
            return self._searched(finder, after_us, budget, MAX_STEPS)
        except _Unanswered as unanswered:
            raise self._lost(after_us, unanswered.at_us) from None

    def _searched(self, finder: Finder, after_us: int, budget: list[int], most_steps: int) -> int | None:
        """The next meeting. ``most_steps``: of one look into the boxes."""
        near_us = self._tolerance_us
        at_us = after_us + 1
        fires_us = None  # when the first one fires, as it answered
        # Where a search ends that found nothing: all has come round by then, or time is up.
        limit_us = max(after_us, REPEATS_US + near_us) + _CYCLE_US if finder.periodic else LAST_US
        while True:
            if at_us >= KNOWN_US:
                steps = [most_steps]
                found_us = finder.at_or_after(at_us, steps)
                if found_us is None or found_us > LAST_US:
                    return None
                at_us = found_us
                # A long look counts as several leaps.
                EFFORT.left -= most_steps - steps[0]
                budget[0] -= (most_steps - steps[0]) * _LEAPS_OF_A_LOOK // most_steps
            for number, part in enumerate(self._parts):
                if not number and at_us == fires_us:
                    continue
                apart_us = near_us if number else 0
                answer_us = part.next_us(at_us - apart_us - 1)
                EFFORT.left -= 1
                budget[0] -= 1
                if answer_us is None or answer_us > LAST_US:
                    return None
                if not number:
                    fires_us = answer_us
                if not at_us - apart_us <= answer_us <= at_us + apart_us:
                    at_us = answer_us - apart_us
                    break
            else:
                return at_us
            if at_us > limit_us:
                return None
            if budget[0] <= 0 or EFFORT.left <= 0:
                raise _Unanswered(at_us)

    def _lost(self, after_us: int, at_us: int) -> InvalidTriggerError:
        names = ", ".join(map(str, self._triggers))
        text = (
            f"these triggers did not meet between {_shown(after_us)} and {_shown(at_us)}, where the search ended: {names}; "
            f"give them a start in common, or a tolerance"
        )
        return InvalidTriggerError(text, field="triggers")


@lru_cache(maxsize=_KEPT)
def _kept(triggers: tuple[EngineTrigger, ...], tolerance_us: int) -> Meeting:
    return Meeting(triggers, tolerance_us)


def meeting_of(triggers: tuple[EngineTrigger, ...], tolerance_us: int = 0) -> Meeting:
    """The search for when triggers meet; one for all that are equal, so that what it found once need not be found again when
    a job store makes the trigger anew.
    """
    # What a user's own class calls equal need not be so.
    return (_kept if not any(trigger.foreign for trigger in triggers) else Meeting)(triggers, tolerance_us)


def last_of(next_us: Callable[[int], int | None], upto_us: int, floor_us: int = FIRST_US - 1) -> int | None:
    """The last fire time in (``floor_us``, ``upto_us``] of a trigger that can only be asked forward; None when there is none.

    By halves: some dozens of questions, however far back it is.
    """
    low_us: int | None = None
    step_us = _SECOND_US
    while low_us is None:  # farther and farther back, until there is one
        from_us = max(upto_us - step_us, floor_us)
        found_us = next_us(from_us)
        if found_us is not None and found_us <= upto_us:
            low_us = found_us
        elif from_us == floor_us:
            return None
        step_us *= 16
    high_us = upto_us
    while True:
        found_us = next_us(low_us)
        if found_us is None or found_us > upto_us:
            return low_us
        low_us = found_us
        middle_us = (low_us + high_us) // 2
        found_us = next_us(middle_us)
        if found_us is None or found_us > upto_us:
            high_us = middle_us
        else:
            low_us = found_us


def _never_near(one: Sequence[Box], other: Sequence[Box], distance_us: int) -> bool:
    """Whether the lattices of all boxes are farther apart than a distance."""
    for a in one:
        for b in other:
            step = gcd(a.period_us, b.period_us)
            rest = (a.offset_us - b.offset_us) % step
            if min(rest, step - rest) <= distance_us:
                return False
    return True


def _children(trigger: EngineTrigger) -> Iterator[EngineTrigger]:
    """What fires when a trigger does: the children of an ``and`` within an ``and``, else the trigger."""
    all_of: Callable[[], Sequence[EngineTrigger] | None] | None = getattr(trigger, "_all_of", None)
    children = None if all_of is None else all_of()
    if children is None:
        yield trigger
    else:
        for child in children:
            yield from _children(child)


def _merged(triggers: Sequence[EngineTrigger]) -> list[EngineTrigger] | None:
    """Fewer triggers that meet when these do; None: they never do."""
    intervals = [trigger for trigger in triggers if type(trigger) is IntervalTrigger]
    crons = [trigger for trigger in triggers if type(trigger) is CronTrigger and _is_plain(trigger._plan)]
    merged: list[EngineTrigger] = [
        trigger for trigger in triggers if not any(trigger is each for each in (*intervals, *crons))
    ]
    if intervals:
        interval = _merge_intervals(intervals)
        if interval is None:
            return None
        merged.append(interval)
    while crons:
        zone = crons[0].timezone
        here = [trigger for trigger in crons if same_zone(trigger.timezone, zone)]
        crons = [trigger for trigger in crons if not same_zone(trigger.timezone, zone)]
        literal = [trigger for trigger in here if not trigger._once]
        joint = _merge_cron(here, len(literal) < len(here))
        if joint is None:
            return None
        merged.append(joint)
        if literal and len(literal) < len(here):
            # The joint rule runs after a gap what the gap swallowed; those that follow real time have no run there.
            strict = _merge_cron(literal, False)
            assert strict is not None
            merged.append(strict)
    return merged


def _shown(at_us: int) -> str:
    return to_datetime(min(max(at_us, FIRST_US), LAST_US)).strftime("%Y-%m-%d %H:%M:%SZ")
