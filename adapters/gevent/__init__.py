"""schedcore among greenlets."""

from schedcore.errors import MissingExtraError

try:
    import gevent  # noqa: F401  # asked for here, so that what is missing is said once and clearly
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("schedcore.adapters.gevent", "gevent") from error

from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.scheduler import GeventScheduler
from schedcore.adapters.gevent.threads import GeventThreadExecutor
from schedcore.adapters.gevent.wakeup import GeventWakeup

__all__ = ["GeventExecutor", "GeventScheduler", "GeventThreadExecutor", "GeventWakeup"]
