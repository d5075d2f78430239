"""What a store under keys needs of its backend: etcd, ZooKeeper."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from schedcore.jobstores._keyed_keys import Key, Kind, Step, Tree
from schedcore.jobstores._owned import OwnedStore

__all__ = ["KeyedBackend"]


class KeyedBackend(OwnedStore):
    """A server, as a store under keys uses it: what follows, and what ``DocumentBackend`` asks for opening and closing. ``_open``
    has to take the store (``_take``), to set ``_halfway`` and to call ``_settle``, which undoes what another one left.
    """

    _writes_at_once: ClassVar[bool] = True
    #: Of one request: how many steps, how many operations each, and bytes, unless it is a single step.
    _max_steps: ClassVar[int]
    _max_ops: ClassVar[int]
    _max_bytes: ClassVar[int]
    #: Bytes of a payload beyond which it is kept in pieces of this size; None: never.
    _piece_size: ClassVar[int | None] = None
    #: Requests that may be on their way at the same time. More than one is for who has a ``_send``.
    _under_way: ClassVar[int] = 1

    @abstractmethod
    def _texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        """The texts of documents, and their revisions: 1 for one that was just created, and 1 more with each write."""

    @abstractmethod
    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Values; those that are not there are left out."""

    @abstractmethod
    def _names(self, kind: Kind, after: str = "", limit: int | None = None) -> list[str]:
        """The names of a kind, in order, that come after one."""

    @abstractmethod
    def _earliest(
        self, tree: Tree, after: tuple[int, str] | None, upto_us: int | None, count: int
    ) -> Iterator[tuple[int, str]]:
        """Instants and names, in order, that come after a place and not after an instant; ``count``: so many are wanted."""

    @abstractmethod
    def _latest(self, tree: Tree, upto_us: int | None) -> Iterator[tuple[int, str]]:
        """Instants and names, the latest first, that come not after an instant."""

    @abstractmethod
    def _count_missing_places(self) -> int:
        """How many more documents there are than places in ``idle``, ``wall`` and ``elapsed``, without listing them all; 0 where
        the server cannot tell.
        """

    def _send(self, steps: Sequence[Step]) -> object:
        """Send what ``_apply`` is to make next of these, and do not wait for the answer: for that ``_apply`` is given what this
        returns. None: nothing was sent.
        """
        return None

    @abstractmethod
    def _apply(self, steps: Sequence[Step], together: bool, sent: Any = None) -> list[bool]:
        """Make each step in one piece, if its revision fits; whether it was. ``together``: all of them in one, or none.

        Only for who owns the store: when somebody else does, nothing is written and it is a ``JobStoreInUseError``.
        """
