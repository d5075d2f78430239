"""Calendars: time in which nothing runs, and what becomes of fire times that fall into it.

A calendar says of each local time whether it is *closed*. Calendars are values, and combine: ``a | b`` is closed when either
is, ``a & b`` when both are, ``~a`` when ``a`` is not::

    free = Weekdays("sat", "sun") | Holidays("DE", "BY") | Dates("2026-12-24", "2026-12-31")
    CronTrigger(hour=9).excluding(free)                   # not on those days; each time left out is on record
    CronTrigger(day=1, hour=9).excluding(free, roll="next")   # on the next business day instead
    IntervalTrigger(minutes=2).excluding(~Times("07:00", "22:00"))   # within a window only
    BusinessDayTrigger(4, free, hour=9)                   # on the 4th business day of each month

Local time is that of the trigger's zone, unless ``Excluding`` is given another one.

Theory of operation. A calendar answers with a span: closed or open, since when and until when at least. ``Excluding`` leaps
over closed spans and counts by whole spans, so that a year of excluded minutes is some hundred questions and not half a
million. A time of day that clocks show twice is closed both times. Every search ends: after ``MAX_SPANS`` spans, or 50
years in which everything was closed, it raises, and the job is set aside with that reason.
"""

from __future__ import annotations

from schedcore.triggers.calendars._business import BusinessDayTrigger
from schedcore.triggers.calendars._calendar import Calendar, Span
from schedcore.triggers.calendars._combining import AllOf, AnyOf, Not, pack_calendar, unpack_calendar
from schedcore.triggers.calendars._days import Dates, Weekdays
from schedcore.triggers.calendars._excluding import MAX_SPANS, Excluding
from schedcore.triggers.calendars._functions import Moments, Predicate
from schedcore.triggers.calendars._holidays import Holidays
from schedcore.triggers.calendars._windows import Times

__all__ = [
    "MAX_SPANS",
    "AllOf",
    "AnyOf",
    "BusinessDayTrigger",
    "Calendar",
    "Dates",
    "Excluding",
    "Holidays",
    "Moments",
    "Not",
    "Predicate",
    "Span",
    "Times",
    "Weekdays",
    "pack_calendar",
    "unpack_calendar",
]

# What pickle writes down is where users find a class, and not in which file it is.
for _each in (
    AllOf,
    AnyOf,
    BusinessDayTrigger,
    Calendar,
    Dates,
    Excluding,
    Holidays,
    Moments,
    Not,
    Predicate,
    Span,
    Times,
    Weekdays,
):
    _each.__module__ = __name__
