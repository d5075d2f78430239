"""What crontab texts of several dialects share beyond crontab(5): ``L``, ``W`` and ``#`` among the days, and ``H``.

Days of the month: ``L`` is the last day, ``L-3`` three days before it (28 January), ``15W`` the day from Monday to Friday
that is nearest to the 15th and in the same month, ``LW`` the last day from Monday to Friday, ``L-3W`` likewise. Weekdays:
``fri#2`` is the second Friday of the month, ``friL`` the last. None of them stands in a range.

``H`` is a number that a seed picks, evenly over the field, so that many schedules spread out and each stays where it is:
``H`` any value (of the days of the month: 1 to 28, which all months have), ``H(0-29)`` one of a range, ``H/15`` every 15th
from one of the first 15, ``H(0-29)/10`` both. The number is the SHA-256 of the seed and the field's name: the same in
every process and every release. ``H/15`` counts as ``*/15`` where a rule looks for ``*``; ``H`` counts as a number.
"""

from __future__ import annotations

from schedcore.triggers.cron._fields import WEEKDAY_NAMES, FieldParser, FieldSpec

__all__ = ["CrontabParser", "DayParser", "WeekdayParser", "as_days"]

# Days of the month that every month has.
_SAFE_DAYS = 28
_EVERY_NTH = sum(1 << 7 * n for n in range(5))


class CrontabParser(FieldParser):
    """Reads a field of a crontab text, which may have ``H``. Without a seed that is an error."""

    def __init__(self, spec: FieldSpec, text: str, column: int, shown: str, seed: str | None) -> None:
        super().__init__(spec, text, column, shown)
        self._seed = seed

    def element(self) -> None:
        if self.peek() == "h" and self.spec.cycle:
            self._hashed()
        else:
            super().element()

    def _hashed(self) -> None:
        spec = self.spec
        start = self._next
        if self._seed is None:
            raise self.error(
                "'H' stands for a number that a seed picks; give seed=, such as the id of the job (a job that is added to a "
                "scheduler gets its id by itself)"
            )
        self.take()
        # 7 as another name of Sunday is left out.
        low, high = spec.low, min(spec.high, spec.low + spec.cycle - 1)
        ranged = self.peek() == "("
        if ranged:
            self.take()
            low = self.value()
            if self.peek() != "-":
                raise self.error("a range is missing; write H(a-b)")
            self.take()
            at = self._next
            high = self.value()
            if high < low:
                raise self.error(f"the range ends before it begins; write H({high}-{low})", at)
            if self.peek() != ")":
                raise self.error("')' is missing; write H(a-b)")
            self.take()
        if self.peek() == "/":
            step = self.step(None)
            self.add(low + self._number(min(step, high - low + 1)), high, step)
            if not ranged and start == 0:
                self.star = True
        else:
            if spec.name == "day" and not ranged:
                high = _SAFE_DAYS
            value = low + self._number(high - low + 1)
            self.add(value, value, 1)

    def _number(self, below: int) -> int:
        """The seed's number for this field, from 0 to ``below`` - 1."""
        from hashlib import sha256

        digest = sha256(f"{self.spec.name}\0{self._seed}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % below


class DayParser(CrontabParser):
    """Reads the days of the month."""

    def __init__(self, spec: FieldSpec, text: str, column: int, shown: str, seed: str | None) -> None:
        super().__init__(spec, text, column, shown, seed)
        self.last_day = False
        self.before_last = 0
        self.nearest = 0
        self.nearest_before_last = 0

    def element(self) -> None:
        word = self.peek()
        if word == "lw":
            self.take()
            self.nearest_before_last |= 1
        elif word == "l":
            self.take()
            days = self._before()
            if self.peek() == "w":
                self.take()
                self.nearest_before_last |= 1 << days
            elif days:
                self.before_last |= 1 << days
            else:
                self.last_day = True
        elif word.isdigit() and self._after() == "w":
            day = self.value()
            self.take()
            self.nearest |= 1 << day
        else:
            super().element()

    def _before(self) -> int:
        """What follows ``L``: how many days before the last one."""
        if self.peek() != "-":
            return 0
        self.take()
        word = self.peek()
        if not (word.isdigit() and word.isascii()):
            raise self.error("a number of days is missing; write L-3 for three days before the last day of the month")
        if len(word) > 4 or not 1 <= int(word) <= 30:
            raise self.error(f"{word} is out of range: the days before the last one go from 1 to 30")
        self.take()
        return int(word)

    def usage(self) -> str:
        return f"{super().usage()}; or L, L-3, LW, 15W"


class WeekdayParser(CrontabParser):
    """Reads the weekdays. ``monday`` is the number of Monday in the dialect, ``alone`` the weekday (0: Monday) that ``L``
    by itself means; without it that is an error."""

    def __init__(
        self,
        spec: FieldSpec,
        text: str,
        column: int,
        shown: str,
        seed: str | None,
        monday: int,
        alone: int | None = None,
    ) -> None:
        super().__init__(spec, text, column, shown, seed)
        self.nth_weekdays = 0
        self.last_weekdays = 0
        self._monday = monday
        self._alone = alone

    @property
    def weekdays(self) -> int:
        """The plain weekdays found: bit 0 is Monday."""
        found = 0
        for value in range(self.spec.high + 1):
            if self.mask >> value & 1:
                found |= 1 << (value - self._monday) % 7
        return found

    def element(self) -> None:
        word = self.peek()
        if word == "l":
            if self._alone is None:
                raise self.error("the last of which weekday? write friL for the last Friday of the month")
            self.take()
            self.mask |= 1 << (self._alone + self._monday)
        elif word[-1:] == "l" and word[:-1] in WEEKDAY_NAMES:
            self.take()
            self.last_weekdays |= 1 << WEEKDAY_NAMES[word[:-1]]
        elif self._after() in ("#", "l"):
            weekday = (self.value() - self._monday) % 7
            if self.take() == "l":
                self.last_weekdays |= 1 << weekday
                return
            nth = self.peek()
            if nth not in ("1", "2", "3", "4", "5"):
                raise self.error(f"which one of the month? write {self.text[: self._start(self._next)]}1 to 5")
            self.take()
            self.nth_weekdays |= 1 << (7 * (int(nth) - 1) + weekday)
        else:
            super().element()

    def usage(self) -> str:
        return f"{super().usage()}; or fri#2, friL"


def as_days(weekdays: int, nth_weekdays: int) -> int:
    """Plain weekdays and "2nd Friday" in one set of the latter kind."""
    for weekday in range(7):
        if weekdays >> weekday & 1:
            nth_weekdays |= _EVERY_NTH << weekday
    return nth_weekdays
