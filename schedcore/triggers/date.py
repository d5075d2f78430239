"""One fire time: ``date``.

It is an instant. Where it was given as local time it is stored as that, too: should the clocks of the zone be set by other rules
when it is loaded, it is the instant at which they show that time then.
"""

from __future__ import annotations

import time
from datetime import date, datetime, tzinfo
from datetime import timezone as fixed_zone
from typing import Any, ClassVar, Never, Self

from schedcore.clock import from_datetime, to_datetime
from schedcore.triggers import _old_states
from schedcore.triggers._stored import check_version, instant_in, is_other_release, number_in, zone_stamp
from schedcore.triggers._zones import (
    FIRST_US,
    LAST_US,
    iso_text,
    same_zone,
    to_instant,
    to_zone,
    zone_state,
)
from schedcore.triggers.base import BaseTrigger, Frozen, GridTrigger, unknown_option

__all__ = ["DateTrigger"]

_STATE_VERSION = 3  # 1 and 2 are those of APScheduler 3.x


class DateTrigger(Frozen, GridTrigger):
    """Fires once, at ``run_date``.

    :param run_date: a date (its midnight), a datetime or ISO 8601 text; without an offset it is local time in
        ``timezone``. None: now, which is the scheduler's own now from the moment that the job is added.
    :param timezone: a zone's name or any ``tzinfo``; None: the zone of ``run_date``, else the machine's own.
    :raises InvalidTriggerError: when ``run_date`` is no date or a local time that does not exist, or the
        zone is unknown.
    """

    __slots__ = ("_floating", "_local", "run_us", "timezone", "zone_data_changed")

    single: ClassVar[bool] = True

    timezone: tzinfo
    #: Microseconds since the epoch.
    run_us: int
    _floating: bool
    _local: bool  # whether it was given as local time

    def __init__(
        self, run_date: date | datetime | str | None = None, timezone: str | tzinfo | None = None, **others: Never
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        if timezone is None and isinstance(run_date, datetime):
            timezone = run_date.tzinfo
        zone = to_zone(timezone)
        if run_date is None:
            self._fill(zone, time.time_ns() // 1000, True)
        else:
            self._fill(zone, to_instant(run_date, zone, "run_date"), False, _is_local(run_date, zone))

    def _fill(self, zone: tzinfo, run_us: int, floating: bool, local: bool = False) -> None:
        object.__setattr__(self, "timezone", zone)
        object.__setattr__(self, "run_us", run_us)
        object.__setattr__(self, "_floating", floating)
        object.__setattr__(self, "_local", local)
        object.__setattr__(self, "zone_data_changed", False)

    @property
    def run_date(self) -> datetime:
        """The fire time, aware, in the trigger's zone."""
        return to_datetime(self.run_us).astimezone(self.timezone)

    @property
    def follows_zone_data(self) -> bool:
        """Whether it does: it knows since it was loaded."""
        return self.zone_data_changed

    def next_us(self, after_us: int) -> int | None:
        return self.run_us if after_us < self.run_us else None

    def first_us(self, at_us: int) -> int | None:
        # A date that has passed is late, not never: the misfire rule decides about it.
        return self.run_us

    def last_us(self, upto_us: int) -> int | None:
        return self.run_us if self.run_us <= upto_us else None

    def count_us(self, after_us: int, upto_us: int) -> int:
        return 1 if after_us < self.run_us <= upto_us else 0

    def anchored(self, now_us: int) -> Self:
        if not self._floating:
            return self
        bound = self._blank()
        bound._fill(self.timezone, now_us, True)
        return bound

    def same_rule(self, other: BaseTrigger) -> bool:
        if type(other) is not type(self):
            return False
        if self._floating and other._floating:
            return same_zone(self.timezone, other.timezone)
        return self == other

    def why_not(self, at_us: int) -> list[str]:
        """The reason for which it does not fire at an instant."""
        from schedcore.triggers.explain import shown

        return [f"it fires once, at {shown(self.run_date)}"]

    def describe(self) -> str:
        return f"once, at {self.run_date:%Y-%m-%d %H:%M:%S %Z}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.run_us == other.run_us and same_zone(self.timezone, other.timezone)

    def __hash__(self) -> int:
        return hash((DateTrigger, self.run_us))

    def __str__(self) -> str:
        return f"date[{self.run_date:%Y-%m-%d %H:%M:%S %Z}]"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run_date.isoformat()!r}, timezone={zone_state(self.timezone)!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = {
            "version": _STATE_VERSION,
            "timezone": zone_state(self.timezone),
            "run_us": self.run_us,
            "floating": self._floating,
        }
        if self._local:
            at = self.run_date
            state |= {"local": at.replace(tzinfo=None).isoformat(), "fold": at.fold, **zone_stamp(self.timezone)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            if state.get("version") in _old_states.OLD_VERSIONS:
                self._fill(*_old_states.run_date(state), False)
                return
            check_version(state, _STATE_VERSION, "a date trigger")
            zone, run_us, local = to_zone(state["timezone"]), instant_in(state, "run_us"), state.get("local")
            self._fill(zone, run_us, bool(state["floating"]), local is not None)
            if local is not None and is_other_release(state, zone):
                object.__setattr__(self, "run_us", _again_us(local, number_in(state, "fold", 0, 1), zone))
                object.__setattr__(self, "zone_data_changed", self.run_us != run_us)
        except KeyError as error:
            raise ValueError(f"the state of a date trigger lacks {error}") from None


def _is_local(value: date | datetime | str, zone: tzinfo) -> bool:
    """Whether a date names a time on the wall clock of a zone, and not one with an offset."""
    moment = datetime.fromisoformat(iso_text(value)) if isinstance(value, str) else value
    given = moment.tzinfo if isinstance(moment, datetime) else None
    return given is None or (not isinstance(given, fixed_zone) and same_zone(to_zone(given), zone))


def _again_us(local: str, fold: int, zone: tzinfo) -> int:
    """The instant of a stored local time; one that does not exist any more is as much later as the clocks jump."""
    try:
        at_us = from_datetime(datetime.fromisoformat(local).replace(tzinfo=zone, fold=fold))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the state of a date trigger has {local!r:.40} for local, which is no local time") from error
    return min(max(at_us, FIRST_US), LAST_US)
