"""schedcore: a job scheduler that lives inside any Python program.

The names below are those that most programs need. Each is loaded when it is first used, so that ``import schedcore`` costs
nothing and needs no extra; everything else is imported from the module that holds it.
"""

from __future__ import annotations

# Type checkers take this name for true; importing it from ``typing`` would take longer than all the rest here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from schedcore.executors.debug import DebugExecutor as DebugExecutor
    from schedcore.executors.pool import ProcessPoolExecutor as ProcessPoolExecutor
    from schedcore.executors.pool import ThreadPoolExecutor as ThreadPoolExecutor
    from schedcore.job import Job as Job
    from schedcore.jobstores.memory import MemoryJobStore as MemoryJobStore
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore as SQLAlchemyJobStore
    from schedcore.run import RunRecord as RunRecord
    from schedcore.run import current_run as current_run
    from schedcore.schedulers.background import BackgroundScheduler as BackgroundScheduler
    from schedcore.schedulers.blocking import BlockingScheduler as BlockingScheduler
    from schedcore.triggers.calendarinterval import CalendarIntervalTrigger as CalendarIntervalTrigger
    from schedcore.triggers.combining import AndTrigger as AndTrigger
    from schedcore.triggers.combining import OrTrigger as OrTrigger
    from schedcore.triggers.cron import CronTrigger as CronTrigger
    from schedcore.triggers.date import DateTrigger as DateTrigger
    from schedcore.triggers.interval import IntervalTrigger as IntervalTrigger
    from schedcore.triggers.jitter import Jitter as Jitter
    from schedcore.triggers.rrule import RRuleTrigger as RRuleTrigger

    __version__: str

_WHERE = {
    "AndTrigger": "schedcore.triggers.combining",
    "BackgroundScheduler": "schedcore.schedulers.background",
    "BlockingScheduler": "schedcore.schedulers.blocking",
    "CalendarIntervalTrigger": "schedcore.triggers.calendarinterval",
    "CronTrigger": "schedcore.triggers.cron",
    "DateTrigger": "schedcore.triggers.date",
    "DebugExecutor": "schedcore.executors.debug",
    "IntervalTrigger": "schedcore.triggers.interval",
    "Jitter": "schedcore.triggers.jitter",
    "Job": "schedcore.job",
    "MemoryJobStore": "schedcore.jobstores.memory",
    "OrTrigger": "schedcore.triggers.combining",
    "ProcessPoolExecutor": "schedcore.executors.pool",
    "RRuleTrigger": "schedcore.triggers.rrule",
    "RunRecord": "schedcore.run",
    "SQLAlchemyJobStore": "schedcore.jobstores.sqlalchemy",
    "ThreadPoolExecutor": "schedcore.executors.pool",
    "current_run": "schedcore.run",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # The one place that states it is the package's metadata; reading that is slow, so only who asks pays.
        from importlib.metadata import version

        value: Any = version("schedcore")
    elif name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(({*globals()} - {"TYPE_CHECKING"}) | {*__all__})
