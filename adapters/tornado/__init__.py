"""schedcore inside a Tornado program."""

from schedcore.errors import MissingExtraError

try:
    import tornado.ioloop  # noqa: F401  # asked for here, so that what is missing is said once and clearly
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("schedcore.adapters.tornado", "tornado") from error

from schedcore.adapters.tornado.executor import TornadoExecutor
from schedcore.adapters.tornado.scheduler import TornadoScheduler
from schedcore.adapters.tornado.wakeup import TornadoWakeup

__all__ = ["TornadoExecutor", "TornadoScheduler", "TornadoWakeup"]
