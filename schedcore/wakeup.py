"""The wakeup: all that a framework must offer for a scheduler to live in it.

Four methods. "The framework's thread" is the one in which its loop runs and its callbacks are called: for asyncio the loop's
thread, for Qt the main thread, for the background scheduler a thread of its own. A wakeup is created by its scheduler at
``start()`` and closed by ``disarm()`` at shutdown; it owns no more than one timer and what its blocking calls need.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["MAX_WAIT_S", "MIN_GAP_S", "Done", "Wakeup", "outcome_of", "timer_slack_s"]

# Seconds. Longest single wait: the clocks are compared at least this often, so that steps and suspends are noticed, and no
# framework's timer can overflow (Qt: 32-bit milliseconds; Windows: 4,294,967 s).
MAX_WAIT_S = 30.0
# Seconds. Under load the scheduler wakes at most this often; what falls due in between is dispatched together.
MIN_GAP_S = 0.001
# Seconds. More slack than this is somebody's wish to save power, and is left to him.
_MAX_TIMER_SLACK_S = 0.0002

#: Receives the result of a blocking call, or what it raised; exactly one of them counts.
Done = Callable[[Any, Exception | None], None]


class Wakeup(Protocol):
    """See the module's docstring. No method blocks."""

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` once in ``delay_s`` seconds (>= 0, monotonic), in place of what was armed before.

        Framework's thread only. It may fire early by the framework's timer resolution, and late.
        """

    def disarm(self) -> None:
        """Forget what was armed: it is not called any more. Framework's thread only; may be called twice."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the framework's thread, soon. From any thread; callbacks of one thread keep their order.

        Raises ``RuntimeError`` when the framework's loop is closed.
        """

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        """Run ``call`` in a worker thread, then ``done(result, error)`` in the framework's thread. Framework's thread only.

        Whatever ``call`` raises comes back as an ``Exception``; ``outcome_of`` sees to that.
        """


def outcome_of(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Make a call, in a worker thread; what ``done`` is to be told of it. For wakeups. Raises nothing that a store may raise.

    What is no ``Exception`` (``sys.exit()``, a cancellation) would end the worker, and whoever asked would wait for ever;
    ``StopIteration`` is something that futures and generators cannot carry. Both come back as a ``RuntimeError`` with the cause.
    """
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001  # it is handed to who asked for the call
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            return None, error
        failure = RuntimeError(f"the call ended with {error!r}")
        failure.__cause__ = error
        return None, failure


def timer_slack_s() -> float:
    """Seconds by which the system lets waits of the calling thread last longer, and of threads that it starts; 0 where it does
    not tell. For wakeups.

    Linux groups timers that lie close together: a wait nearly always lasts 50 µs longer than asked for, unless the thread's slack
    was changed (prctl(2), PR_SET_TIMERSLACK; proc(5), timerslack_ns). A wakeup that asks so much sooner is on time; what goes
    off too soon by it finds nothing due yet, and waits for the rest.
    """
    try:
        with open(f"/proc/{threading.get_native_id()}/timerslack_ns", "rb") as file:
            slack_s = int(file.read()) / 1e9
    except (OSError, ValueError):
        return 0.0
    return slack_s if slack_s <= _MAX_TIMER_SLACK_S else 0.0
