"""For tests of schedulers, and of what they are made of.

Virtual time for whole schedulers (``VirtualScheduler``, ``VirtualExecutor``, ``VirtualWakeup``, ``VirtualClock``), a clock
that is moved by hand for schedulers on real loops (``HandClock``), and a listener that remembers (``EventLog``), for
our tests and for yours: a year of a daily job takes milliseconds, and nothing sleeps.

One conformance suite for each interface, for whoever writes a wakeup, an executor, a job store or a scheduler:
``check_wakeup``, ``check_executor``, ``check_store``, ``check_scheduler``. Each is loaded when it is first used; what else it
needs is in its module (``wakeup_suite``, ``executor_suite``, ``store_suite``, ``scheduler_suite`` and ``runtime``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedcore.testing.handclock import HandClock
from schedcore.testing.log import EventLog
from schedcore.testing.scheduler import VirtualExecutor, VirtualScheduler
from schedcore.testing.time import VirtualClock, VirtualTimer
from schedcore.testing.wakeups import VirtualWakeup

if TYPE_CHECKING:
    from schedcore.testing.executor_suite import check_executor as check_executor
    from schedcore.testing.scheduler_suite import check_scheduler as check_scheduler
    from schedcore.testing.store_suite import check_store as check_store
    from schedcore.testing.wakeup_suite import check_wakeup as check_wakeup

_WHERE = {
    "check_executor": "executor_suite",
    "check_scheduler": "scheduler_suite",
    "check_store": "store_suite",
    "check_wakeup": "wakeup_suite",
}

__all__ = [
    "EventLog",
    "HandClock",
    "VirtualClock",
    "VirtualExecutor",
    "VirtualScheduler",
    "VirtualTimer",
    "VirtualWakeup",
    "check_executor",
    "check_scheduler",
    "check_store",
    "check_wakeup",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
