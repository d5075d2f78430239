"""Who has the nodes of ZooKeeper open: a node that goes with its owner's session.

``term`` grows each time that the store is taken, and each transaction checks it: who was cut off for a while and found that
nobody came goes on, and who was replaced writes nothing.
"""

from __future__ import annotations

import time

from kazoo.client import KazooState  # type: ignore[import-untyped]
from kazoo.exceptions import KazooException, NoAuthError  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]

from schedcore.errors import JobStoreError, JobStoreInUseError
from schedcore.jobstores._owner import Owner, OwnNames, in_use, is_gone
from schedcore.jobstores._zookeeper_client import first_error
from schedcore.jobstores._zookeeper_nodes import Nodes

__all__ = ["OwnedNodes"]

# Times that the owner's node may change hands while it is looked at.
_TRIES = 10


class OwnedNodes(Nodes):
    """Nodes that are written for as long as the owner's is ours."""

    _names_of_mine: OwnNames

    def _reset(self) -> None:
        super()._reset()
        self._owner = b""
        self._term = -1

    def _state_changed(self, state: str) -> None:
        """Called by the client's own thread, which must not wait."""
        if state == KazooState.CONNECTED:
            self._connected.set()
            if self._doubt and self._opened:
                self._client.handler.spawn(self._come_back)
            return
        if self._connected.is_set():
            self._cut_s = time.monotonic()
        self._connected.clear()
        if state == KazooState.LOST:
            # The session is over, and with it the owner's node.
            self._doubt = True

    def _come_back(self) -> None:
        """Take the store again after a session has ended, if nobody is at it who will do so anyway."""
        with self._turns.take_if_free() as taken:
            try:
                if taken and self._opened:
                    self._settle()
            except (JobStoreError, JobStoreInUseError, KazooException, KazooTimeoutError):
                self._doubt = True  # who writes next is told

    def _take(self) -> bool:
        """See the base class. Of names that are not this object's own, only that of a dead process is taken."""
        mine = Owner().text.encode()
        for _ in range(_TRIES):
            held, term, schema = self._look([self._owner_path, self._term_path, self._schema_path])
            self._check_version(schema)  # whoever had it meanwhile may have been of another release
            if term is None:
                # All that was there was deleted while it was open.
                self._lay_out()
                continue
            transaction = self._ready().transaction()  # kazoo's, which gives all answers
            if held is not None:
                holder, stat = held
                # One that goes with no session was copied from elsewhere.
                if stat.ephemeralOwner and holder not in self._names_of_mine and not is_gone(holder):
                    raise self._in_use(holder)
                transaction.delete(self._owner_path, stat.version)
            # Remembered before it is written: whether it was may remain unknown.
            self._names_of_mine.add(mine)
            transaction.create(self._owner_path, mine, ephemeral=True)
            transaction.set_data(self._term_path, mine, term[1].version)
            results = self._gather([transaction.commit_async()])[0]
            last = results[-1]
            if not isinstance(last, Exception):
                # One taking of its own may not have been answered since.
                alone: bool = term[0] in self._names_of_mine and term[1].version <= self._term + 1
                self._owner, self._term = mine, last.version
                self._names_of_mine.keep(mine)
                return alone
            refused = first_error(results)
            if refused is not None and isinstance(refused[1], NoAuthError):
                raise refused[1]
        raise JobStoreError(self._alias, "others take the store and leave it all the time", transient=True)

    def _in_use(self, holder: bytes) -> JobStoreInUseError:
        ends = "session ends by itself, after 10 s unless it asked for more"
        return in_use(f"below {self._path!r}", holder, "a path", ends)
