"""From the wall clock to instants: what happens to a schedule when the clocks of its zone change.

Two rules, named by a trigger's ``dst``:

``"literal"`` The schedule fires at every instant at which the wall clock shows one of its times. A time in a
gap does not come that day; a time in an overlap comes twice.

``"cron"`` (the default) That of Debian's cron(8): "This only applies to jobs that run at a specific time and
jobs that run with a granularity greater than one hour. Jobs that run more frequently are scheduled normally.
If time was adjusted one hour forward, those jobs that would have run in the interval that has been skipped
will be run immediately. Conversely, if time was adjusted backward, running the same job twice is avoided." In
one sentence: each of the schedule's times happens exactly once, at the first instant at which the wall clock
shows it or a later time. Times that a gap swallows fall together on the gap's end and are one fire time. As
in Debian's implementation, a schedule whose minute or hour field begins with ``*`` follows real time, which
is the literal rule. So does one with several seconds. Changes of more than three hours (a zone that crosses
the date line) follow the same rule here: they are announced, and not corrections of a wrong clock.

Both rules are sets of instants, so that "next", "last" and "how many" agree with each other.

Theory of operation. An offset table (``Offsets``) knows for each block of five days either the one offset
that holds in it and for a day on both sides, or the pieces into which transitions cut it. Nearly all blocks
are of the first kind, and there the answer is a subtraction, right because the whole neighbourhood was looked
at. No zone's offset differs from UTC by more than a day, so a block may be looked up by UTC and by local time
alike. Between two looks a zone must not change its offset and go back: the looks are 3.5 days apart, and in
all of the tz database the shortest such visit is 3.98 days (Africa/Freetown, September 1939; since 1970 it is
6.9).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import MAXYEAR, datetime, timedelta, tzinfo
from functools import lru_cache, reduce
from itertools import product

from schedcore.triggers._bits import bits_at, every, lowest
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.cron._search import Plan, first_day, year_of
from schedcore.triggers.cron._tzfile import read_transitions

__all__ = [
    "BLOCK_S",
    "Offsets",
    "count",
    "is_still",
    "jumps",
    "last_upto",
    "literal_next",
    "offsets_for",
    "once_next",
    "shown_before",
]

# Seconds.
_DAY_S = 86400
_LOOK_S = 302400
# Beyond what a zone's file lists, its rule names two changes a year at the most; they are months apart.
_APART_S = 1_209_600
#: The width of a block; with a day on both sides it is two looks wide.
BLOCK_S = 2 * _LOOK_S - 2 * _DAY_S
# The width of a chunk in the table of transitions.
_CHUNK_S = 10 * _LOOK_S
_FIRST_S = FIRST_US // 1_000_000 - _DAY_S
_LAST_S = LAST_US // 1_000_000 + _DAY_S
# Entries in each table of a zone (five days or five weeks each); a full table is emptied.
_TABLE_LIMIT = 8192
# How many gaps in a row may swallow all that a schedule has, before the answer is "never". A zone's rules and
# the calendar decide it by the kind of year, and every kind comes within 40 years.
_SWALLOWED_LIMIT = 48
# Blocks that are looked at one by one (20 days), before the table of transitions is.
_FEW_BLOCKS = 4
# The zones' rules are stable from here on, and repeat with the calendar after 400 years.
_STABLE_S = 4_102_444_800  # 2100-01-01
_CYCLE = 400
# A span that is counted as it is, and not by kinds of years.
_FEW_YEARS_S = 3 * 366 * _DAY_S
# Schedules whose counts are remembered for each zone.
_COUNTS_KEPT = 64

#: From an instant (inclusive) until another (exclusive), the offset from UTC; all in seconds.
Piece = tuple[int, int, int]


class Offsets(dict[int, int | tuple[Piece, ...]]):
    """A zone's offsets by block, found when first asked for. ``offsets[instant_s // BLOCK_S]``."""

    __slots__ = ("_chunks", "_epoch", "_kinds", "_stable_s", "_table", "_zone", "counts", "periodic")

    def __init__(self, zone: tzinfo) -> None:
        super().__init__()
        self._zone = zone
        self._epoch = datetime(1970, 1, 1, tzinfo=zone)
        self._chunks: dict[int, tuple[tuple[int, int], ...]] = {}
        # By the kind of year, once the rules are stable: the seconds since the year began, and the offset after.
        self._kinds: dict[int, tuple[tuple[int, int], ...]] = {}
        # All transitions up to where the rules are stable, as the zone's file has them; None: not known, or not read yet.
        self._table: list[tuple[int, int]] | None = None
        self._stable_s: int | None = None
        #: For schedules that were counted over many years: the years that they name, as bits, and the fire times by the kind of
        #: year and by which of it and of the years beside it are named.
        self.counts: dict[tuple[Plan, bool], tuple[int, dict[tuple[int, ...], int]]] = {}
        #: Whether the zone's rules repeat with the calendar: true of the tz database, unknown of other classes.
        self.periodic = type(zone).__module__ in ("zoneinfo", "datetime")

    def __missing__(self, block: int) -> int | tuple[Piece, ...]:
        start_s = block * BLOCK_S - _DAY_S
        end_s = start_s + 2 * _LOOK_S
        if self._stable_s is None:  # a few looks are less than a whole file
            cuts = self._cuts(start_s, 2)
        else:
            cuts = [cut for cut in self._transitions(start_s, end_s + 1) if start_s < cut[0] <= end_s]
        found: int | tuple[Piece, ...]
        if not cuts:
            found = self._look(start_s)
        else:
            pieces: list[Piece] = []
            offset = self._look(start_s)
            for at_s, after in cuts:
                pieces.append((start_s, at_s, offset))
                start_s, offset = at_s, after
            pieces.append((start_s, (block + 1) * BLOCK_S + _DAY_S, offset))
            found = tuple(pieces)
        if len(self) >= _TABLE_LIMIT:
            self.clear()
        self[block] = found
        return found

    def pieces(self, instant_s: int) -> tuple[Piece, ...]:
        """The pieces of the block of an instant, from a day before the block to a day after it."""
        block = instant_s // BLOCK_S
        found = self[block]
        if isinstance(found, int):
            return ((block * BLOCK_S - _DAY_S, (block + 1) * BLOCK_S + _DAY_S, found),)
        return found

    def spans(self, from_s: int, until_s: int) -> Iterator[Piece]:
        """The pieces of [``from_s``, ``until_s``), cut to it, in order. Takes time in proportion to its
        length."""
        offset = _offset_at(self.pieces(from_s), from_s)
        for at_s, after in self._transitions(from_s, until_s):
            if from_s < at_s < until_s:
                yield from_s, at_s, offset
                from_s, offset = at_s, after
        yield from_s, until_s, offset

    def _transitions(self, from_s: int, until_s: int) -> Iterator[tuple[int, int]]:
        """The transitions of [``from_s``, ``until_s``), and perhaps some before and after it: instants, and offsets after."""
        if self._stable_s is None:
            self._read_file()
        assert self._stable_s is not None
        known_s = min(until_s, self._stable_s)
        if self._table is not None:
            yield from self._table[bisect_left(self._table, (from_s,)) : bisect_left(self._table, (known_s,))]
        else:
            for chunk in range(from_s // _CHUNK_S, (known_s - 1) // _CHUNK_S + 1):
                try:
                    cuts = self._chunks[chunk]
                except KeyError:
                    if len(self._chunks) >= _TABLE_LIMIT:
                        self._chunks.clear()
                    cuts = self._chunks[chunk] = tuple(self._cuts(chunk * _CHUNK_S, 10))
                for cut in cuts:
                    if cut[0] < known_s:
                        yield cut
        if known_s < until_s:
            # No zone can be asked about the years after the last one, nor may they stand for others of their kind.
            last = min(year_of(until_s // _DAY_S), MAXYEAR)
            for year in range(year_of(max(from_s, known_s) // _DAY_S), last + 1):
                start_s = first_day(year) * _DAY_S
                for since_s, after in self._cuts_of_year(year):
                    yield start_s + since_s, after

    def _read_file(self) -> None:
        """Learn the transitions from the zone's file, where it agrees with what the zone says."""
        stable_s = _STABLE_S if self.periodic else _LAST_S + _DAY_S
        key = getattr(self._zone, "key", None)
        table = read_transitions(key) if self.periodic and isinstance(key, str) else None
        if table is not None:
            first = before = self._look(table[0][0] - 1) if table else 0
            for at_s, after in table:
                if at_s > _FIRST_S and (self._look(at_s - 1), self._look(at_s)) != (before, after):
                    table = None
                    break
                before = after
        if table is not None:
            if table and table[0][1] == first:  # it changed the name of the time, and not the clocks
                table = table[1:]
            last_s = table[-1][0] if table else 0
            stable_s = first_day(year_of(last_s // _DAY_S) + 1) * _DAY_S
            # In the year of the last one, its yearly rules may hold already.
            rest = self._cuts(last_s, -(-(stable_s - last_s) // _LOOK_S))
            table = table + [cut for cut in rest if cut[0] < stable_s]
        self._table = table
        self._stable_s = stable_s

    def _cuts_of_year(self, year: int) -> tuple[tuple[int, int], ...]:
        """The transitions of a year in which the zone's rules are stable: they go by its length and the weekday of 1 January."""
        start_s = first_day(year) * _DAY_S
        end_s = first_day(year + 1) * _DAY_S
        kind = 2 * (start_s // _DAY_S % 7) + (end_s - start_s) // _DAY_S - 365
        try:
            return self._kinds[kind]
        except KeyError:
            apart_s = _LOOK_S if self._table is None else _APART_S
            cuts = self._cuts(start_s - 1, -(-(end_s - start_s) // apart_s), apart_s)
            found = self._kinds[kind] = tuple((at_s - start_s, after) for at_s, after in cuts if at_s < end_s)
            return found

    def _look(self, instant_s: int) -> int:
        """The offset at an instant."""
        instant_s = min(max(instant_s, _FIRST_S), _LAST_S)
        utc = self._epoch + timedelta(0, instant_s)
        offset = self._zone.fromutc(utc) - utc
        return offset.days * _DAY_S + offset.seconds

    def _cuts(self, start_s: int, looks: int, apart_s: int = _LOOK_S) -> list[tuple[int, int]]:
        """The transitions in (``start_s``, ``start_s`` + ``looks`` * ``apart_s``]: their instants, and the offsets after."""
        cuts: list[tuple[int, int]] = []
        offset = self._look(start_s)
        for number in range(1, looks + 1):
            end_s = start_s + number * apart_s
            there = self._look(end_s)
            low_s = end_s - apart_s
            while offset != there:
                high_s = end_s
                while high_s - low_s > 1:
                    middle_s = (low_s + high_s) // 2
                    if self._look(middle_s) == offset:
                        low_s = middle_s
                    else:
                        high_s = middle_s
                low_s = high_s
                offset = self._look(high_s)
                cuts.append((high_s, offset))
        return cuts


@lru_cache(maxsize=256)
def _shared_offsets(zone: tzinfo) -> Offsets:
    return Offsets(zone)


def offsets_for(zone: tzinfo) -> Offsets:
    """The offset table of a zone, shared by all triggers in the zone."""
    try:
        return _shared_offsets(zone)
    except TypeError:  # a zone class of the user's own that cannot be hashed
        return Offsets(zone)


def _offset_at(pieces: tuple[Piece, ...], instant_s: int) -> int:
    for _, end_s, offset in pieces:
        if instant_s < end_s:
            return offset
    return pieces[-1][2]


def shown_before(pieces: tuple[Piece, ...], instant_s: int) -> int:
    """The local time that the wall clock has not shown before an instant: all earlier ones have come, or were
    skipped."""
    return max(min(end_s, instant_s) + offset for start_s, end_s, offset in pieces if start_s < instant_s)


def is_still(offsets: Offsets, from_s: int, upto_s: int) -> bool:
    """Whether a short look shows that the clocks do not change between two instants, both included."""
    first, last = from_s // BLOCK_S, upto_s // BLOCK_S
    return last - first <= _FEW_BLOCKS and all(offsets[block].__class__ is int for block in range(first, last + 1))


def jumps(offsets: Offsets, from_s: int, upto_s: int) -> Iterator[tuple[int, int, int]]:
    """The instants from ``from_s`` to ``upto_s`` at which the clocks go forward, with the local times from which (inclusive)
    and to which (exclusive) they do.
    """
    before: int | None = None
    for start_s, _, offset in offsets.spans(from_s - 1, upto_s + 1):
        if before is not None and offset > before:
            yield start_s, start_s + before, start_s + offset
        before = offset


def _happens(offsets: Offsets, local_s: int) -> int:
    """The first instant at which the wall clock shows a local time or a later one."""
    for start_s, end_s, offset in offsets.pieces(local_s):
        if local_s < start_s + offset:
            return start_s
        if local_s < end_s + offset:
            return local_s - offset
    raise AssertionError("a block holds all of its local times")


def once_next(plan: Plan, offsets: Offsets, from_s: int) -> int | None:
    """The first fire time at or after ``from_s`` when each local time happens once."""
    local_s = plan.at_or_after(shown_before(offsets.pieces(from_s), from_s))
    return None if local_s is None else _happens(offsets, local_s)


def literal_next(plan: Plan, offsets: Offsets, from_s: int) -> int | None:
    """The first fire time at or after ``from_s`` by the literal rule."""
    for _ in range(_SWALLOWED_LIMIT):
        local_s: int | None = None
        for _, end_s, offset in offsets.pieces(from_s):
            if from_s < end_s:
                local_s = plan.at_or_after(from_s + offset)
                if local_s is not None and local_s - offset < end_s:
                    return local_s - offset
                from_s = end_s
        if local_s is None:
            return None
        # Nothing within a day and more, and nothing locally until local_s: go on where that may first be
        # shown.
        block = local_s // BLOCK_S
        there = offsets[block]
        if isinstance(there, int):
            return local_s - there
        from_s = max(from_s, block * BLOCK_S - _DAY_S)
    return None


def last_upto(plan: Plan, offsets: Offsets, upto_s: int, once: bool) -> int | None:
    """The last fire time at or before ``upto_s``."""
    if once:
        local_s = plan.at_or_before(shown_before(offsets.pieces(upto_s), upto_s + 1) - 1)
        return None if local_s is None else _happens(offsets, local_s)
    for _ in range(_SWALLOWED_LIMIT):
        local_s = None
        for start_s, _, offset in reversed(offsets.pieces(upto_s)):
            if start_s <= upto_s:
                local_s = plan.at_or_before(upto_s + offset)
                if local_s is not None and local_s - offset >= start_s:
                    return local_s - offset
                upto_s = start_s - 1
        if local_s is None:
            return None
        block = local_s // BLOCK_S
        there = offsets[block]
        if isinstance(there, int):
            return local_s - there
        upto_s = min(upto_s, (block + 1) * BLOCK_S + _DAY_S - 1)
    return None


@lru_cache(maxsize=1)
def _kinds_of_years() -> tuple[int, ...]:
    """The years up to 9999 as sets of bits, by the weekday of 1 January and the lengths of a year and of those beside it."""
    found: dict[tuple[int, int, int, int], int] = {}
    for year in range(_CYCLE):
        before, start, end, after = map(first_day, range(year - 1, year + 3))
        kind = start % 7, start - before, end - start, after - end
        found[kind] = found.get(kind, 0) | 1 << year
    every_cycle = every(_CYCLE, 0, MAXYEAR + 1)
    return tuple(years * every_cycle & (1 << MAXYEAR + 1) - 1 for years in found.values())


def _count_years(plan: Plan, offsets: Offsets, first: int, last: int, once: bool) -> int:
    """The fire times in the years from one to another of UTC, exclusive, in which the zone's rules are stable.

    A year has as many as another one of its kind that the rule names likewise, and the years beside it, which are there for the
    hours by which local time differs. What was counted is remembered.
    """
    known = offsets.counts.get((plan, once))
    if known is None:
        if len(offsets.counts) >= _COUNTS_KEPT:
            offsets.counts.clear()
        known = offsets.counts[plan, once] = (-1 if plan.years is None else bits_at(plan.years), {})
    named, counted = known
    total = 0
    span = (1 << last) - (1 << first) & (named | named << 1 | named >> 1)
    for kind, alike in enumerate(_kinds_of_years() if span else ()):
        for namings in product((named, ~named), (named << 1, ~(named << 1)), (named >> 1, ~(named >> 1))):
            years = reduce(int.__and__, namings, alike & span)
            if years:
                key = (kind, *(mask >> lowest(years) & 1 for mask in (named, named << 1, named >> 1)))
                times = counted.get(key)
                if times is None:
                    start = first_day(lowest(years)) * _DAY_S
                    times = counted[key] = _count(plan, offsets, start, first_day(lowest(years) + 1) * _DAY_S, once)
                total += times * years.bit_count()
    return total


def count(plan: Plan, offsets: Offsets, from_s: int, until_s: int, once: bool) -> int:
    """The number of fire times in [``from_s``, ``until_s``)."""
    stable_s = max(from_s, _STABLE_S)
    if until_s - stable_s > _FEW_YEARS_S and offsets.periodic:
        first, last = year_of((stable_s - 1) // _DAY_S) + 1, year_of(until_s // _DAY_S)
        return (
            count(plan, offsets, from_s, first_day(first) * _DAY_S, once)
            + _count_years(plan, offsets, first, last, once)
            + count(plan, offsets, first_day(last) * _DAY_S, until_s, once)
        )
    total = 0
    for named_from_s, named_until_s in plan.spans(
        from_s - _DAY_S, until_s + _DAY_S
    ):  # the clocks of other years do not matter
        first_s, end_s = max(from_s, named_from_s - _DAY_S), min(until_s, named_until_s + _DAY_S)
        if first_s < end_s:
            total += _count(plan, offsets, first_s, end_s, once)
    return total


def _count(plan: Plan, offsets: Offsets, from_s: int, until_s: int, once: bool) -> int:
    total = 0
    if not once:
        for start_s, end_s, offset in offsets.spans(from_s, until_s):
            total += plan.count(start_s + offset, end_s + offset)
        return total
    shown_s = shown_before(offsets.pieces(from_s), from_s)
    for start_s, end_s, offset in offsets.spans(from_s, until_s):
        if start_s + offset > shown_s:  # a gap: all that it swallowed, and its end, are one fire time
            total += min(plan.count(shown_s, start_s + offset + 1), 1)
            shown_s = start_s + offset + 1
        if end_s + offset > shown_s:
            total += plan.count(shown_s, end_s + offset)
            shown_s = end_s + offset
    return total
