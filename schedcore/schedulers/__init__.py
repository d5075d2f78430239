"""Schedulers: the seven front ends share ``schedcore.schedulers.base``; this package holds the two that need no framework."""

from __future__ import annotations

from schedcore.errors import SchedulerAlreadyRunningError, SchedulerNotRunningError

__all__ = ["SchedulerAlreadyRunningError", "SchedulerNotRunningError"]
