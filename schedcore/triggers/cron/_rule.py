"""What a cron schedule means once it has been read, whatever it was written in."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FIRST_YEAR", "LAST_YEAR", "CronRule"]

# The years that a schedule may name. They are those of APScheduler 3.x.
FIRST_YEAR = 1970
LAST_YEAR = 9999


class CronRule(NamedTuple):
    """The local times at which a schedule fires, as sets of integers: bit *n* of a mask stands for the value
    *n*.

    A day belongs to the schedule when its year, month and ISO week do and, by ``either``, when it is among
    the days of the month *and* the weekdays, or among one *or* the other.
    """

    #: Bits 0 to 59, 0 to 59, 0 to 23.
    seconds: int
    minutes: int
    hours: int
    #: Days of the month, bits 1 to 31.
    days: int
    #: Also the last day of the month.
    last_day: bool
    #: Also the n-th of a weekday in the month: bit 7 * (n - 1) + weekday, n from 1 to 5.
    nth_weekdays: int
    #: Also the last of a weekday in the month: bit 0 is the last Monday.
    last_weekdays: int
    #: Bits 1 to 12.
    months: int
    #: Bits 0 (Monday) to 6 (Sunday).
    weekdays: int
    #: Whether a day of either kind will do (crontab(5), when both fields are restricted).
    either: bool
    #: ISO 8601 weeks, bits 1 to 53; None for all.
    weeks: int | None
    #: Bits 1970 to 9999; None for all, also those before 1970.
    years: int | None
    #: Whether the schedule is written as a wildcard in minutes or hours, so that it follows real time when the clocks
    #: change (see ``_dst``).
    wildcard: bool
    #: Also so many days before the last day of the month, bits 1 to 30.
    before_last: int = 0
    #: Also the day from Monday to Friday, in the same month, that is nearest to a day of the month: bits 1 to 31. A month
    #: that has no such day of the month has none.
    nearest: int = 0
    #: Likewise nearest to so many days before the last day of the month, bits 0 to 30.
    nearest_before_last: int = 0
    #: Named days that stand beside the weekdays, and not among the days of the month: bits 0 to 34 as in
    #: ``nth_weekdays``, bits 35 to 41 as in ``last_weekdays``.
    named_weekdays: int = 0

    @property
    def all_days(self) -> bool:
        """Whether the days of the month restrict nothing."""
        return self.days == 0xFFFFFFFE
