"""Changes of stored jobs that were asked for where nobody may wait for the store: they are made by a worker thread, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from schedcore.errors import JobStoreError, UsageError, contained
from schedcore.jobstores.base import JobStore

__all__ = ["Order", "Orders"]

# How often an order is tried while its store answers all else. A connection that is cut fails the one that was on it; a change
# that cuts each connection, because it is larger than the server takes, fails for ever.
_TRIES = 3


class Order(NamedTuple):
    """A call of the scheduler's that was put off, and what it is called in messages."""

    what: str
    make: Callable[[], object]


class Orders:
    """What was put off for one job store. From any thread; ``carry_out`` waits for the store, and is called by one at a time."""

    def __init__(self, complain: Callable[[Order, Exception], None]) -> None:
        self._complain = complain
        self._waiting: deque[Order] = deque()
        self._tried = 0  # how often the first of them was, while the store answered

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, order: Order) -> None:
        """Have this done, after what was asked for before."""
        self._waiting.append(order)

    def carry_out(self, store: JobStore) -> None:
        """Do what waits. Raises what the store raises when it fails; then what waits goes on waiting.

        What is wrong with an order itself is complained of, and the order is dropped: its caller has gone on.
        """
        while self._waiting:
            order = self._waiting[0]
            try:
                order.make()
            except UsageError as error:
                self._complain(order, error)
            except BaseException as error:  # noqa: BLE001  # a store or a trigger may be anybody's code
                # A store that is down raises again here, and the order is carried out when it is back. One that answers may
                # have been away for a moment, or is not what failed.
                store.next_due()
                self._tried += 1
                if isinstance(error, JobStoreError) and error.transient and self._tried < _TRIES:
                    continue
                self._complain(order, contained(error))
            self._waiting.popleft()
            self._tried = 0
