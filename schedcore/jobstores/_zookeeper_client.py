"""The driver of ZooKeeper: a client that connects again, and what its errors mean."""

from __future__ import annotations

import select
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kazoo.client import KazooClient, TransactionRequest  # type: ignore[import-untyped]
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
# In front of an operation: its kind, that it is not the last header, no error, and the length of its path, which comes next.
_head = struct.Struct("!iBii").pack
_number = struct.Struct("!i").pack
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


class Transaction(TransactionRequest):  # type: ignore[misc]
    """A transaction on paths that are whole and in order, put into the bytes of its request at once. Kazoo's own takes each path
    apart and puts it together again, and makes objects of each operation, its rights and its answer: a fifth of what adding a
    job in bulk cost the processor.

    It gives the answers only if it was not made, and nothing otherwise.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._root = client.chroot or ""
        acl = client.default_acl or OPEN_ACL_UNSAFE
        # What follows a node's path and value, which are no bytes and the length of none here: who may do what, and its kind.
        self._rights = bytes(Create("", b"", acl, 0).serialize())[8:]

    def check(self, path: str, version: int) -> None:
        text = (self._root + path).encode()
        self.operations.append(b"%b%b%b" % (_head(CheckVersion.type, 0, -1, len(text)), text, _number(version)))

    def create(self, path: str, value: bytes = b"") -> None:
        text = (self._root + path).encode()
        head = _head(Create.type, 0, -1, len(text))
        self.operations.append(b"%b%b%b%b%b" % (head, text, _number(len(value)), value, self._rights))

    def set_data(self, path: str, value: bytes, version: int = -1) -> None:
        text = (self._root + path).encode()
        head = _head(SetData.type, 0, -1, len(text))
        self.operations.append(b"%b%b%b%b%b" % (head, text, _number(len(value)), value, _number(version)))

    def delete(self, path: str, version: int = -1) -> None:
        text = (self._root + path).encode()
        self.operations.append(b"%b%b%b" % (_head(Delete.type, 0, -1, len(text)), text, _number(version)))

    def commit_async(self) -> Any:
        # As kazoo's own does it.
        answer = self.client.handler.async_result()
        self.client._call(_Request(self.operations), answer)
        return answer


class _Request(KazooTransaction):  # type: ignore[misc]
    """The request of a transaction whose operations are bytes."""

    def __repr__(self) -> str:
        return f"<transaction of {len(self.operations)} operations>"

    def serialize(self) -> bytes:
        return b"".join((*self.operations, _END))

    @classmethod
    def deserialize(cls, bytes: bytes, offset: int) -> list[Any]:
        # If it was not made, an error is what answers each operation, whichever of them it is about.
        if MultiHeader.deserialize(bytes, offset)[0].type != _ERROR:
            return []
        answers: list[Any] = super().deserialize(bytes, offset)
        return answers


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
