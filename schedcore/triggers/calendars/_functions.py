"""Calendars made of functions of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import MAXYEAR, MINYEAR, date, timedelta
from typing import Any, ClassVar

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._local import DAY_S, civil
from schedcore.triggers.calendars._calendar import EPOCH, Daily, Span
from schedcore.triggers.foreign import call

__all__ = ["Moments", "Predicate"]


class Predicate(Daily):
    """Closed on the dates of which a function of yours says so: ``Predicate(is_quarter_end)``.

    The function takes a ``datetime.date`` and must give the same answer whenever it is asked. Durable stores need one that
    text can name (defined at the top level of a module), or text ``"module:name"``.
    """

    __slots__ = ("function",)
    kind: ClassVar[str | None] = "predicate"
    foreign = True
    function: Callable[[Any], object]

    def __init__(self, function: Callable[[Any], object] | str) -> None:
        object.__setattr__(self, "function", _to_function(function))

    def _closes(self, day: int) -> bool:
        year, month, number = civil(day)
        return MINYEAR <= year <= MAXYEAR and bool(
            call((id(self.function), day), self.function, date(year, month, number))
        )

    def describe(self) -> str:
        return f"whatever {_name_of(self.function)} says"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_ref_or_repr(self.function)!r})"

    def _data(self) -> dict[str, Any]:
        from schedcore.references import ref_of

        return {"function": ref_of(self.function)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "function", _to_function(data["function"]))

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle may be able to store what text cannot name.
        return type(self), (self.function,)


class Moments(Predicate):
    """Closed at the wall times of which a function of yours says so: it takes a naive ``datetime``, to the second.

    Nothing can be known of the time between two questions, so each excluded fire time is asked for; use ``Predicate`` for
    what goes by the day.
    """

    __slots__ = ()
    kind = "moments"

    @property
    def by_day(self) -> bool:
        return False

    def span(self, local_s: int) -> Span:
        known = MINYEAR <= civil(local_s // DAY_S)[0] <= MAXYEAR
        return Span(
            known and bool(call((id(self.function), local_s), self.function, EPOCH + timedelta(seconds=local_s))),
            local_s,
            local_s + 1,
        )


def _to_function(function: Callable[..., object] | str) -> Callable[[Any], object]:
    found: Any = function
    if isinstance(function, str):
        from schedcore.references import resolve

        found = resolve(function)
    if not callable(found):
        raise InvalidTriggerError(f"function: {function!r} cannot be called", field="function")
    return found  # type: ignore[no-any-return]


def _name_of(function: Callable[..., object]) -> str:
    from schedcore.references import callable_name

    return callable_name(function)


def _ref_or_repr(function: Callable[..., object]) -> str:
    from schedcore.references import ref_of

    try:
        return ref_of(function)
    except ValueError:
        return repr(function)
