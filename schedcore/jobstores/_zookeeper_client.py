"""The driver of ZooKeeper: a client that connects again, and what its errors mean."""

from __future__ import annotations

import select
import sys
from collections.abc import Mapping, Sequence
from typing import Any

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
from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData  # type: ignore[import-untyped]
from kazoo.security import OPEN_ACL_UNSAFE  # type: ignore[import-untyped]

from schedcore.errors import ConfigurationError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._zookeeper_handler import PollingHandler

__all__ = [
    "FAILURES",
    "TIMEOUT_S",
    "Transaction",
    "client_of_users",
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
    """A transaction on paths that are whole and in order. Kazoo's own takes each of them apart and puts it together again: a
    twentieth of what adding a job costs the processor.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._root = client.chroot or ""
        self._acl = client.default_acl or OPEN_ACL_UNSAFE

    def check(self, path: str, version: int) -> None:
        self.operations.append(CheckVersion(self._root + path, version))

    def create(self, path: str, value: bytes = b"", *, ephemeral: bool = False) -> None:
        self.operations.append(Create(self._root + path, value, self._acl, int(ephemeral)))

    def set_data(self, path: str, value: bytes, version: int = -1) -> None:
        self.operations.append(SetData(self._root + path, value, version))

    def delete(self, path: str, version: int = -1) -> None:
        self.operations.append(Delete(self._root + path, version))


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
