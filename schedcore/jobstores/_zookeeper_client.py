"""The driver of ZooKeeper: a client that connects again, and what its errors mean."""

from __future__ import annotations

import select
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import (  # type: ignore[import-untyped]
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]
from kazoo.protocol.serialization import (  # type: ignore[import-untyped]
    CheckVersion,
    Create,
    Delete,
    MultiHeader,
    SetData,
    int_struct,
    write_string,
)
from kazoo.protocol.serialization import Transaction as KazooTransaction
from kazoo.security import OPEN_ACL_UNSAFE  # type: ignore[import-untyped]

from schedcore.errors import ConfigurationError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._zookeeper_handler import PollingHandler

__all__ = [
    "FAILURES",
    "TIMEOUT_S",
    "Transaction",
    "client_of_users",
    "count_below_async",
    "explained",
    "first_error",
    "make_client",
    "threads_are_greenlets",
]

#: Seconds. How long a session outlives its connection, and how long an answer may take.
TIMEOUT_S = 10.0
#: What a call may raise.
FAILURES = (KazooException, KazooTimeoutError, OSError)
# How kazoo tries to connect again: capped, so that a server that was away for long is found soon.
_RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}
_END = struct.pack("!iBi", -1, 1, -1)
_ERROR = -1  # the kind of an answer
_AWAY = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, ConnectionClosedError, KazooTimeoutError, OSError)


def make_client(options: Mapping[str, Any]) -> Any:
    """A client, which opens nothing before it is started. Raises ``ConfigurationError``."""
    own: dict[str, Any] = {"timeout": TIMEOUT_S, "connection_retry": dict(_RETRY)}
    if hasattr(select, "poll"):  # Windows has none
        own["handler"] = PollingHandler()
    try:
        return KazooClient(**{**own, **options})
    except (TypeError, ValueError, KazooException) as error:
        raise ConfigurationError(f"the ZooKeeper client cannot be made: {error}") from error


def client_of_users(client: KazooClient | str, options: Mapping[str, Any]) -> Any:
    """That of a user. Raises ``ConfigurationError``."""
    return given_client(client, options, lambda it: isinstance(it, KazooClient), "a kazoo.client.KazooClient")


def threads_are_greenlets() -> bool:
    """Whether the threads of what is started here are greenlets, and this is not the thread in which the program began."""
    monkey, gevent = sys.modules.get("gevent.monkey"), sys.modules.get("gevent")
    return bool(monkey and gevent and monkey.is_module_patched("threading") and not gevent.get_hub().main_hub)


class Transaction:
    """A transaction on paths that are whole and in order, put into the bytes of its request at once. Kazoo's own takes each path
    apart and puts it together again, and makes objects of each operation, its rights and its answer: a fifth of what adding a
    job in bulk cost the processor.

    It gives the answers only if it was not made, and nothing otherwise.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._root = client.chroot or ""
        acl = client.default_acl or OPEN_ACL_UNSAFE
        # What follows a node's path and value, which are no bytes and the length of none here: who may do what, and its kind.
        self._rights = bytes(Create("", b"", acl, 0).serialize())[8:]
        self._pieces: list[bytes] = []
        self.size = 0  #: operations in it

    def check(self, path: str, version: int) -> None:
        self._pieces.append(self._head(CheckVersion.type, path, version))

    def create(self, path: str, value: bytes = b"") -> None:
        self._pieces += self._head(Create.type, path, len(value)), value, self._rights

    def set_data(self, path: str, value: bytes, version: int = -1) -> None:
        self._pieces += self._head(SetData.type, path, len(value)), value, _number(version)

    def delete(self, path: str, version: int = -1) -> None:
        self._pieces.append(self._head(Delete.type, path, version))

    def _head(self, kind: int, path: str, number: int) -> bytes:
        """How an operation begins, with the number that follows its path."""
        self.size += 1
        text = (self._root + path).encode()
        return _head_of(len(text))(kind, 0, -1, len(text), text, number)

    def commit_async(self) -> Any:
        # As kazoo's own does it.
        answer = self._client.handler.async_result()
        self._client._call(_Request(self._pieces, self.size), answer)
        return answer


@dataclass(frozen=True, slots=True)
class _Request:
    """The request of a transaction of so many operations."""

    type: ClassVar[int] = KazooTransaction.type
    pieces: Sequence[bytes]
    size: int

    def __repr__(self) -> str:
        return f"<transaction of {self.size} operations>"

    def serialize(self) -> bytes:
        return b"".join((*self.pieces, _END))

    @staticmethod
    def deserialize(answer: bytes, offset: int) -> list[Any]:
        # If it was not made, an error is what answers each operation, whichever of them it is about.
        if MultiHeader.deserialize(answer, offset)[0].type != _ERROR:
            return []
        answers: list[Any] = KazooTransaction.deserialize(answer, offset)
        return answers


_number = struct.Struct("!i").pack


@lru_cache(maxsize=256)
def _head_of(size: int) -> Callable[..., bytes]:
    """What packs the head of an operation: its kind, that it is not the last header, no error, the length of its path, the path,
    which has so many bytes, and a number.
    """
    return struct.Struct(f"!iBii{size}si").pack


@dataclass(frozen=True, slots=True)
class _CountBelow:
    """A request that ZooKeeper knows since 3.6, and kazoo does not."""

    type: ClassVar[int] = 104
    path: str

    def serialize(self) -> bytes:
        return bytes(write_string(self.path))

    @staticmethod
    def deserialize(answer: bytes, offset: int) -> int:
        return int(int_struct.unpack_from(answer, offset)[0])


def count_below_async(client: Any, path: str) -> Any:
    """Ask how many nodes are below one, however deep: they are counted there, and not listed."""
    answer = client.handler.async_result()
    client._call(_CountBelow(f"{client.chroot or ''}{path}"), answer)
    return answer


def explained(error: Exception, path: str) -> tuple[str, bool] | None:
    """What an error means, and whether trying again may help; None: it is none of the driver's. ``path``: where all nodes are."""
    if not isinstance(error, FAILURES):
        return None
    text = error_text(error)
    if isinstance(error, NoAuthError):
        text += f" (the client needs the rights to create, delete, read and write, cdrw, on {path!r} and all below)"
    return text, isinstance(error, _AWAY) and not isinstance(error, AuthFailedError)


def first_error(results: Sequence[Any]) -> tuple[int, Exception] | None:
    """Of the operations of a transaction, the one for which all the others were not made, and why."""
    for at, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(result, RolledBackError | RuntimeInconsistency):
            return at, result
    return None
