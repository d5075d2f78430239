"""For tests of schedulers, and of what they are made of.

Virtual time for whole schedulers (``VirtualScheduler``, ``VirtualExecutor``, ``VirtualWakeup``, ``VirtualClock``) and a
listener that remembers (``EventLog``), for our tests and for yours: a year of a daily job takes milliseconds, and nothing
sleeps. The conformance suites are in modules of their own beside it.
"""

from __future__ import annotations

from schedcore.testing.log import EventLog
from schedcore.testing.scheduler import VirtualExecutor, VirtualScheduler
from schedcore.testing.time import VirtualClock, VirtualTimer
from schedcore.testing.wakeups import VirtualWakeup

__all__ = ["EventLog", "VirtualClock", "VirtualExecutor", "VirtualScheduler", "VirtualTimer", "VirtualWakeup"]
