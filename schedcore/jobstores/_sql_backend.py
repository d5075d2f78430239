"""What databases differ in, for the SQL store: one ``Backend`` for each, in a file of its own (``_sql_sqlite``, …).

A statement on many rows is a ``Batch``: said once here, and turned into what is fastest with each driver. SQLite's is one
statement for each row, repeated inside the driver, but for what is inserted, some rows at once; a server gets one statement with
all rows in it, because what costs there is each statement's way to the server and back.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import sqlalchemy as sa

from schedcore.errors import ConfigurationError
from schedcore.jobstores._chunks import chunks

__all__ = [
    "Backend",
    "Batch",
    "Check",
    "Many",
    "Names",
    "Ownership",
    "ask_questions",
    "put_off_questions",
]


#: Runs a statement on many rows; returns how many rows it changed.
Many = Callable[[Any, Sequence[Sequence[Any]]], int]
#: Raises ``ConfigurationError`` for a connection that does not do.
Check = Callable[[sa.Connection], None]


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a store's tables, quoted as the database wants them."""

    jobs: str
    schedule: str
    runs: str
    meta: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A statement on many rows. ``<name>`` stands for a value of the row.

    ``columns``: the values of a row in their order, as ``"name type"`` with the types ``int``, ``text``, ``word`` (of at most 16
    characters) and ``bytes``. For one
    row the same statement with a placeholder in the place of each ``<name>`` takes them as they come.
    """

    kind: Literal["insert", "insert new", "update", "delete"]
    table: str
    columns: tuple[str, ...]
    values: str = ""  #: update: what is set; insert: the values of the row, beside which ``into`` names the columns
    where: str = ""
    into: str = ""

    @property
    def names(self) -> list[str]:
        return [column.split()[0] for column in self.columns]

    @property
    def types(self) -> list[str]:
        return [column.split()[1] for column in self.columns]

    def single(self, placeholder: str, insert_new: str = "INSERT") -> str:
        """The statement for one row."""
        if self.kind in ("insert", "insert new"):
            verb = "INSERT" if self.kind == "insert" else insert_new
            text = f"{verb} INTO {self.table} ({self.into}) VALUES ({self.values})"
        elif self.kind == "update":
            text = f"UPDATE {self.table} SET {self.values} WHERE {self.where}"
        else:
            text = f"DELETE FROM {self.table} WHERE {self.where}"
        return self.fill(text, lambda name: placeholder)

    @staticmethod
    def fill(text: str, value: Callable[[str], str]) -> str:
        """Put something in the place of each ``<name>``."""
        return re.sub(r"<(\w+)>", lambda match: value(match[1]), text)


def put_off_questions(engine: sa.Engine) -> None:
    """Have SQLAlchemy not ask the server about itself with the first connection, but when ``ask_questions`` says.

    It does so for statements of its own, and a scheduler that finds its tables sends none: a start waited for four answers.
    """
    # In front of the method of the dialect's class.
    vars(engine.dialect)["initialize"] = lambda connection: None


def ask_questions(connection: sa.Connection) -> None:
    """Have it ask now, if it has not: it is about to make a statement of its own, or to look at tables."""
    dialect = connection.dialect
    if "initialize" in vars(dialect):
        type(dialect).initialize(dialect, connection)
        vars(dialect).pop("initialize", None)  # another thread may have been as quick
        connection.rollback()


class Ownership(Protocol):
    """Keeps a second scheduler off the tables, for as long as it is not released and this process lives."""

    @property
    def connection(self) -> sa.Connection | None:
        """The connection to write through, where the lock belongs to it: what it writes is written while it has the lock."""

    def take(self) -> bool:
        """Whether the tables are this scheduler's now. Raises the driver's errors."""

    def holds(self) -> bool:
        """Whether they still are. Cheap: it is asked before each change."""

    def release(self) -> None:
        """Let others have them. Raises nothing, and may be called twice."""


class Backend(ABC):
    """A kind of database. It has no state but that of ``prepare``; what is to be kept belongs to the store."""

    #: For people.
    title: ClassVar[str]
    #: What SQLAlchemy calls it, what it calls the driver, and a URL.
    dialects: ClassVar[tuple[str, ...]]
    driver: ClassVar[str]
    example: ClassVar[str]
    placeholder: ClassVar[str] = "%s"
    #: INSERT that passes over a row whose key is there, where that is a verb of its own.
    insert_new: ClassVar[str] = "INSERT"
    #: Read whatever is in the column, whatever type it has.
    payload: ClassVar[str] = "payload"
    #: How many bytes it has, without reading them where that can be had.
    payload_size: ClassVar[str] = "octet_length(payload)"
    #: INSERT of names and their values (\0) in place of those that are there.
    put_meta: ClassVar[str] = (
        "INSERT INTO {meta} (name, value) VALUES \0 ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
    #: Appended to a query whose rows are about to be changed.
    for_update: ClassVar[str] = " FOR UPDATE"
    #: Appended to the name of the table in a join that is to begin with it.
    first_table: ClassVar[str] = "JOIN"
    #: Whether what is due and its payloads are asked for at once while none is in memory.
    due_with_payloads: ClassVar[bool] = False
    #: Whether a change of one column reads the others, into the memory of this process.
    reads_to_write: ClassVar[bool] = False
    #: Whether any value may be in any column.
    untyped: ClassVar[bool] = False
    #: Characters of the longest id.
    longest_id: ClassVar[int | None] = 255
    #: How long the name of the table of jobs may be (``name_length``), with which those of other tables and of indexes begin.
    longest_name: ClassVar[int]
    #: Characters that it must not have: drivers, and ``Batch``, read these in a statement.
    not_in_names: ClassVar[str] = "%?{}<>"
    #: Seconds that the database may take for an answer, unless the user says otherwise.
    timeout_s: ClassVar[float] = 30.0
    #: Whether a connection can be lost, so that calls are watched and the owner is named in the database.
    remote: ClassVar[bool] = True

    # -- engines ---------------------------------------------------------------------------------------------------------

    def own_engine(
        self, url: sa.URL, options: Mapping[str, Any] | None, timeout_s: float, *, read_only: bool
    ) -> sa.Engine:
        """An engine for a URL. Raises ``ConfigurationError`` and ``MissingExtraError``."""
        _, _, named = url.drivername.partition("+")
        if named not in ("", self.driver):
            raise ConfigurationError(
                f"url: the job store speaks to {self.title} through the driver {self.driver!r}, not {named!r}; "
                f"write for example {self.example!r}"
            )
        url = url.set(drivername=f"{url.get_backend_name()}+{self.driver}")
        arguments = dict(options or {})
        connect = dict(arguments.pop("connect_args", None) or {})
        for name, value in self.connect_args(timeout_s).items():
            if name not in url.query:
                connect.setdefault(name, value)
        arguments = {**self.engine_args(), **arguments, "connect_args": connect}
        engine = self.make_engine(url, arguments)
        put_off_questions(engine)
        return engine

    def make_engine(self, url: sa.URL, arguments: dict[str, Any]) -> sa.Engine:
        """``create_engine`` with our errors."""
        try:
            return sa.create_engine(url, **arguments)
        except (sa.exc.SQLAlchemyError, TypeError, ValueError, LookupError, ImportError) as error:
            raise ConfigurationError(f"the engine cannot be made: {error}") from error

    def connect_args(self, timeout_s: float) -> dict[str, Any]:
        """For the driver, where neither the URL nor the user says otherwise."""
        return {}

    def engine_args(self) -> dict[str, Any]:
        """For ``create_engine``, likewise."""
        return {}

    def given_engine(self, engine: sa.Engine) -> sa.Engine:
        """An engine of the user's, with the same pool, for this store. Raises ``ConfigurationError``."""
        if engine.dialect.driver != self.driver:
            raise ConfigurationError(
                f"engine: the job store speaks to {self.title} through the driver {self.driver!r}, not "
                f"{engine.dialect.driver!r}; make the engine with a URL such as {self.example!r}"
            )
        return engine

    def is_durable(self, url: sa.URL) -> bool:
        """Whether what is there outlives the process."""
        return True

    # -- tables ----------------------------------------------------------------------------------------------------------

    def check_name(self, name: str) -> None:
        """Raise ``ConfigurationError`` for a name that tables cannot have."""
        if any(character in name for character in self.not_in_names):
            raise ConfigurationError(f"tablename must not have any of {self.not_in_names!r}, which {name[:80]!r} has")
        length, unit = self.name_length(name)
        if length > self.longest_name:
            raise ConfigurationError(
                f"tablename may have {self.longest_name} {unit} in {self.title}, because other names are made of it; "
                f"{f'{name[:40]}…'!r} has {length:,}"
            )

    def name_length(self, name: str) -> tuple[int, str]:
        """How long a name is, and in what that is counted."""
        return len(name.encode()), "bytes"

    @property
    def key_type(self) -> sa.types.TypeEngine[Any]:
        """Of ids: each differs from each other, and the order is that of their characters' numbers."""
        return sa.Unicode(255)

    @property
    def text_type(self) -> sa.types.TypeEngine[Any]:
        """Of text of some length."""
        return sa.Text()

    def run_listeners(self) -> list[tuple[str, Callable[..., None]]]:
        """What listens to SQLAlchemy's events of the table of runs."""
        return []

    # -- statements ------------------------------------------------------------------------------------------------------

    def many(self, batch: Batch) -> Many:
        """A function that runs a batch."""
        text = batch.single(self.placeholder, self.insert_new)

        def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
            cursor.executemany(text, rows)
            return int(cursor.rowcount)

        return run

    def add(self, job: Batch, place: Batch, uids: str) -> Callable[[Any, Sequence[Sequence[Any]]], None]:
        """A function that inserts jobs and their places. A row has the values of a job, and those of its place but for the number
        and the id. ``uids``: a query for ``by_keys`` that gives the numbers of ids.
        """
        add_jobs, add_places = self.many(job), self.many(place)

        def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> None:
            add_jobs(cursor, [row[:2] for row in rows])
            numbers = {job_id: uid for uid, job_id in self.by_keys(cursor, uids, [row[0] for row in rows])}
            add_places(cursor, [(numbers[row[0]], row[0], *row[2:]) for row in rows])

        return run

    def add_one(self, job: Batch, place: Batch) -> Callable[[Any, Sequence[Any]], int | None] | None:
        """A function that inserts one job and its place, as a transaction by itself, and returns the job's number, or None for an
        id that is taken; None: there is nothing faster than ``add``.
        """
        return None

    def due(self, timeline: str) -> str:
        """What is due on both timelines (``timeline % 0`` and ``% 1``), the earliest of each. Parameters: ``due_rows``."""
        return (
            f"({timeline % 0} ORDER BY due_us LIMIT ?) UNION ALL ({timeline % 1} ORDER BY due_us LIMIT ?) "
            "ORDER BY due_us LIMIT ?"
        )

    def due_rows(self, wall_us: int, steady_us: int, limit: int) -> tuple[int, ...]:
        return wall_us, limit, steady_us, limit, limit

    def fetch_due(self, cursor: Any) -> Sequence[Sequence[Any]]:
        """The rows that ``due`` gave."""
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
        return rows

    def by_keys(self, cursor: Any, statement: str, keys: Sequence[Any]) -> list[Any]:
        """The rows that a statement with ``IN (\\0)`` gives for many keys."""
        found: list[Any] = []
        for some in chunks(keys):
            cursor.execute(statement.replace("\0", ", ".join([self.placeholder] * len(some))), some)
            found += cursor.fetchall()
        return found

    @abstractmethod
    def cut(self, cursor: Any, names: Names, uids: Sequence[int], keep: int) -> None:
        """Delete the finished runs of some jobs, but for about the last ``keep``."""

    # -- transactions ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def begin_read(self, cursor: Any) -> None:
        """Begin a transaction that sees one state of the database."""

    @abstractmethod
    def begin_write(self, cursor: Any, term: str | None, *, lasting: bool = True) -> str | None:
        """Begin a transaction that writes and sees what others have committed. ``term``: a query that names the owner and keeps
        it from changing until the transaction is over; what it gave is returned. ``lasting``: whether its commit waits for
        the disk; one that does not is lost if the server dies before the next one that does.
        """

    def descriptor(self, connection: Any) -> int | None:
        """The socket of a driver's connection."""
        return None

    # -- errors ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def explain(self, error: BaseException, url: sa.URL) -> tuple[str, bool]:
        """What to tell of a driver's error, and whether trying again can help."""

    def is_lost(self, error: BaseException) -> bool:
        """Whether an error says that the connection is no more."""
        return False

    @abstractmethod
    def misses_table(self, error: BaseException) -> bool:
        """Whether an error says that a table is not there."""

    def refuse(self, driver: Any) -> str | None:
        """Why a connection that the user has configured does not do."""
        return None

    # -- one owner -------------------------------------------------------------------------------------------------------

    def before_opening(self, engine: sa.Engine, *, read_only: bool, owned: bool) -> str | None:
        """What keeps the database from being opened, if that is known without asking it."""
        return None

    @abstractmethod
    def ownership(self, engine: sa.Engine, place: Collection[str], watch: Any, check: Check) -> Ownership:
        """The lock for tables; ``place``: their schema (it may be empty) and the name of the table of jobs; ``check`` is told of
        each connection that is to have the lock.
        """

    @property
    def journals(self) -> bool:
        """Whether there is a journal beside a durable database, and it can be relied on."""
        return False

    def journal(self, engine: sa.Engine, place: Collection[str]) -> str:
        """Where there is a journal of runs beside the tables; empty: nowhere."""
        return ""

    def where(self, url: sa.URL) -> str:
        """The database, for people."""
        return repr(url.database)
