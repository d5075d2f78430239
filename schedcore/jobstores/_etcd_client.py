"""A client of an etcd: the connection, made again when it was lost; who asks; and the calls."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakSet

from google.protobuf.message import DecodeError

from schedcore._forks import forget_after_fork, notice_fork
from schedcore.jobstores._etcd_http2 import Call, Connection, EtcdError
from schedcore.jobstores._etcd_messages import METHODS, Method

__all__ = ["EtcdClient", "Sent"]

# Seconds. A server that does not answer for so long is away.
_TIMEOUT_S = 10.0
# Seconds. Beyond a day nobody waits, and what sockets take as a timeout ends somewhere.
_LONGEST_S = 86_400.0
# What etcd says, in its releases, to a token that it does not take any more. It did nothing then.
_TOKEN_IS_OVER = ("invalid auth token", "revision in header is old", "revision of auth store is old")


class Sent(NamedTuple):
    """A call that was sent and is not answered yet."""

    method: Method
    message: bytes
    connection: Connection
    call: Call


class _Turn:
    """One call at a time. One that would wait for itself, as a signal handler makes it in the midst of another, is refused."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._taken:
            self._lock.release()
            raise ConnectionError(
                "it interrupted another call in its own thread, as signal handlers do, and cannot be made before that one ends"
            )
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False
        self._lock.release()


class EtcdClient:
    """Speaks to one etcd. From any thread; one at a time is served. The connection is made when it is needed.

    :param host: its name or address.
    :param port: that of its clients.
    :param protocol: ``"https"`` for TLS, which it is anyway if a certificate is given.
    :param ca_cert: path of the certificates, in PEM, that the server's is checked against; those of the system unless given.
    :param cert_key: path of the key of a certificate of the client's own.
    :param cert_cert: path of that certificate.
    :param user: who asks, if the server wants to know.
    :param password: that user's.
    :param timeout: seconds that a call waits for its answer.

    Raises ``ValueError`` for arguments that do not go together, and what ``ssl`` does for certificates that cannot be read.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 2379,
        *,
        protocol: str = "http",
        ca_cert: str | None = None,
        cert_key: str | None = None,
        cert_cert: str | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: float = _TIMEOUT_S,
    ) -> None:
        if protocol not in ("http", "https"):
            raise ValueError(f"protocol must be 'http' or 'https', not {protocol!r}")
        if cert_key and not cert_cert:
            raise ValueError("cert_key= is the key of cert_cert=, which is missing")
        if (user is None) != (password is None):
            raise ValueError("user= and password= go together")
        self.host = str(host)
        self.port = int(port)
        self.timeout = float(timeout)
        if not self.host.encode("idna"):  # a UnicodeError, if it cannot be looked up
            raise ValueError("host must be a name or an address, not nothing")
        if not 0 < self.port < 65_536:
            raise ValueError(f"port must be a number from 1 to 65535, not {port!r}")
        if not 0 < self.timeout <= _LONGEST_S:
            raise ValueError(f"timeout must be seconds, more than none and at most a day, not {timeout!r}")
        self._credentials = None if user is None else _asked("Auth/Authenticate", {"name": user, "password": password})
        self._tls: ssl.SSLContext | None = None
        if protocol == "https" or ca_cert or cert_cert:
            self._tls = ssl.create_default_context(cafile=ca_cert)
            self._tls.set_alpn_protocols(["h2"])
            if cert_cert:
                self._tls.load_cert_chain(cert_cert, cert_key)
        self._token = ""
        self._forget_connection()
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (host={self.host!r}, port={self.port!r})>"

    def call(self, name: str, fields: Mapping[str, Any]) -> Any:
        """Ask, and wait for the answer. ``name``: of a method; ``fields``: of its request.

        ``OSError``: there was none, and what became of it is not known. ``EtcdError``: the server says something else.
        """
        with self._alone():
            return self._finish(self._start(*_asked(name, fields)))

    def send(self, name: str, fields: Mapping[str, Any]) -> Sent:
        """Ask, and let ``receive`` wait for the answer. What is asked meanwhile may be done before it."""
        with self._alone():
            return self._start(*_asked(name, fields))

    def receive(self, sent: Sent) -> Any:
        """The answer to what was sent. Raises what ``call`` does."""
        with self._alone():
            return self._finish(sent)

    def close(self) -> None:
        """Close the connection. The next call makes another one."""
        try:
            with self._alone():
                self._disconnect()
        except ConnectionError:
            # The call that was interrupted, which needs it still, finds that its connection was closed.
            if self._connection is not None:
                self._connection.close()

    def _alone(self) -> _Turn:
        """Within this there are calls."""
        notice_fork()
        return self._turn

    def _forget_connection(self) -> None:
        """Begin without one. In a forked child the parent's must not be used, and whoever held the lock may not be there."""
        self._turn = _Turn()
        self._connection: Connection | None = None

    # -- within the lock --------------------------------------------------------------------------------------------------

    def _start(self, method: Method, message: bytes) -> Sent:
        if self._connection is not None and not self._connection.is_usable():
            self._disconnect()
        try:
            if self._connection is None:
                self._connection = self._connect()
            call = self._connection.start(method.path, message, self._token, self._deadline())
        except BaseException:
            self._disconnect()
            raise
        return Sent(method, message, self._connection, call)

    def _finish(self, sent: Sent) -> Any:
        try:
            return self._read(sent)
        except EtcdError as error:
            if self._credentials is None or not any(text in str(error) for text in _TOKEN_IS_OVER):
                raise
        if sent.connection is self._connection:
            try:
                self._authenticate(sent.connection)
            except BaseException:
                # Nothing can be asked without a token. The next connection begins with asking for one.
                self._disconnect()
                raise
        return self._read(self._start(sent.method, sent.message))

    def _read(self, sent: Sent) -> Any:
        try:
            return self._answer(sent.method, sent.connection, sent.call)
        except EtcdError:
            raise
        except BaseException:
            sent.connection.close()
            if sent.connection is self._connection:
                self._disconnect()
            raise

    def _answer(self, method: Method, connection: Connection, call: Call) -> Any:
        answer = connection.finish(call, self._deadline())
        try:
            return method.answer(answer)
        except DecodeError as error:
            raise ConnectionError(f"not an answer of etcd: {error}") from error

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        found = socket.create_connection((self.host, self.port), self.timeout)
        try:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                found = self._tls.wrap_socket(found, server_hostname=self.host)
                if found.selected_alpn_protocol() != "h2":
                    raise ConnectionError("the server does not speak HTTP/2")
            host = f"[{self.host}]" if ":" in self.host else self.host
            connection = Connection(found, "https" if self._tls else "http", f"{host}:{self.port}")
            self._authenticate(connection)
        except BaseException:
            found.close()
            raise
        return connection

    def _authenticate(self, connection: Connection) -> None:
        self._token = ""
        if self._credentials is not None:
            method, message = self._credentials
            call = connection.start(method.path, message, "", self._deadline())
            self._token = self._answer(method, connection, call).token


def _asked(name: str, fields: Mapping[str, Any]) -> tuple[Method, bytes]:
    """How something is asked, and that in bytes."""
    method = METHODS[name]
    return method, method.request(**fields).SerializeToString()


_clients: WeakSet[EtcdClient] = WeakSet()


def _forget_connections() -> None:
    for client in list(_clients):
        client._forget_connection()


forget_after_fork(_forget_connections)
