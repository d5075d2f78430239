"""A client of an etcd: the connection, made again when it was lost; who asks; and the calls."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from schedcore.jobstores._etcd_http2 import Call, Connection, EtcdError
from schedcore.jobstores._etcd_messages import METHODS, Method

__all__ = ["EtcdClient", "Sent"]

# Seconds. A server that does not answer for so long is away.
_TIMEOUT_S = 10.0
# What etcd says, in its releases, to a token that it does not take any more. It did nothing then.
_TOKEN_IS_OVER = ("invalid auth token", "revision in header is old", "revision of auth store is old")


class Sent(NamedTuple):
    """A call that was sent and is not answered yet."""

    method: Method
    message: bytes
    connection: Connection
    call: Call


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
        if not self.timeout > 0:
            raise ValueError(f"timeout must be seconds, more than none, not {timeout!r}")
        self._credentials = None if user is None else {"name": user, "password": password}
        self._tls: ssl.SSLContext | None = None
        if protocol == "https" or ca_cert or cert_cert:
            self._tls = ssl.create_default_context(cafile=ca_cert)
            self._tls.set_alpn_protocols(["h2"])
            if cert_cert:
                self._tls.load_cert_chain(cert_cert, cert_key)
        self._calling = threading.Lock()
        self._connection: Connection | None = None
        self._token = ""
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (host={self.host!r}, port={self.port!r})>"

    def call(self, name: str, fields: Mapping[str, Any]) -> Any:
        """Ask, and wait for the answer. ``name``: of a method; ``fields``: of its request.

        ``OSError``: there was none, and what became of it is not known. ``EtcdError``: the server says something else.
        """
        with self._calling:
            return self._finish(self._start(*_asked(name, fields)))

    def send(self, name: str, fields: Mapping[str, Any]) -> Sent:
        """Ask, and let ``receive`` wait for the answer. What is asked meanwhile may be done before it."""
        with self._calling:
            return self._start(*_asked(name, fields))

    def receive(self, sent: Sent) -> Any:
        """The answer to what was sent. Raises what ``call`` does."""
        with self._calling:
            return self._finish(sent)

    def close(self) -> None:
        """Close the connection. The next call makes another one."""
        with self._calling:
            self._disconnect()

    # -- within the lock --------------------------------------------------------------------------------------------------

    def _start(self, method: Method, message: bytes) -> Sent:
        if self._process != os.getpid():
            # What is its parent's must not be used here. To close a copy of it does no harm to the parent.
            self._disconnect()
            self._process = os.getpid()
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
            return sent.method.answer(sent.connection.finish(sent.call, self._deadline()))
        except EtcdError as error:
            if self._credentials is None or not any(text in str(error) for text in _TOKEN_IS_OVER):
                raise
        except BaseException:
            sent.connection.close()
            if sent.connection is self._connection:
                self._disconnect()
            raise
        if sent.connection is self._connection:
            self._authenticate(sent.connection)
        again = self._start(sent.method, sent.message)
        return sent.method.answer(again.connection.finish(again.call, self._deadline()))

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
            method, message = _asked("Auth/Authenticate", self._credentials)
            call = connection.start(method.path, message, "", self._deadline())
            self._token = method.answer(connection.finish(call, self._deadline())).token


def _asked(name: str, fields: Mapping[str, Any]) -> tuple[Method, bytes]:
    """How something is asked, and that in bytes."""
    method = METHODS[name]
    return method, method.request(**fields).SerializeToString()
