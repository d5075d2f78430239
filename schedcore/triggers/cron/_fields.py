"""Reading one field of a schedule: every character is understood, or the error names the field and the
column.

The grammar that all dialects share::

    field    = element *("," element)
    element  = "*" ["/" step] | value ["-" value] ["/" step]
    value    = number | name

``a/c`` is ``a-maximum/c``. A range whose end lies before its start wraps round (hours ``22-2``, ``sat-mon``).
A step counts from the range's start. Dialects add to it by overriding ``FieldParser.element``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from schedcore.errors import InvalidTriggerError, did_you_mean

__all__ = ["MONTHS", "MONTH_NAMES", "WEEKDAYS", "WEEKDAY_NAMES", "FieldParser", "FieldSpec"]

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

#: Names in lower case, whole and by their first three letters; January is 1, Monday is 0.
MONTH_NAMES: Mapping[str, int] = {
    name.lower(): number for number, whole in enumerate(MONTHS, 1) for name in (whole[:3], whole)
}
WEEKDAY_NAMES: Mapping[str, int] = {
    name.lower(): number for number, whole in enumerate(WEEKDAYS) for name in (whole[:3], whole)
}

_TOKEN = re.compile(r"[0-9]+|[^\W\d_]+|\s+|.", re.DOTALL)


class FieldSpec(NamedTuple):
    """What a field may hold in a dialect."""

    #: As in error messages and in ``InvalidTriggerError.field``.
    name: str
    low: int
    high: int
    names: Mapping[str, int] = {}
    #: How many values there are before they repeat; 0 when a range must not wrap round.
    cycle: int = 0
    #: Whether a step that leaves the range at once is an error (APScheduler 3.x) or means the first value (cron).
    strict_step: bool = False
    #: Whether blanks may stand around an element.
    blanks: bool = False
    #: What to do about a number that is out of range, appended to the message.
    hint: str = ""


class FieldParser:
    """Reads one field's ``text``. ``column`` is where the text begins (1-based), ``shown`` what an error
    quotes."""

    def __init__(self, spec: FieldSpec, text: str, column: int = 1, shown: str | None = None) -> None:
        self.spec = spec
        self.text = text
        self.column = column
        self.shown = text if shown is None else shown
        #: The values found: bit n for the value n.
        self.mask = 0
        #: Whether the field begins with ``*``.
        self.star = False
        self._tokens: list[tuple[str, int]] = []
        self._next = 0

    def parse(self) -> None:
        """Fill in the results. Raises ``InvalidTriggerError``."""
        text, spec = self.text, self.spec
        # What nearly all fields are, without going through the grammar.
        if text == "*":
            self.star = True
            self.add(spec.low, spec.low + spec.cycle - 1 if spec.cycle else spec.high, 1)
            return
        if text.isdigit() and text.isascii() and len(text) < 5 and spec.low <= int(text) <= spec.high:
            self.add(int(text), int(text), 1)
            return
        self._tokens = [(match.group().lower(), match.start()) for match in _TOKEN.finditer(text)]
        self._skip_blanks()
        self.star = self.peek() == "*"
        while True:
            self.element()
            self._skip_blanks()
            if not self.peek():
                return
            if self.peek() != ",":
                raise self.error(f"{self.written()!r} cannot stand here; a list is separated by ','")
            self.take()
            self._skip_blanks()

    def element(self) -> None:
        """One element of the list: adds to the results."""
        spec = self.spec
        if self.peek() == "*":
            self.take()
            first, last = spec.low, spec.high
            if spec.cycle:
                last = spec.low + spec.cycle - 1
            step = self.step(last - first)
            self.add(first, last, step)
            return
        first = self.value()
        if self.peek() == "-":
            self.take()
            at = self._next
            last = self.value()
            if last < first:
                if not spec.cycle:
                    raise self.error(f"the range ends before it begins; write {last}-{first}", at)
                if first >= spec.low + spec.cycle:  # 7 as a name of Sunday
                    first -= spec.cycle
                if last < first:
                    last += spec.cycle
            self.add(first, last, self.step(last - first))
        elif self.peek() == "/":
            last = max(first, spec.low + spec.cycle - 1 if spec.cycle else spec.high)
            self.add(first, last, self.step(None))
        else:
            self.add(first, first, 1)

    def add(self, first: int, last: int, step: int) -> None:
        """Add a range; values beyond the field's cycle wrap round."""
        spec = self.spec
        if not spec.cycle or last < spec.low + spec.cycle:
            number = (last - first) // step + 1
            # A number of ones that are ``step`` bits apart: thousands of years at once.
            self.mask |= ((1 << step * number) - 1) // ((1 << step) - 1) << first
            return
        for value in range(first, last + 1, step):
            if spec.cycle and value >= spec.low + spec.cycle:
                value -= spec.cycle
            self.mask |= 1 << value

    def value(self) -> int:
        """A number or a name."""
        spec = self.spec
        word = self.peek()
        if word.isdigit() and word.isascii():
            number = int(word) if len(word) < 7 else 10**7
            if not spec.low <= number <= spec.high:
                raise self.error(
                    f"{word} is out of range: {_plural(spec.name)} go from {spec.low} to {spec.high}{spec.hint}"
                )
            self.take()
            return number
        if word in spec.names:
            self.take()
            return spec.names[word]
        if word.isalpha() and spec.names:
            known = [name for name in spec.names if len(name) == 3]
            kind = "weekday" if spec.name == "day_of_week" else spec.name
            raise self.error(f"{self.written()!r} is not the name of a {kind}{did_you_mean(word, known)}")
        if not word:
            raise self.error(f"a value is missing; {self.usage()}")
        raise self.error(f"{self.written()!r} is not understood; {self.usage()}")

    def step(self, width: int | None) -> int:
        """What follows ``/``, or 1. ``width`` is last - first of the range that is stepped through, None to
        not check."""
        if self.peek() != "/":
            return 1
        self.take()
        word = self.peek()
        if not (word.isdigit() and word.isascii()):
            raise self.error("a step is missing after '/'; write a number from 1, such as */5")
        number = int(word) if len(word) < 7 else 10**7
        if number == 0:
            raise self.error("a step of 0 never gets on; write a number from 1, such as */5")
        if self.spec.strict_step and width is not None and number > width:
            raise self.error(
                f"the step {word} is larger than the range, which spans {width}; leave it out or use a smaller one"
            )
        self.take()
        return number

    def usage(self) -> str:
        """What may be written here."""
        spec = self.spec
        names = ", a name such as " + next(iter(spec.names)) if spec.names else ""
        return (
            f"write a number from {spec.low} to {spec.high}{names}, '*', a range (a-b), a step (*/n or a-b/n) "
            f"or a list of them (a,b)"
        )

    def peek(self) -> str:
        """The token at hand, in lower case; ``""`` at the end."""
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _after(self) -> str:
        """The token after the one at hand."""
        return self._tokens[self._next + 1][0] if self._next + 1 < len(self._tokens) else ""

    def _start(self, number: int) -> int:
        """Where a token begins in the text; its end when there is no such token."""
        return self._tokens[number][1] if number < len(self._tokens) else len(self.text)

    def written(self) -> str:
        """The token at hand as it was written."""
        start = self._tokens[self._next][1]
        return self.text[start : start + len(self.peek())]

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token

    def _skip_blanks(self) -> None:
        if self.spec.blanks and self.peek().isspace():
            self._next += 1

    def error(self, message: str, at: int | None = None) -> InvalidTriggerError:
        """An error to raise that points at the token at hand, or at token number ``at``."""
        at = self._next if at is None else at
        column = self.column + self._start(at)
        return InvalidTriggerError(
            f"{self.spec.name} of {self.shown!r}, column {column}: {message}", field=self.spec.name, column=column
        )


def _plural(name: str) -> str:
    return {"day": "days of the month", "day_of_week": "weekdays"}.get(name, f"{name}s")
