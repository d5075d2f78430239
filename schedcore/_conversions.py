"""What the value of an option may be: value in, value out, or a ``ValueError`` that says what would be right.

Text is welcome wherever it can be read, as ini files give it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from schedcore.errors import ConfigurationError, InvalidTriggerError, ReferenceLookupError
from schedcore.references import resolve

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter

__all__ = [
    "as_bool",
    "as_clock",
    "as_count",
    "as_grace_time",
    "as_is",
    "as_logger",
    "as_number",
    "as_recovery",
    "as_seconds",
    "as_text",
    "as_timezone",
    "as_whole_number",
    "convert",
    "is_none",
    "show",
]

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def as_is(value: object) -> object:
    """Any value, as it is."""
    return value


def as_clock(value: object) -> object:
    """A ``schedcore.clock.Clock``, or None for the system's."""
    if value is None or all(callable(getattr(value, name, None)) for name in ("wall_us", "monotonic_s")):
        return value
    raise ValueError("must be a clock, which has wall_us() and monotonic_s()")


def as_text(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be text")


def as_bool(value: object) -> bool:
    """A truth value, or its word as ini files have it (true, yes, on, 1; false, no, off, 0)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    elif isinstance(value, int) and value in (0, 1):
        return value == 1
    raise ValueError("must be true or false")


def as_whole_number(value: object) -> int:
    """An integer, or its text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("must be a whole number")


def as_number(value: object) -> float:
    """A finite number, or its text."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if math.isfinite(number):
                return int(value) if isinstance(value, int) else number
    raise ValueError("must be a number")


def is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "none"))


def as_seconds(value: object) -> float:
    try:
        number = as_number(value)
    except ValueError:
        number = 0.0
    if number > 0:
        return number
    raise ValueError("must be a number of seconds greater than 0")


def as_grace_time(value: object) -> float | None:
    if is_none(value):
        return None
    try:
        return as_seconds(value)
    except ValueError as error:
        raise ValueError(f"{error}, or None to run however late") from None


def as_count(value: object) -> int:
    try:
        number = as_whole_number(value)
    except ValueError:
        number = 0
    if number >= 1:
        return number
    raise ValueError("must be a whole number of at least 1")


def as_recovery(value: object) -> str:
    if value in ("rerun", "lost"):
        return str(value)
    raise ValueError('must be "rerun" or "lost"')


def as_logger(value: object) -> Logger | LoggerAdapter[Any] | None:
    import logging

    if is_none(value):
        return None
    if isinstance(value, logging.Logger | logging.LoggerAdapter):
        return value
    if not isinstance(value, str):
        raise ValueError('must be a logger, the name of one, or a reference to one ("package.module:name")')
    if ":" not in value:
        return logging.getLogger(value)
    try:
        target = resolve(value)
    except ReferenceLookupError as error:
        raise ValueError(str(error)) from error
    if isinstance(target, logging.Logger | logging.LoggerAdapter):
        return target
    raise ValueError(f"must lead to a logger, not to {show(target)}")


def as_timezone(value: object) -> tzinfo | None:
    if is_none(value):
        return None
    from schedcore.triggers._zones import to_zone  # brings zoneinfo

    try:
        return to_zone(value)  # type: ignore[arg-type]  # it judges whatever it is given
    except InvalidTriggerError as error:
        raise ValueError(str(error).removeprefix("timezone: ")) from error


def convert(option: str, value: object, conversion: Callable[[object], object]) -> Any:
    try:
        return conversion(value)
    except ConfigurationError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{option}={show(value)}: {error}") from error


def show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
