"""What stored states have in common: a version, the zone data that they were made with, and numbers. A row that somebody altered
is refused when it is loaded, where its job can be set aside with the reason, and not when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from schedcore.triggers._zone_data import zone_data_version
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = [
    "bound_in",
    "check_version",
    "instant_in",
    "is_other_release",
    "jitter_in",
    "number_in",
    "zone_stamp",
]

# Microseconds. A jitter is shorter than 10**12 seconds, and such a float is that much below it at least.
_MOST_JITTER_US = 10**18 - 100


def check_version(state: Mapping[str, Any], version: int, what: str) -> None:
    """Raise ``ValueError`` for the state of another release."""
    found = state.get("version")
    if found != version:
        raise ValueError(f"the state of {what} has version {found!r}; this release reads {version}")


def zone_stamp(zone: tzinfo) -> dict[str, str]:
    """What a state says of the release of the zone's rules that it was made with."""
    version = zone_data_version(zone)
    return {} if version is None else {"zone_data": version}


def is_other_release(state: Mapping[str, Any], zone: tzinfo) -> bool:
    """Whether a state was made with another release of the zone's rules than the one at hand."""
    before = state.get("zone_data")
    return before is not None and before != (zone_data_version(zone) or before)


def number_in(state: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``. Raises ``ValueError``, and ``KeyError`` when there is none."""
    value = state[name]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(
            f"the state of a trigger has {value!r:.40} for {name}, which is no whole number from {low} to {high}"
        )
    return value


def instant_in(state: Mapping[str, Any], name: str) -> int:
    """An instant with which a trigger may answer."""
    return number_in(state, name, FIRST_US, LAST_US)


def bound_in(state: Mapping[str, Any], name: str = "end_us") -> int | None:
    """Likewise, or None."""
    return None if state[name] is None else instant_in(state, name)


def jitter_in(state: Mapping[str, Any]) -> int:
    return number_in(state, "jitter_us", -_MOST_JITTER_US, _MOST_JITTER_US)
