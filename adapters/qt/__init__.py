"""schedcore inside a Qt program."""

from schedcore.adapters.qt._binding import choose

choose()

from schedcore.adapters.qt.executor import QtExecutor, QtMainThreadExecutor  # noqa: E402  # the binding is chosen first
from schedcore.adapters.qt.future import QtFuture  # noqa: E402
from schedcore.adapters.qt.scheduler import QtScheduler  # noqa: E402
from schedcore.adapters.qt.signals import QtSignals  # noqa: E402
from schedcore.adapters.qt.wakeup import QtWakeup  # noqa: E402

__all__ = ["QtExecutor", "QtFuture", "QtMainThreadExecutor", "QtScheduler", "QtSignals", "QtWakeup"]
