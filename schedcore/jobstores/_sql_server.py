"""What the SQL store needs where the database is a server: calls that end, and one scheduler at a time.

**Calls end.** A server that is stopped, or gone behind a network that says nothing, leaves a driver waiting for as long as the
system does. ``Watch`` shuts the socket of a call that got no answer in time: the driver sees a connection that was closed.

**One scheduler at a time.** Its lock is the server's, and ends with the connection that took it, however that ends. That
connection is no pool's any more, and all that changes the tables goes through it: where the lock is lost, because the server was
restarted or the connection was cut, so is what was being written. It is looked at before each change and taken again. In
between another scheduler may have had it; therefore the owner's *term* is noted in the database, and each transaction that
changes something reads it in a way that keeps it from changing until that transaction is over. (That also holds where a lock
is worth less than it seems: behind a proxy that shares sessions, or in a cluster whose members do not share their locks.)
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from schedcore.jobstores._sql_backend import Backend, Check

__all__ = ["ServerLock", "Watch", "discard"]

# Seconds. How long one waits for the lock of a process that has just ended: the server may not have noticed yet.
_LEAVING_S = 1.0
_ASK_EVERY_S = 0.05
# Seconds after which the session that has the lock is asked for a sign of life, if something is to be changed.
_ASK_AGAIN_S = 15.0


class _Call:
    """A transaction that is under way."""

    __slots__ = ("cut", "descriptor", "end_s")

    def __init__(self, descriptor: int, end_s: float) -> None:
        self.descriptor = descriptor
        self.end_s = end_s
        self.cut = False


class Watch:
    """Cuts connections whose server gives no answer for ``limit_s`` seconds (up to a quarter more)."""

    def __init__(self, backend: Backend, limit_s: float) -> None:
        self.limit_s = limit_s
        self._backend = backend
        self._lock = threading.RLock()  # a signal handler may make a call in the midst of another one
        self._calls: dict[int, _Call] = {}  # by thread
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look. Its thread sleeps but for four times in ``limit_s``."""
        if self._thread is None:
            self._over.clear()
            self._thread = threading.Thread(target=self._run, name="schedcore-sql-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            if thread is not threading.current_thread():
                thread.join(self.limit_s)

    @contextmanager
    def over(self, driver: Any) -> Iterator[_Call | None]:
        """Watch what is done with a driver's connection. The connection must not be given back before the end."""
        descriptor = self._backend.descriptor(driver)
        if descriptor is None or self._thread is None:
            yield None
            return
        thread = threading.get_ident()
        # Another number for the same socket: the driver may close its own, and the number may be another socket's by then.
        try:
            descriptor = os.dup(descriptor)
        except OSError:
            yield None
            return
        call = _Call(descriptor, time.monotonic() + self.limit_s)
        outer = self._calls.get(thread)
        with self._lock:
            self._calls[thread] = call
        try:
            yield call
        finally:
            with self._lock:
                if outer is None:
                    del self._calls[thread]
                else:
                    self._calls[thread] = outer
                os.close(descriptor)

    def renew(self) -> None:
        """What this thread does gets on: its time begins again."""
        call = self._calls.get(threading.get_ident())
        if call is not None:
            call.end_s = time.monotonic() + self.limit_s

    def _run(self) -> None:
        while not self._over.wait(self.limit_s / 4):
            now_s = time.monotonic()
            with self._lock:
                for call in self._calls.values():
                    if call.end_s < now_s and not call.cut:
                        call.cut = True
                        _shut(call.descriptor)


def _shut(descriptor: int) -> None:
    """End a connection under its driver, which still has to close it."""
    with suppress(OSError):
        end = socket.socket(fileno=descriptor)
        try:
            end.shutdown(socket.SHUT_RDWR)
        finally:
            end.detach()


class ServerLock:
    """The lock on a store's tables, held by the connection that changes them. See the module's docstring."""

    def __init__(
        self, engine: sa.Engine, backend: Backend, schema: str, table: str, watch: Watch, check: Check
    ) -> None:
        self._engine = engine
        self._backend = backend
        self._schema = schema
        self._table = table
        self._watch = watch
        self._check = check
        self.connection: sa.Connection | None = None
        self._asked_s = 0.0

    @abstractmethod
    def try_to_lock(self, cursor: Any, schema: str, table: str) -> bool:
        """Take the lock for this session, to be kept as long as it can be."""
        raise NotImplementedError

    @abstractmethod
    def still_has(self, cursor: Any) -> bool:
        """Ask the server."""
        raise NotImplementedError

    def take(self) -> bool:
        self.release()
        end_s = time.monotonic() + _LEAVING_S
        connection, taken = self._first_question()
        try:
            # It is nobody else's from now on: the pool makes another one in its place.
            connection.detach()
            while not taken:
                if time.monotonic() > end_s:
                    return False
                time.sleep(_ASK_EVERY_S)
                taken = self._ask(connection, self._lock)
            self.connection = connection
            self._asked_s = time.monotonic()
        finally:
            if self.connection is None:
                _close(connection)
        return True

    def _first_question(self, *, again: bool = False) -> tuple[sa.Connection, bool]:
        """A connection of the pool's, and whether its session has the lock now."""
        connection = self._engine.connect()
        with ExitStack() as undo:
            undo.callback(connection.close)
            self._check(connection)
            undo.callback(discard, connection)
            try:
                taken = self._ask(connection, self._lock)
            except self._engine.dialect.loaded_dbapi.Error as error:
                if again or not self._backend.is_lost(error):
                    raise
            else:
                undo.pop_all()
                return connection, taken
        # It was lost while nobody used it.
        return self._first_question(again=True)

    def _lock(self, cursor: Any) -> bool:
        return self.try_to_lock(cursor, self._schema, self._table)

    def _ask(self, connection: sa.Connection, question: Any) -> bool:
        driver = connection.connection
        with self._watch.over(driver):
            cursor = driver.cursor()
            try:
                return bool(question(cursor))
            finally:
                cursor.close()

    def holds(self) -> bool:
        connection = self.connection
        if connection is None:
            return False
        now_s = time.monotonic()
        # A session of which nothing is asked has nothing to say, unless it ends.
        if now_s - self._asked_s < _ASK_AGAIN_S and not self._says_something(connection):
            return True
        try:
            held = self._ask(connection, self.still_has)
        except (self._engine.dialect.loaded_dbapi.Error, sa.exc.SQLAlchemyError, OSError):
            held = False
        if held:
            self._asked_s = now_s
        else:
            self.release()
        return held

    def _says_something(self, connection: sa.Connection) -> bool:
        descriptor = self._backend.descriptor(connection.connection)
        if descriptor is None or descriptor < 0:
            return True
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                return bool(poll.poll(0))
            return bool(select.select([descriptor], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def release(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            _close(connection)


def discard(connection: sa.Connection) -> None:
    """Have SQLAlchemy find out that a connection is lost, and forget those of its pool that are as old."""
    with suppress(sa.exc.SQLAlchemyError):
        connection.exec_driver_sql("SELECT 1")
    with suppress(sa.exc.SQLAlchemyError):
        connection.invalidate()


def _close(connection: sa.Connection) -> None:
    """Close a connection that no pool has, whatever is left of it."""
    driver = None
    with suppress(Exception):
        driver = connection.connection.dbapi_connection
    if driver is not None:
        with suppress(Exception):
            driver.close()
    with suppress(Exception):
        connection.invalidate()  # or SQLAlchemy would have a last word with the server
    with suppress(Exception):
        connection.close()
