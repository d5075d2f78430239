"""Jobs in an SQL database, through SQLAlchemy: on SQLite, the durable store that needs no server, PostgreSQL, MariaDB and MySQL.

**Tables.** ``jobs`` has a row for each job: its payload (``_payload``), its place in the schedule, and two counters: ``version``
grows when the definition changes, ``fence`` whenever anything does. ``runs`` has a row for each run and for each span of
skipped fire times; a run's key (job, fire time, attempt) is what makes it happen once: whoever writes the row runs it.
``meta`` has the schema version and who has the store open.

**States of a row** of ``jobs``: those of ``JobState``, and ``gone``. A job that has ended or was removed lets go of its id at
once (``id`` is null, ``former_id`` has it), so that the next job may have it. As ``ended`` it keeps its payload until its last
live run is over, for recovery; as ``gone`` it only names its runs, and goes with the last of them.

**One scheduler at a time.** A lock sees to it, on a file beside an SQLite database (``_sql_sqlite``) or in the server
(``_sql_server``); other processes may read meanwhile (``open_reader``). Claims are therefore kept in memory: a claim that was not
committed when the process died never was. What makes commits safe is in the database all the same: the fence, the runs' key,
and on a server the *term* of who has the lock, which each transaction that writes reads first.

**Speed.** Statements are text, sent through the driver's own cursor, a batch at once (``_sql_backend``): the time of a batch is
the database's. Payloads are read once and kept (``_CACHE``). A commit assumes that every fence matches and no run
is on record, compares the number of rows that changed, and only if it differs rolls back and looks for those that do not.

**Housekeeping.** A job's finished runs beyond ``history`` are deleted every ``_PRUNE_EVERY`` commits of it, those older than
``history_age`` once a minute, a bounded number at a time. Live runs are never deleted.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from operator import itemgetter
from types import MethodType
from typing import Any, NoReturn, Self

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    FailureError,
    JobLookupError,
    JobStoreError,
    JobStoreInUseError,
    MissingExtraError,
    SerializationError,
)
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import NOTHING, outcome, storable
from schedcore.jobstores._payload import Codec, Loaded, StoredRecord, reference
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, StoreHost, StoreTraits
from schedcore.references import resolve
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record
from schedcore.serializers import Serializer
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.foreign import ForeignTrigger

try:
    import sqlalchemy as sa
    from sqlalchemy.pool import StaticPool

    from schedcore.jobstores._sql import GONE, Statements, make_tables
    from schedcore.jobstores._sql_backend import Backend, Names, Ownership
    from schedcore.jobstores._sql_server import Watch, discard
    from schedcore.jobstores._sql_upgrade import SCHEMA_VERSION, steps_from
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'sqlalchemy'", "sqlalchemy") from error

__all__ = ["SCHEMA_VERSION", "SQLAlchemyJobStore", "open_reader"]

# Jobs whose definition is kept in memory, so that a due job costs no look at its payload.
_CACHE = 10_000
# Commits of a job between two looks at the length of its history.
_PRUNE_EVERY = 20
# Jobs whose history is cut in one transaction, and run records that are deleted for their age in one: some milliseconds.
_PRUNE_JOBS = 200
_PRUNE_ROWS = 1000
# Microseconds between two looks for records that are too old.
_AGE_CHECK_US = 60_000_000
# Where each kind of database is written about, by its name in a URL. Each loads when it is asked for.
_BACKENDS = {
    "sqlite": ("_sql_sqlite", "SQLite"),
    "postgresql": ("_sql_postgresql", "PostgreSQL"),
    "mysql": ("_sql_mysql", "MySQL"),
    "mariadb": ("_sql_mysql", "MySQL"),
}

_STATES = {str(state): state for state in JobState}
_RUN_STATES = {str(state): state for state in RunState}

_DAMAGED = "its place in the schedule is damaged; give it a trigger or a next run time"


class SQLAlchemyJobStore(JobStore):
    """Keeps jobs and runs in an SQL database: SQLite, PostgreSQL (through psycopg 3), MariaDB or MySQL (through PyMySQL).

    :param url: the database's URL, for example ``sqlite:///jobs.sqlite`` or ``postgresql://user:password@host/database``.
    :param engine: an SQLAlchemy engine, or text such as ``"module:name"`` that leads to one, in the place of a URL. It is never
        disposed of, and its pool, its connections and its other users' transactions are left as they are.
    :param tablename: the name of the table of jobs; those of runs and meta data have it as their first part.
    :param metadata: an SQLAlchemy ``MetaData`` to which the tables are to belong.
    :param pickle_protocol: with ``serializer="pickle"``: the protocol.
    :param tableschema: the schema (on SQLite: the attached database; on MySQL: the database) of the tables.
    :param engine_options: arguments for ``sqlalchemy.create_engine``, beside the URL.
    :param timeout: seconds that the database may take for an answer; None: 30, and on SQLite 10 for another process's lock.
        Connecting, locks and statements have limits that follow from it, or others in ``engine_options``.
    :param serializer: ``"json"``, ``"cbor"``, ``"pickle"`` or a ``Serializer``; how jobs become bytes.
    :param signing_key: one or several keys (bytes, or text): records are signed with the first, and read only if one of them
        signed them (``schedcore.serializers.signed``).
    :param allowed_refs: what functions stored jobs may name, such as ``["myapp.jobs:*"]``; None: all but those that run programs
        or code, or change files (``schedcore.allowed``).
    :param history: finished runs kept for each job, from 1 up.
    :param history_age: seconds that a finished run is kept; None: however old.
    :param read_only: only look: nothing is locked, created or changed, and no function is imported (see ``open_reader``).
    """

    traits = StoreTraits(blocking=True, durable=True)

    def __init__(
        self,
        url: str | sa.URL | None = None,
        engine: sa.Engine | str | None = None,
        tablename: str = "schedcore_jobs",
        metadata: sa.MetaData | None = None,
        pickle_protocol: int | None = None,
        tableschema: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
        *,
        serializer: str | Serializer = "json",
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
        history: int = 100,
        history_age: float | None = 30 * 86400.0,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> None:
        if (url is None) == (engine is None):
            raise ConfigurationError(
                "SQLAlchemyJobStore needs either url= (such as 'sqlite:///jobs.sqlite') or engine="
            )
        if not isinstance(tablename, str) or not tablename:
            raise ConfigurationError(f"tablename must be text, not {tablename!r}")
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigurationError(f"history must be a number of run records from 1 up, not {history!r}")
        for name, value in (("history_age", history_age), ("timeout", timeout)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < 1e9):
                raise ConfigurationError(f"{name} must be a number of seconds above 0, or None, not {value!r}")
        self.codec = Codec(
            serializer, pickle_protocol=pickle_protocol, signing_key=signing_key, allowed_refs=allowed_refs
        )
        self._history = history
        self._history_age_us = None if history_age is None else int(history_age * 1e6)
        self._read_only = bool(read_only)
        self._owns_engine = engine is None
        if url is not None:
            parsed = _parsed(url)
            backend = _backend(parsed.get_backend_name(), "url")
            timeout_s = backend.timeout_s if timeout is None else float(timeout)
            self._engine = backend.own_engine(parsed, engine_options, timeout_s, read_only=self._read_only)
        else:
            found = _given_engine(engine)
            backend = _backend(found.dialect.name, "engine")
            timeout_s = backend.timeout_s if timeout is None else float(timeout)
            self._engine = backend.given_engine(found)
        self._backend = backend
        if backend.remote and any(character in tablename for character in "%?{}<>"):
            raise ConfigurationError(f"tablename must not have any of '%?{{}}<>', which {tablename!r} has")
        if not backend.is_durable(self._engine.url):
            self.traits = self.traits._replace(durable=False)
        self._tables = make_tables(
            backend, sa.MetaData() if metadata is None else metadata, tablename, tableschema or None
        )
        self._jobs, self._runs, self._meta = self._tables
        prepare = self._engine.dialect.identifier_preparer.format_table
        self._names = Names(*map(prepare, self._tables))
        self._sql = Statements(backend, self._names)
        self._watch = Watch(backend, timeout_s)
        self._errors_of = (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, OSError)
        # One writes at a time, and the claims belong to whoever does. Readers have a connection of their own.
        self._lock = threading.RLock()
        self._read_lock = self._lock if isinstance(self._engine.pool, StaticPool) else threading.RLock()
        self._opened = False
        self._ownership: Ownership | None = None
        self._term: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._cache: dict[int, StoredRecord] = {}
        self._claimed: dict[int, int] = {}  # uid: fence
        self._ended: set[int] = set()  # jobs that have ended with runs live: a hint for ``finish``
        self._stale: set[int] = set()  # jobs whose history is to be cut
        self._aged_us = 0

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def start(self, scheduler: StoreHost, alias: str) -> None:
        """Open the database, keep others off it, create what is missing, and take back broken jobs whose code is there again.

        Raises ``JobStoreInUseError`` while another scheduler has it open, and ``JobStoreError``.
        """
        with self._lock:
            if self._opened:
                raise JobStoreInUseError(
                    "this job store object is in use by a scheduler already; give each scheduler a job store of its own"
                )
            super().start(scheduler, alias)
            self._open()

    def _open(self) -> None:
        self._reset()
        self._opened = True
        with ExitStack() as undo:
            undo.callback(self.shutdown)
            self._check()
            undo.pop_all()

    def _check(self) -> None:
        missing = self._backend.before_opening(self._engine, read_only=self._read_only, owned=self._owns_engine)
        if missing is not None:
            raise JobStoreError(self._alias, missing)
        if self._backend.remote:
            self._watch.start()
            if not self._owns_engine:
                with self._connected("open the database") as connection:
                    refused = self._backend.refuse(connection.connection)
                if refused is not None:
                    raise ConfigurationError(f"engine: {refused}")
        if self._read_only:
            self._check_schema(create=False)
            return
        with self._errors("open the database"):
            self._ownership = self._backend.ownership(
                self._engine, (self._jobs.schema or "", self._jobs.name), self._watch
            )
            self._take()
        self._check_schema(create=True)
        self._begin_term()

    def _take(self) -> None:
        assert self._ownership is not None
        try:
            taken = self._ownership.take()
        except FailureError as error:
            raise JobStoreError(self._alias, str(error)) from error.__cause__
        if not taken:
            raise JobStoreInUseError(
                f"the database {self._place()} is in use by another scheduler ({self._owner()}); stop that one, or give this "
                f"one a database of its own. Others can look at it meanwhile: schedcore.jobstores.sqlalchemy.open_reader"
            )

    def _place(self) -> str:
        """The database, for people."""
        url = self._engine.url
        if self._backend.remote:
            return repr(url.set(query={}).render_as_string())
        return repr(os.path.realpath(url.database or ""))

    def _begin_term(self) -> None:
        """Note in the database whose it is now. What another scheduler has begun meanwhile ends first, and is its last."""
        self._term = None
        term = secrets.token_hex(8)
        since = datetime.now(UTC).isoformat(" ", "seconds")
        owner = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
        notes = {"owner": owner, "term": term} if self._backend.remote else {"owner": owner}
        with self._transaction("open the database", write=True) as cursor:
            for name, value in notes.items():
                cursor.execute(self._sql.drop_meta, (name,))
                cursor.execute(self._sql.put_meta, (name, value))
            self._mend(cursor)
        if self._backend.remote:
            self._term = term

    def _hold(self) -> None:
        """Look whether the database is still this scheduler's, and take it again if the lock was lost and nobody else has it."""
        ownership = self._ownership
        if ownership is not None and not ownership.holds():
            with self._errors("take the lock on the database again"):
                self._take()

    def _is_over(self) -> NoReturn:
        """Another scheduler has had the database since this one last changed it."""
        assert self._ownership is not None
        self._ownership.release()
        with self._errors("take the lock on the database again"):
            self._take()
        # That one has gone again.
        self._begin_term()
        raise JobStoreError(
            self._alias,
            "its lock was lost, and another scheduler has used the database meanwhile; it is looked at afresh",
            transient=True,
        )

    def shutdown(self) -> None:
        with self._lock, self._read_lock:
            self._opened = False
            self._reset()
            self._watch.stop()
            self._term = None
            ownership, self._ownership = self._ownership, None
            if self._owns_engine:
                self._engine.dispose()
            if ownership is not None:
                ownership.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (url={self._engine.url!r})>"

    def get_note(self, name: str) -> str | None:
        with self._reading("read a note") as cursor:
            cursor.execute(self._sql.meta, (f"note: {name}",))
            row = cursor.fetchone()
        return None if row is None else str(row[0])

    def put_note(self, name: str, value: str) -> None:
        with self._writing("write a note") as cursor:
            cursor.execute(self._sql.drop_meta, (f"note: {name}",))
            cursor.execute(self._sql.put_meta, (f"note: {name}", value))

    def _owner(self) -> str:
        try:
            with self._reading("look for the owner") as cursor:
                cursor.execute(self._sql.meta, ("owner",))
                row = cursor.fetchone()
        except JobStoreError:
            row = None
        return str(row[0]) if row is not None else "unknown"

    def _check_schema(self, create: bool) -> None:
        """Create the tables where there are none, bring those of an older release up to date, and refuse what is not ours."""
        found = self._version()
        if found == str(SCHEMA_VERSION):
            return
        if found is not None:
            steps = steps_from(found)
            if steps is None:
                raise JobStoreError(
                    self._alias,
                    f"its tables have the schema version {found}, and this release of schedcore reads {SCHEMA_VERSION}; "
                    f"use the release that made them, or a newer one",
                )
            if not create:
                raise JobStoreError(
                    self._alias,
                    f"its tables have the schema version {found}, of an older release of schedcore; a scheduler that opens "
                    f"them changes them to {SCHEMA_VERSION}",
                )
            for version, step in steps:
                with self._changing_tables(f"change the tables to the schema version {version}") as connection:
                    step(connection, *self._tables)
                    name = self._meta.c.name == "schema"
                    connection.execute(sa.update(self._meta).where(name).values(value=str(version)))
            return
        if not create:
            raise JobStoreError(self._alias, "the database has no tables of schedcore; is it the right one?")
        with self._changing_tables("create the tables") as connection:
            self._jobs.metadata.create_all(connection, tables=list(self._tables))
            connection.execute(sa.insert(self._meta).values(name="schema", value=str(SCHEMA_VERSION)))

    def _version(self) -> str | None:
        """The version that the tables have; None: there are none. Raises ``JobStoreError`` for tables that are not ours."""
        with self._lock, self._read_lock, self._connected("read the tables") as connection:
            if self._backend.remote:
                # Nearly always they are there. Asking what there is costs several times as much.
                with suppress(self._engine.dialect.loaded_dbapi.Error):
                    cursor = connection.connection.cursor()
                    try:
                        cursor.execute(self._sql.meta, ("schema",))
                        row = cursor.fetchone()
                    finally:
                        cursor.close()
                    if row is not None:
                        return str(row[0])
                connection.connection.rollback()
            inspector = sa.inspect(connection)
            schema = self._jobs.schema
            if inspector.has_table(self._meta.name, schema):
                value = connection.execute(sa.select(self._meta.c.value).where(self._meta.c.name == "schema")).scalar()
                if value is not None:
                    return str(value)
            for table in (self._jobs, self._runs):
                if inspector.has_table(table.name, schema):
                    raise JobStoreError(
                        self._alias,
                        f"there is a table {table.name!r} that schedcore did not make; give another tablename, or another "
                        f"database",
                    )
        return None

    @contextmanager
    def _changing_tables(self, doing: str) -> Iterator[sa.Connection]:
        """A transaction in which tables are made or changed. (MariaDB and MySQL end it at each such statement.)"""
        with self._lock, self._connected(doing) as connection:
            cursor = connection.connection.cursor()
            try:
                self._backend.begin_write(cursor, None)
            finally:
                cursor.close()
            with ExitStack() as undo:
                undo.callback(connection.connection.rollback)
                yield connection
                connection.connection.commit()
                undo.pop_all()

    def _mend(self, cursor: Any) -> None:
        """Jobs that were set aside and can be loaded again go on where they stood."""
        cursor.execute(self._sql.broken)
        rows = cursor.fetchall()
        loaded = self._load(cursor, rows)
        mended = [(uid,) for uid, _ in rows if loaded[uid].reason is None]
        if mended:
            self._sql.mend(cursor, mended)
            for (uid,) in mended:
                self._cache.pop(uid, None)

    # -- transactions ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that writes, committed at the end. One at a time."""
        if self._read_only:
            raise JobStoreError(self._alias, "it was opened for reading only")
        with self._lock:
            self._hold()
            with self._transaction(doing, write=True) as cursor:
                yield cursor

    @contextmanager
    def _reading(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that reads one state of the database."""
        with self._read_lock, self._transaction(doing, write=False) as cursor:
            yield cursor

    @contextmanager
    def _transaction(self, doing: str, *, write: bool) -> Iterator[Any]:
        if not self._opened:
            raise JobStoreError(self._alias, "it is not open; start() opens it, shutdown() closes it")
        backend = self._backend
        errors = self._errors_of
        with self._errors(doing):
            for last in (False, True):
                with self._engine.connect() as connection:
                    driver = connection.connection
                    with self._watch.over(driver) as call:
                        cursor = driver.cursor()
                        term = None
                        try:
                            if write:
                                term = backend.begin_write(cursor, self._sql.term if self._term else None)
                            else:
                                backend.begin_read(cursor)
                        except errors as error:
                            # A connection of the pool's that was lost while nobody used it: nothing was done on it yet.
                            cursor.close()
                            discard(connection)
                            if last or not backend.is_lost(error) or (call is not None and call.cut):
                                raise
                            continue
                        try:
                            if self._term is None or not write or term == self._term:
                                yield cursor
                                if write:
                                    driver.commit()
                                else:
                                    driver.rollback()
                                return
                            driver.rollback()
                        except BaseException:
                            try:
                                driver.rollback()
                            except errors:
                                discard(connection)
                            raise
                        finally:
                            cursor.close()
                    break
            self._is_over()

    @contextmanager
    def _connected(self, doing: str) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy's, for what is not done on the way of a run."""
        with self._errors(doing), self._engine.connect() as connection, self._watch.over(connection.connection):
            yield connection

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Errors of the driver and of SQLAlchemy become ours."""
        try:
            yield
        except self._errors_of as error:
            cause = getattr(error, "orig", None) or error
            message, transient = self._backend.explain(cause, self._engine.url)
            transient = transient or isinstance(error, sa.exc.TimeoutError | OSError)
            raise JobStoreError(self._alias, f"cannot {doing}: {message}", transient=transient) from cause

    # -- definitions ---------------------------------------------------------------------------------------------------------

    def _load(self, cursor: Any, wanted: Iterable[tuple[int, int]]) -> dict[int, Loaded]:
        """The definitions of jobs, by uid and version, from memory or from their payloads."""
        cache = self._cache
        found: dict[int, Loaded] = {}
        missing: list[int] = []
        for uid, version in wanted:
            record = cache.get(uid)
            if record is not None and record.version == version:
                found[uid] = Loaded(record, None)
            else:
                missing.append(uid)
        for uid, version, job_id, payload in self._by_keys(cursor, self._sql.payloads, missing):
            loaded = self.codec.decode(_text(job_id) or "", payload, import_func=not self._read_only)
            record = loaded.record
            record.uid, record.version = uid, version
            found[uid] = loaded
            if loaded.reason is None:
                while len(cache) >= _CACHE:
                    # The one that has been there longest. Other threads do the same meanwhile.
                    with suppress(RuntimeError, StopIteration):
                        cache.pop(next(iter(cache)), None)
                cache[uid] = record
        return found

    def _by_keys(self, cursor: Any, statement: str, keys: Sequence[Any]) -> list[Any]:
        """The rows that a statement with ``IN (\\0)`` gives for many keys."""
        return self._backend.by_keys(cursor, statement, keys)

    def _entry(self, row: Sequence[Any], loaded: Loaded) -> JobEntry:
        _, _, state, fire_us, due_us, reason = row
        if _instant(fire_us) != fire_us or _instant(due_us) != due_us:
            return JobEntry(loaded.record, JobState.BROKEN, _instant(fire_us), _instant(due_us), _DAMAGED)
        reason = _text(reason)
        if loaded.reason is not None and state != JobState.BROKEN:
            return JobEntry(loaded.record, JobState.BROKEN, fire_us, due_us, loaded.reason)
        return JobEntry(loaded.record, _STATES.get(state, JobState.BROKEN), fire_us, due_us, reason)

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def add_entries(self, entries: Sequence[JobEntry]) -> None:
        codec = self.codec
        rows = []
        for job, state, fire_us, due_us, reason in entries:
            self._check_id(job.id)
            rows.append(
                (
                    job.id,
                    codec.encode(job),
                    str(state),
                    int(job.trigger.elapsed),
                    fire_us,
                    due_us if state is JobState.ACTIVE else None,
                    storable(reason),
                )
            )
        if not rows:
            return
        with self._writing("add jobs") as cursor:
            add_one = self._sql.add_one
            room = max(0, _CACHE - len(self._cache))
            fresh = {job.id: job for job, *_ in entries[:room] if _is_value(job)}
            uids: Sequence[Any] = ()
            if add_one is not None and len(rows) == 1:
                uid = add_one(cursor, rows[0])
                if uid is None:
                    raise ConflictingIdError(rows[0][0])
                uids = [(uid, rows[0][0])]
                rows = []
            taken = {_text(found[0]) for found in self._by_keys(cursor, self._sql.taken, [row[0] for row in rows])}
            for row in rows:
                if row[0] in taken:
                    raise ConflictingIdError(row[0])
                taken.add(row[0])
            if rows:
                self._sql.add(cursor, rows)
            if fresh and not uids:
                uids = self._by_keys(cursor, self._sql.uids, list(fresh))
        if fresh:
            # What was just written need not be read back. Only after the commit: another thread may be looking already.
            for uid, job_id in uids:
                job = fresh[job_id]
                record = StoredRecord(*job._replace(func_ref=reference(job)))
                record.uid, record.version = uid, 1
                self._cache[uid] = record

    def check(self, job: JobRecord) -> None:
        self._check_id(job.id)
        self.codec.encode(job)

    def _check_id(self, job_id: str) -> None:
        _check_id(job_id)
        longest = self._backend.longest_id
        if longest is not None and len(job_id) > longest:
            raise SerializationError(
                f"the job id {job_id[:40]!r}… has {len(job_id)} characters, and {self._backend.title} keeps {longest}",
                path="id",
            )

    def get_entry(self, job_id: str) -> JobEntry | None:
        if not _is_text(job_id):
            return None
        with self._reading("look a job up") as cursor:
            cursor.execute(self._sql.entry, (job_id,))
            row = cursor.fetchone()
            return None if row is None else self._entry(row, self._load(cursor, [row[:2]])[row[0]])

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        parameters: tuple[Any, ...] = ()
        statement = self._sql.entries
        if after is not None and after.due_us is not None:
            statement, parameters = self._sql.entries_after_due, (after.due_us, after.due_us, after.job.id)
        elif after is not None:
            statement, parameters = self._sql.entries_after_idle, (after.job.id,)
        if limit is not None:
            statement += f" LIMIT {int(limit)}"
        with self._reading("list jobs") as cursor:
            cursor.execute(statement, parameters)
            rows = cursor.fetchall()
            loaded = self._load(cursor, [row[:2] for row in rows])
        return [self._entry(row, loaded[row[0]]) for row in rows]

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        job_id = old.job.id
        payload = None if new.job is old.job else self.codec.encode(new.job)
        with self._writing("change a job") as cursor:
            cursor.execute(self._sql.entry_to_change, (job_id,))
            row = cursor.fetchone()
            if row is None:
                raise JobLookupError(job_id)
            uid, version, _, fire_us, due_us, _ = row
            if (
                _instant(fire_us) != old.fire_us
                or _instant(due_us) != old.due_us
                or not self._is_same(cursor, uid, version, old.job)
            ):
                return False
            due_us = new.due_us if new.state is JobState.ACTIVE else None
            place = (str(new.state), new.fire_us, due_us, storable(new.reason))
            if payload is None:
                cursor.execute(self._sql.replace_place, (*place, uid))
            else:
                cursor.execute(self._sql.replace, (*place, payload, int(new.job.trigger.elapsed), uid))
            if skipped:
                self._sql.skip(cursor, [_skip_row(uid, record) for record in skipped])
            self._drop(uid)
        return True

    def _is_same(self, cursor: Any, uid: int, version: int, job: JobRecord) -> bool:
        """Whether a row's definition is still the one that ``job`` was read from."""
        if isinstance(job, StoredRecord) and job.version:
            return (job.uid, job.version) == (uid, version)
        cursor.execute(self._sql.payload, (uid,))
        return bool(cursor.fetchone()[0] == self.codec.encode(job))

    def _drop(self, uid: int) -> None:
        """A job was changed or removed: nothing that was known of it holds any more."""
        self._cache.pop(uid, None)
        self._claimed.pop(uid, None)

    def remove_job(self, job_id: str) -> None:
        if not _is_text(job_id):
            raise JobLookupError(job_id)
        with self._writing("remove a job") as cursor:
            cursor.execute(self._sql.entry_to_change, (job_id,))
            row = cursor.fetchone()
            if row is None:
                raise JobLookupError(job_id)
            cursor.execute(self._sql.delete, (job_id,))
            cursor.execute(self._sql.remove, (job_id,))
            self._drop(row[0])

    def remove_all_jobs(self) -> None:
        with self._writing("remove all jobs") as cursor:
            cursor.execute(self._sql.delete_all)
            cursor.execute(self._sql.remove_all)
            self._cache.clear()
            self._claimed.clear()

    # -- the way of a run -----------------------------------------------------------------------------------------------

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        claims: list[Claim] = []
        with self._lock, self._transaction("look for due jobs", write=False) as cursor:
            claimed = self._claimed
            cursor.execute(self._sql.due, self._backend.due_rows(now.wall_us, now.steady_us, limit + len(claimed)))
            rows = cursor.fetchall()
            if claimed:
                rows = [row for row in rows if row[0] not in claimed][:limit]
            if not rows:
                return claims
            rows = sorted(rows, key=_due_order)
            cursor.execute(self._sql.live_counts)
            live = dict(cursor.fetchall())
            cache = self._cache
            fresh: dict[int, Loaded] | None = None
            for uid, fence, version, fire_us, due_us in rows:
                record = cache.get(uid)
                reason: str | None = None
                if record is None or record.version != version:
                    if fresh is None:
                        fresh = self._load(cursor, [(row[0], row[2]) for row in rows])
                    record, reason = fresh[uid]
                if not (
                    type(fire_us) is type(due_us) is int
                    and FIRST_US <= fire_us <= LAST_US
                    and due_us >= FIRST_US
                    # A fraction does no harm; of anything else the next one is 1.
                    and type(fence) in (int, float)
                ):
                    reason = _DAMAGED
                claims.append(_new(Claim, (record, fire_us, due_us, live.get(uid, 0), (uid, fence), reason)))
                claimed[uid] = fence
        return claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        if not decisions:
            return Committed([], [])
        with self._lock:
            committed = self._commit(decisions, now_us, careful=False)
            if committed is None:
                committed = self._commit(decisions, now_us, careful=True)
                assert committed is not None
            for decision in decisions:
                uid, fence = decision.claim.token
                if self._claimed.get(uid) == fence:
                    del self._claimed[uid]
        return committed

    def _commit(self, decisions: Sequence[Decision], now_us: int, *, careful: bool) -> Committed | None:
        """One attempt, in one transaction. None, and nothing is changed, if not all is as the claims say; ``careful``: look."""
        alias = self._alias
        claimed = self._claimed
        runs: list[Run] = []
        dropped: list[Decision] = []
        moves: list[tuple[Any, ...]] = []
        ends: list[tuple[int, int]] = []
        idle: list[int] = []
        breaks: list[tuple[Any, ...]] = []
        submits: list[tuple[int, int, int, int]] = []
        skips: list[tuple[Any, ...]] = []
        stale: list[int] = []
        with self._writing("record runs") as cursor:
            fences: dict[int, int] = {}
            on_record: set[tuple[int, int]] = set()
            if careful:
                uids = [decision.claim.token[0] for decision in decisions]
                fences = dict(self._by_keys(cursor, self._sql.fences, uids))
                wanted = {(d.claim.token[0], fire_us) for d in decisions for fire_us in d.fires}
                on_record = {key for key in self._by_keys(cursor, self._sql.known_runs, uids) if key in wanted}
            for decision in decisions:
                claim, fires, skipped, next_us, due_us, broken, _ = decision
                uid, fence = token = claim.token
                if claimed.get(uid) != fence or (careful and fences.get(uid) != fence):
                    dropped.append(decision)
                    continue
                if broken is not None:
                    # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
                    fire_us = None if fires or skipped else _instant(claim.fire_us)
                    breaks.append((fire_us, storable(broken), uid, fence))
                elif next_us is None:
                    ends.append(token)
                    if fires or claim.live:
                        self._ended.add(uid)
                    else:
                        idle.append(uid)
                else:
                    moves.append((next_us, due_us, uid, fence))
                job = claim.job
                for fire_us in fires:
                    if careful and (uid, fire_us) in on_record:
                        continue
                    runs.append(_new(Run, (job, alias, fire_us, 1, uid)))
                    submits.append((uid, fire_us, 1, now_us))
                skips.extend(_skip_row(uid, skip_record(job.id, skip, now_us)) for skip in skipped)
                if broken is None and (uid + fence) % _PRUNE_EVERY == 0:
                    stale.append(uid)
            sql = self._sql
            for change, rows in ((sql.move, moves), (sql.end, ends), (sql.break_, breaks), (sql.submit, submits)):
                if rows and change(cursor, rows) != len(rows) and not careful:
                    cursor.connection.rollback()
                    return None
            if skips:
                sql.skip(cursor, skips)
            if idle:
                sql.let_go(cursor, [(uid,) for uid in idle])
                sql.forget(cursor, [(uid,) for uid in idle])
            stale.extend(self._stale)
            if len(stale) > _PRUNE_JOBS:
                stale = self._cut(cursor, stale)
        self._stale = set(stale)
        plain = len(moves) == len(submits) == len(decisions) and not skips
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        if not runs:
            return
        with self._writing("record that runs began") as cursor:
            self._sql.started(cursor, [(at_us, run.token, run.fire_us, run.attempt) for run, at_us in runs])

    def finish(self, finishes: Sequence[Finish]) -> None:
        plain: list[tuple[Any, ...]] = []
        rows: list[tuple[Any, ...]] = []
        latest_us = 0
        over: set[int] = set()
        ended = self._ended
        for finish in finishes:
            run = finish.run
            finished_us = finish.finished_us
            uid = run.token
            what = outcome(finish)
            if what is NOTHING:
                plain.append((str(finish.state), finish.started_us, finished_us, uid, run.fire_us, run.attempt))
            else:
                rows.append((str(finish.state), finish.started_us, finished_us, *what, uid, run.fire_us, run.attempt))
            if finished_us > latest_us:
                latest_us = finished_us
            if uid in ended:
                over.add(uid)
        if not finishes:
            return
        with self._writing("record how runs ended") as cursor:
            if plain:
                self._sql.finish_plain(cursor, plain)
            if rows:
                self._sql.finish(cursor, rows)
            if over:
                self._sql.let_go(cursor, [(uid,) for uid in over])
            if self._stale:
                self._stale = set(self._cut(cursor, list(self._stale)))
            self._delete_old(cursor, latest_us)
        self._ended -= over

    def _cut(self, cursor: Any, stale: list[int]) -> list[int]:
        """Cut the histories of some jobs; returns those that are left for the next time."""
        self._backend.cut(cursor, self._names, stale[:_PRUNE_JOBS], self._history - 1)
        return stale[_PRUNE_JOBS:]

    def _delete_old(self, cursor: Any, now_us: int) -> None:
        if self._history_age_us is None or now_us - self._aged_us < _AGE_CHECK_US:
            return
        before_us = now_us - self._history_age_us
        cursor.execute(self._sql.old, (before_us, before_us, _PRUNE_ROWS))
        keys = cursor.fetchall()
        if keys:
            self._sql.delete_run(cursor, keys)
            self._sql.forget(cursor, list({(key[0],) for key in keys}))
        if len(keys) < _PRUNE_ROWS:
            self._aged_us = now_us

    def next_due(self) -> Due:
        with self._lock, self._transaction("look for the next job", write=False) as cursor:
            return Due(self._next_due(cursor, 0), self._next_due(cursor, 1))

    def _next_due(self, cursor: Any, elapsed: int) -> int | None:
        claimed = self._claimed
        cursor.execute(self._sql.next_due, (elapsed, len(claimed) + 1))
        return next((due_us for uid, due_us in cursor.fetchall() if uid not in claimed and type(due_us) is int), None)

    def recover(self, known: Collection[Run]) -> Recovered:
        mine = {(run.token, run.fire_us, run.attempt) for run in known}
        runs: list[Run] = []
        lost: list[RunRecord] = []
        alias = self._alias
        scheduler = self._scheduler
        now_us = scheduler.clock.wall_us() if scheduler is not None else int(datetime.now(UTC).timestamp() * 1e6)
        closed: list[tuple[Any, ...]] = []
        again: list[tuple[int, int, int, int]] = []
        with self._writing("recover runs") as cursor:
            self._claimed.clear()
            cursor.execute(self._sql.live)
            rows = [row for row in cursor.fetchall() if row[:3] not in mine]
            loaded = self._load(cursor, list({row[0]: row[6] for row in rows if row[7] not in (None, GONE)}.items()))
            for uid, fire_us, attempt, state, submitted_us, started_us, _, job_state, job_id in rows:
                if _instant(fire_us) is None or type(attempt) is not int:
                    # It names no run that could be made or told of; but while it is open it counts as one.
                    closed.append(("its record is damaged", now_us, uid, fire_us, attempt))
                    continue
                reason = ""
                if job_state is None or job_state == GONE:
                    reason = "its scheduler died, and its job has been removed"
                else:
                    job, why = loaded[uid]
                    if why is not None:
                        continue  # until its job is mended
                    if state == RunState.SUBMITTED:
                        runs.append(Run(job, alias, fire_us, attempt, uid))
                        continue
                    reason = "its scheduler died in the middle of it"
                    if job.policy.recovery == "rerun":
                        if attempt == 1:
                            reason += "; it is run again"
                            runs.append(Run(job, alias, fire_us, attempt + 1, uid))
                            again.append((uid, fire_us, attempt + 1, now_us))
                        else:
                            reason += ", for the second time"
                closed.append((reason, now_us, uid, fire_us, attempt))
                lost.append(
                    RunRecord(
                        _text(job_id) or "",
                        fire_us,
                        attempt,
                        RunState.LOST,
                        reason,
                        submitted_us=_instant(submitted_us),
                        started_us=_instant(started_us),
                        finished_us=now_us,
                    )
                )
            if closed:
                self._sql.lose(cursor, closed)
            if again:
                self._sql.submit(cursor, again)
            cursor.execute(self._sql.let_go_all)
            self._ended.update(row[0] for row in rows if row[7] == JobState.ENDED)
        return Recovered(runs, lost)

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        if job_id is not None and not _is_text(job_id):
            return []
        statement = self._sql.runs[job_id is not None, failed]
        with self._reading("list runs") as cursor:
            if job_id is not None:
                cursor.execute(self._sql.namesakes, (job_id, job_id))
                uids = [str(int(row[0])) for row in cursor.fetchall()]
                if not uids:
                    return []
                statement = statement.replace("\0", ", ".join(uids))
            cursor.execute(statement, (limit,))
            rows = cursor.fetchall()
        return [record for record in map(_run_record, rows) if record is not None]


def open_reader(
    url: str | sa.URL | None = None, engine: sa.Engine | None = None, tablename: str = "schedcore_jobs", **options: Any
) -> SQLAlchemyJobStore:
    """A job store to look at, also while a scheduler uses it: ``list_entries``, ``get_entry`` and ``runs`` change nothing.

    No function is imported: the jobs' ``func`` is None, and ``func_ref`` names it. Close it with ``shutdown()``, or use it in a
    ``with`` statement. Raises ``JobStoreError`` when there is no such database.
    """
    store = SQLAlchemyJobStore(url, engine, tablename, read_only=True, **options)
    store._alias = "reader"
    store._open()
    return store


_due_order = itemgetter(4)


# --- what a row says -------------------------------------------------------------------------------------------------
#
# SQLite keeps any value in any column, whatever its type, so that a row may say anything. What no scheduler could have
# written must neither run nor keep the others from being read.


def _instant(value: Any) -> int | None:
    """An instant as triggers give them; None for anything else."""
    return value if type(value) is int and FIRST_US <= value <= LAST_US else None


def _text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return value.decode("utf-8", "replace") if type(value) is bytes else str(value)


def _run_record(row: Sequence[Any]) -> RunRecord | None:
    """A run as it is on record; None for a row that is none."""
    job_id, fire_us, attempt, state, reason, times, until, submitted, started, finished, *rest = row
    error, traceback, result, output, exit_code = rest
    known = _RUN_STATES.get(state)
    if _instant(fire_us) is None or type(attempt) is not int or known is None:
        return None
    return RunRecord(
        _text(job_id) or "",
        fire_us,
        attempt,
        known,
        _text(reason),
        times if type(times) is int else 1,
        _instant(until),
        _instant(submitted),
        _instant(started),
        _instant(finished),
        _text(error),
        _text(traceback),
        _text(result),
        _text(output),
        exit_code if type(exit_code) is int else None,
    )


def _skip_row(uid: int, record: RunRecord) -> tuple[Any, ...]:
    """The parameters of ``Statements.skip``."""
    _, fire_us, attempt, _, reason, times, until_us, _, _, finished_us, *_ = record
    return uid, fire_us, attempt, reason, times, until_us, finished_us


def _is_text(job_id: str) -> bool:
    """Whether a database can hold it; what it cannot hold is nobody's id."""
    if not isinstance(job_id, str) or "\0" in job_id:
        return False
    return job_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in job_id)


_new = tuple.__new__  # half the cost of a NamedTuple's own constructor


_VALUES = frozenset({str, bytes, int, float, bool, type(None)})


def _is_value(job: JobRecord) -> bool:
    """Whether the record is the same as if it were read back: nothing in it can change behind the store's back."""
    return (
        job.func is not None
        and type(job.func) is not MethodType
        and not isinstance(job.trigger, ForeignTrigger)
        and all(type(value) in _VALUES for value in job.args)
        and all(type(value) in _VALUES for value in job.kwargs.values())
    )


def _check_id(job_id: str) -> None:
    if not _is_text(job_id):
        raise SerializationError(f"the job id {job_id!r} has characters that a database cannot hold", path="id")


def _parsed(url: str | sa.URL) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, AttributeError) as error:
        raise ConfigurationError(
            f"url={url!r} is not a database URL; write for example 'sqlite:///jobs.sqlite'"
        ) from error


def _given_engine(engine: sa.Engine | str | None) -> sa.Engine:
    found: Any = resolve(engine) if isinstance(engine, str) else engine
    if not isinstance(found, sa.Engine):
        raise ConfigurationError(
            f"engine must be an engine of sqlalchemy.create_engine (not an asynchronous one), or text that leads to one, "
            f"not {found!r}"
        )
    return found


def _backend(name: str, option: str) -> Backend:
    """What is known about a kind of database."""
    if name not in _BACKENDS:
        known = ", ".join(_BACKENDS)
        raise ConfigurationError(f"{option}: there is no job store on {name!r}; there is one on: {known}")
    module, kind = _BACKENDS[name]
    made: Backend = getattr(import_module(f"schedcore.jobstores.{module}"), kind)()
    return made
