"""A connection to RethinkDB: the driver's, with an end to every wait, and opened again when it was cut."""

from __future__ import annotations

import math
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rethinkdb import errors as reql_errors  # type: ignore[import-untyped, unused-ignore]
from rethinkdb import net  # type: ignore[import-untyped, unused-ignore]

from schedcore.errors import ConfigurationError, did_you_mean
from schedcore.jobstores._clients import given_client

__all__ = ["TIMEOUT_S", "Line", "checked", "given_connection"]

#: Seconds. A server that does not answer for so long is away.
TIMEOUT_S = 10
_OPTIONS = frozenset({"host", "port", "db", "auth_key", "user", "password", "timeout", "ssl", "url"})


class Line:
    """The one connection of a store, which is made when something is asked first.

    ``given``: that of a user, or None; ``options``: what one is made with, as ``checked`` gives them.
    """

    def __init__(self, given: Any, options: Mapping[str, Any]) -> None:
        self._given = given
        self._options = options
        self.connection: Any = given
        # One asks at a time: the store, or the thread that renews the lease.
        self._wire = threading.RLock()

    def ask(self, term: Any) -> Any:
        """The result of a term. Raises what the driver raises, and ``OSError``."""
        with self._wire:
            connection = self._ready()
            return self.ask_on(connection, term, connection.connect_timeout)

    def _ready(self) -> Any:
        connection = self.connection
        if connection is None:
            connection = self.connection = net.make_connection(_Connection, **self._options)
        elif not _is_open(_raw(connection)):
            # It was cut while nobody used it.
            _hang_up(connection)
            connection.reconnect(noreply_wait=False)
        return connection

    def ask_on(self, connection: Any, term: Any, timeout_s: float) -> Any:
        """The same on a connection that is ready, with another timeout."""
        try:
            return _ask(connection, term, timeout_s)
        except reql_errors.ReqlRuntimeError:
            raise
        except BaseException:
            # What comes now may be the answer to this.
            _hang_up(connection)
            raise

    def close(self, last: Any, within_s: float) -> None:
        """Ask a last term, unless it is None or nobody is there to be asked, and hang up, but on a user's connection."""
        with self._wire:
            connection = self.connection
            if connection is None:
                return
            try:
                if last is not None and _is_open(_raw(connection)):
                    self.ask_on(connection, last, min(within_s, connection.connect_timeout))
            except (reql_errors.ReqlError, OSError):
                pass  # it ends by itself
            if self._given is None:
                _hang_up(connection)
                self.connection = None


class _Socket(net.SocketWrapper):  # type: ignore[misc, unused-ignore]
    """The driver's leaves a socket open whose other side has gone, and writes that to the error output."""

    _socket: Any

    def close(self) -> None:
        raw, self._socket = self._socket, None
        if raw is not None:
            raw.close()


class _Instance(net.ConnectionInstance):  # type: ignore[misc, unused-ignore]
    def connect(self, timeout: float) -> Any:
        self._socket = _Socket(self, timeout)
        return self._parent


class _Connection(net.Connection):  # type: ignore[misc, unused-ignore]
    """The driver's, whatever event loop it was told to use elsewhere in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Instance, *args, **kwargs)


def _raw(connection: Any) -> Any:
    """A connection's socket; None: it has none."""
    instance = connection._instance
    wrapper = None if instance is None else instance._socket
    return None if wrapper is None else wrapper._socket


def _is_open(raw: Any) -> bool:
    """Whether a socket on which no answer is awaited is as it should be: open, and with nothing to read."""
    if raw is None:
        return False
    if isinstance(raw, ssl.SSLSocket):
        return True  # it cannot be looked at without reading
    try:
        raw.setblocking(False)
        raw.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _hang_up(connection: Any) -> None:
    """Close a connection, whatever state it is in. The driver can open it again."""
    raw = _raw(connection)
    if raw is not None:
        connection._instance._socket._socket = None
        raw.close()
    connection._instance = None


def _ask(connection: Any, term: Any, timeout_s: float) -> Any:
    """The result of a term: a value, or a list of rows. Raises what the driver raises.

    The driver's own way to ask waits for an answer without end.
    """
    raw = _raw(connection)
    end_s = time.monotonic() + timeout_s
    token = connection._new_token()
    query = net.Query(net.pQuery.START, token, term, {})
    rows: list[Any] = []
    try:
        while True:
            raw.settimeout(timeout_s)
            raw.sendall(query.serialize())
            said, length = struct.unpack("<qL", _receive(raw, 12, end_s))
            answer = net.Response(said, _receive(raw, length, end_s))
            if said != token:
                raise reql_errors.ReqlDriverError("the server answered something that was not asked")
            if answer.type == net.pResponse.SUCCESS_ATOM:
                return answer.data[0]
            if answer.type not in (net.pResponse.SUCCESS_SEQUENCE, net.pResponse.SUCCESS_PARTIAL):
                failure = answer.make_error(query)
                # Or its text would hold the whole query, with the definitions of jobs.
                failure.frames = None
                raise failure
            rows += answer.data
            if answer.type == net.pResponse.SUCCESS_SEQUENCE:
                return rows
            query = net.Query(net.pQuery.CONTINUE, token, None, None)
            end_s = time.monotonic() + timeout_s
    except TimeoutError as timed_out:
        raise reql_errors.ReqlTimeoutError from timed_out


def _receive(raw: Any, length: int, end_s: float) -> bytes:
    parts: list[bytes] = []
    while length:
        raw.settimeout(max(0.001, end_s - time.monotonic()))
        part = raw.recv(min(length, 1 << 20))
        if not part:
            raise reql_errors.ReqlDriverError("the server closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


# -- options ---------------------------------------------------------------------------------------------------------------


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a connection, with a timeout wherever it is said."""
    for name in options:
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"a RethinkDB connection has no option {name!r}{did_you_mean(name, sorted(_OPTIONS))}"
            )
    made: dict[str, Any] = {"timeout": TIMEOUT_S, **options}
    try:
        made["timeout"] = float(made["timeout"])
        if made.get("port") is not None:
            made["port"] = int(made["port"])
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the RethinkDB connection cannot be made: {error}") from error
    if not made["timeout"] > 0:
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {options['timeout']!r}")
    url = made.get("url")
    if url and not parse_qs(urlsplit(url).query).get("timeout"):
        # The driver takes it from there alone, in whole seconds.
        made["url"] = f"{url}{'&' if '?' in url else '?'}timeout={math.ceil(made['timeout'])}"
    return made


def given_connection(client: Any, options: Mapping[str, Any]) -> Any:
    """That of a user. Raises ``ConfigurationError``."""
    wanted = "a connection of r.connect() (not an asynchronous one)"
    return given_client(client, options, lambda it: type(it) is net.DefaultConnection, wanted)
