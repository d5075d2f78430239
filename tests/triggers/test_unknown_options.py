"""An argument that a trigger does not have is refused by name, with the one that may be meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schedcore.errors import UnknownOptionError
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import BusinessDayTrigger
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.rrule import RRuleTrigger


@pytest.mark.parametrize(
    ("trigger", "options", "told"),
    [
        (CronTrigger, {"hours": 3}, "unknown CronTrigger option 'hours'; did you mean 'hour'?"),
        (CronTrigger, {"hour": 3, "others": 3}, "unknown CronTrigger option 'others'"),
        (IntervalTrigger, {"hour": 3}, "unknown IntervalTrigger option 'hour'; did you mean 'hours'?"),
        (DateTrigger, {"run_time": 3}, "unknown DateTrigger option 'run_time'; did you mean 'run_date'?"),
        (CalendarIntervalTrigger, {"day": 3}, "unknown CalendarIntervalTrigger option 'day'; did you mean 'days'?"),
        (
            RRuleTrigger,
            {"rule": "FREQ=DAILY", "start": 3},
            "unknown RRuleTrigger option 'start'; did you mean 'dtstart'?",
        ),
        (
            BusinessDayTrigger,
            {"nth": 1, "month": 3},
            "unknown BusinessDayTrigger option 'month'; did you mean 'months'?",
        ),
        (
            AndTrigger,
            {"triggers": [], "tolerence": 3},
            "unknown AndTrigger option 'tolerence'; did you mean 'tolerance'?",
        ),
        (OrTrigger, {"triggers": [], "jiter": 3}, "unknown OrTrigger option 'jiter'; did you mean 'jitter'?"),
    ],
)
def test_it_is_named(trigger: Callable[..., Any], options: dict[str, Any], told: str) -> None:
    with pytest.raises(UnknownOptionError) as caught:
        trigger(**options)
    assert str(caught.value).startswith(told)
    assert isinstance(caught.value, TypeError)  # as for any function of Python's
