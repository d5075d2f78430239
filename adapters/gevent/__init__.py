"""schedcore among greenlets."""

from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.scheduler import GeventScheduler
from schedcore.adapters.gevent.threads import GeventThreadExecutor
from schedcore.adapters.gevent.wakeup import GeventWakeup

__all__ = ["GeventExecutor", "GeventScheduler", "GeventThreadExecutor", "GeventWakeup"]
