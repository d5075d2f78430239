"""schedcore inside a Twisted program."""

from schedcore.errors import MissingExtraError

try:
    import twisted.internet.defer  # noqa: F401  # asked for here, so that what is missing is said once and clearly
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("schedcore.adapters.twisted", "twisted") from error

from schedcore.adapters.twisted.executor import TwistedExecutor
from schedcore.adapters.twisted.placing import in_reactor
from schedcore.adapters.twisted.scheduler import TwistedScheduler
from schedcore.adapters.twisted.wakeup import TwistedWakeup

__all__ = ["TwistedExecutor", "TwistedScheduler", "TwistedWakeup", "in_reactor"]
