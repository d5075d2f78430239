"""Jobs in an SQL database, through SQLAlchemy: on SQLite, the durable store that needs no server.

**Tables.** ``jobs`` has a row for each job: its payload (``_payload``), its place in the schedule, and two counters: ``version``
grows when the definition changes, ``fence`` whenever anything does. ``runs`` has a row for each run and for each span of
skipped fire times; a run's key (job, fire time, attempt) is what makes it happen once: whoever writes the row runs it.
``meta`` has the schema version and who has the store open.

**States of a row** of ``jobs``: those of ``JobState``, and ``gone``. A job that has ended or was removed lets go of its id at
once (``id`` is null, ``former_id`` has it), so that the next job may have it. As ``ended`` it keeps its payload until its last
live run is over, for recovery; as ``gone`` it only names its runs, and goes with the last of them.

**One scheduler at a time.** A lock file beside the database sees to it (``_DatabaseLock``); other processes may read meanwhile
(``open_reader``). Claims are therefore kept in memory: a claim that was not committed when the process died never was. What
makes commits safe is in the database all the same, the fence and the runs' key.

**Speed.** Statements are text, sent through the driver's own cursor with plain tuples, a batch as one ``executemany``: the time
of a batch is the database's. Payloads are read once and kept (``_CACHE``). A commit assumes that every fence matches and no run
is on record, compares the number of rows that changed, and only if it differs rolls back and looks for those that do not.

**Housekeeping.** A job's finished runs beyond ``history`` are deleted every ``_PRUNE_EVERY`` commits of it, those older than
``history_age`` once a minute, a bounded number at a time. Live runs are never deleted.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from operator import itemgetter
from types import MethodType
from typing import Any, Self

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobLookupError,
    JobStoreError,
    JobStoreInUseError,
    MissingExtraError,
    SerializationError,
)
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import outcome
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

    from schedcore.jobstores._sql import DIALECTS, GONE, Statements, make_tables
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'sqlalchemy'", "sqlalchemy") from error

__all__ = ["SCHEMA_VERSION", "SQLAlchemyJobStore", "open_reader"]

SCHEMA_VERSION = 1

# Jobs whose definition is kept in memory, so that a due job costs no look at its payload.
_CACHE = 10_000
# Rows asked for at once by their keys. SQLite takes 999 parameters at least.
_CHUNK = 500
# Commits of a job between two looks at the length of its history.
_PRUNE_EVERY = 20
# Jobs whose history is cut in one transaction, and run records that are deleted for their age in one: some milliseconds.
_PRUNE_JOBS = 200
_PRUNE_ROWS = 1000
# Microseconds between two looks for records that are too old.
_AGE_CHECK_US = 60_000_000
# Milliseconds that a statement waits for another process that writes to the same database.
_BUSY_MS = 10_000

_STATES = {str(state): state for state in JobState}
_RUN_STATES = {str(state): state for state in RunState}

_DAMAGED = "its place in the schedule is damaged; give it a trigger or a next run time"


class _DatabaseLock:
    """Keeps a second scheduler off an SQLite database, by an exclusive lock on a file beside it.

    The lock is SQLite's own, on an empty database that is never written: it works wherever SQLite does, two schedulers of one
    process exclude each other too, a forked child does not inherit it, and it ends with the process, however that ends. The
    file stays: deleting it would let a third process lock a new file while a second one waits for the old.
    """

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        with ExitStack() as undo:
            undo.callback(self._connection.close)
            self._connection.execute("BEGIN EXCLUSIVE")
            undo.pop_all()

    def release(self) -> None:
        self._connection.close()


class SQLAlchemyJobStore(JobStore):
    """Keeps jobs and runs in an SQL database. This release: SQLite.

    :param url: the database's URL, for example ``sqlite:///jobs.sqlite``.
    :param engine: an SQLAlchemy engine, or text such as ``"module:name"`` that leads to one, in the place of a URL. It is never
        disposed of, and its connections are used as they are.
    :param tablename: the name of the table of jobs; those of runs and meta data have it as their first part.
    :param metadata: an SQLAlchemy ``MetaData`` to which the tables are to belong.
    :param pickle_protocol: with ``serializer="pickle"``: the protocol.
    :param tableschema: the schema (on SQLite: the attached database) of the tables.
    :param engine_options: arguments for ``sqlalchemy.create_engine``, beside the URL.
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
    ) -> None:
        if (url is None) == (engine is None):
            raise ConfigurationError(
                "SQLAlchemyJobStore needs either url= (such as 'sqlite:///jobs.sqlite') or engine="
            )
        if not isinstance(tablename, str) or not tablename:
            raise ConfigurationError(f"tablename must be text, not {tablename!r}")
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigurationError(f"history must be a number of run records from 1 up, not {history!r}")
        number = isinstance(history_age, int | float) and not isinstance(history_age, bool)
        if history_age is not None and not (number and history_age > 0):
            raise ConfigurationError(f"history_age must be a number of seconds above 0, or None, not {history_age!r}")
        self.codec = Codec(
            serializer, pickle_protocol=pickle_protocol, signing_key=signing_key, allowed_refs=allowed_refs
        )
        self._history = history
        self._history_age_us = None if history_age is None else int(history_age * 1e6)
        self._read_only = bool(read_only)
        self._owns_engine = engine is None
        self._engine = _own_engine(url, engine_options, self._read_only) if url is not None else _given_engine(engine)
        if _is_memory(self._engine.url):
            self.traits = self.traits._replace(durable=False)
        self._jobs, self._runs, self._meta = make_tables(
            sa.MetaData() if metadata is None else metadata, tablename, tableschema
        )
        prepare = self._engine.dialect.identifier_preparer.format_table
        self._dialect = DIALECTS[self._engine.dialect.name]
        self._sql = Statements(self._dialect, prepare(self._jobs), prepare(self._runs), prepare(self._meta))
        # One writes at a time, and the claims belong to whoever does. Readers have a connection of their own.
        self._lock = threading.RLock()
        self._read_lock = self._lock if isinstance(self._engine.pool, StaticPool) else threading.RLock()
        self._opened = False
        self._database_lock: _DatabaseLock | None = None
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
        path = self._file()
        if self._read_only:
            self._check_schema(create=False)
            return
        if path:
            self._take_lock(path)
        self._check_schema(create=True)
        with self._writing("open the database") as cursor:
            cursor.execute(self._sql.drop_meta, ("owner",))
            since = datetime.now(UTC).isoformat(" ", "seconds")
            owner = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
            cursor.execute(self._sql.put_meta, ("owner", owner))
            self._mend(cursor)

    def shutdown(self) -> None:
        with self._lock, self._read_lock:
            self._opened = False
            self._reset()
            if self._owns_engine:
                self._engine.dispose()
            lock, self._database_lock = self._database_lock, None
            if lock is not None:
                lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (url={self._engine.url!r})>"

    def _file(self) -> str:
        """The database's file; empty when it is in memory."""
        database = self._engine.url.database
        if self._read_only and self._owns_engine and database and not _is_memory(self._engine.url):
            plain = "uri" not in self._engine.url.query
            if plain and not os.path.exists(database):
                raise JobStoreError(
                    self._alias, f"there is no database {os.path.abspath(database)!r}; is it the right path?"
                )
        with self._reading("open the database") as cursor:
            cursor.execute("PRAGMA database_list")
            schema = self._jobs.schema or "main"
            return next((str(row[2] or "") for row in cursor.fetchall() if row[1] == schema), "")

    def _take_lock(self, path: str) -> None:
        path = os.path.realpath(path)
        # Job stores with tables of their own may share a file.
        suffix = "" if self._jobs.name == "schedcore_jobs" else f".{self._jobs.name}"
        try:
            self._database_lock = _DatabaseLock(f"{path}{suffix}.lock")
        except sqlite3.Error as error:
            code = error.sqlite_errorname
            if code.partition("_")[2] not in ("BUSY", "LOCKED"):
                advice = "" if code.startswith("SQLITE_FULL") else "; may this user write there?"
                raise JobStoreError(
                    self._alias, f"the lock file {path}{suffix}.lock cannot be opened: {error}{advice}"
                ) from error
            raise JobStoreInUseError(
                f"the database {path!r} is in use by another scheduler ({self._owner()}); stop that one, or give this one a "
                f"database of its own. Others can look at it meanwhile: schedcore.jobstores.sqlalchemy.open_reader"
            ) from error

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
        """Create the tables where there are none, and refuse those that are not ours or of another version."""
        with self._lock, self._read_lock, self._errors("read the tables"), self._engine.connect() as connection:
            inspector = sa.inspect(connection)
            schema = self._jobs.schema
            found = [table.name for table in (self._jobs, self._runs) if inspector.has_table(table.name, schema)]
            if inspector.has_table(self._meta.name, schema):
                row = connection.execute(sa.select(self._meta.c.value).where(self._meta.c.name == "schema")).first()
                version = None if row is None else row[0]
                if version == str(SCHEMA_VERSION):
                    return
                if version is not None:
                    raise JobStoreError(
                        self._alias,
                        f"its tables have the schema version {version}, and this release of schedcore reads {SCHEMA_VERSION}; "
                        f"use the release that made them, or a newer one",
                    )
            if found:
                raise JobStoreError(
                    self._alias,
                    f"there is a table {found[0]!r} that schedcore did not make; give another tablename, or another database",
                )
            if not create:
                raise JobStoreError(self._alias, "the database has no tables of schedcore; is it the right one?")
        with self._lock, self._errors("create the tables"), self._engine.connect() as connection:
            if self._dialect.begin_write:
                connection.exec_driver_sql(self._dialect.begin_write)
            with ExitStack() as undo:
                undo.callback(connection.rollback)
                self._jobs.metadata.create_all(connection, tables=[self._jobs, self._runs, self._meta])
                connection.execute(sa.insert(self._meta).values(name="schema", value=str(SCHEMA_VERSION)))
                connection.commit()
                undo.pop_all()

    def _mend(self, cursor: Any) -> None:
        """Jobs that were set aside and can be loaded again go on where they stood."""
        cursor.execute(self._sql.broken)
        rows = cursor.fetchall()
        loaded = self._load(cursor, rows)
        mended = [(uid,) for uid, _ in rows if loaded[uid].reason is None]
        if mended:
            cursor.executemany(self._sql.mend, mended)
            for (uid,) in mended:
                self._cache.pop(uid, None)

    # -- transactions ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that writes, committed at the end. One at a time."""
        if self._read_only:
            raise JobStoreError(self._alias, "it was opened for reading only")
        with self._lock, self._transaction(doing, self._dialect.begin_write, write=True) as cursor:
            yield cursor

    @contextmanager
    def _reading(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that reads one state of the database."""
        with self._read_lock, self._transaction(doing, self._dialect.begin_read, write=False) as cursor:
            yield cursor

    @contextmanager
    def _transaction(self, doing: str, begin: str | None, *, write: bool) -> Iterator[Any]:
        if not self._opened:
            raise JobStoreError(self._alias, "it is not open; start() opens it, shutdown() closes it")
        with self._errors(doing), self._engine.connect() as connection:
            driver = connection.connection
            cursor = driver.cursor()
            committed = False
            try:
                if begin is not None:
                    cursor.execute(begin)
                yield cursor
                if write:
                    driver.commit()
                    committed = True
            finally:
                if not committed:
                    driver.rollback()
                cursor.close()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Errors of the driver and of SQLAlchemy become ours."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            cause = getattr(error, "orig", None) or error
            message, transient = self._explain(cause)
            raise JobStoreError(self._alias, f"cannot {doing}: {message}", transient=transient) from cause

    def _explain(self, error: BaseException) -> tuple[str, bool]:
        """What to tell of a driver's error, and whether trying again can help."""
        code = getattr(error, "sqlite_errorname", "") or ""
        database = self._engine.url.database or ""
        if code.startswith("SQLITE_NOTADB"):
            return f"{database!r} is not an SQLite database; give another path, or move that file away", False
        if code.startswith("SQLITE_CORRUPT"):
            return (
                f"{database!r} is damaged ({error}); put a copy back in its place, or move it away to begin anew",
                False,
            )
        if code.startswith("SQLITE_CANTOPEN"):
            folder = os.path.dirname(os.path.abspath(database))
            if not os.path.isdir(folder):
                return f"the folder {folder!r} does not exist; create it, or give another path", False
            if os.path.isdir(database):
                return f"{database!r} is a folder; give the path of a file", False
            return f"{database!r} cannot be opened ({error}); may this user read and write it and its folder?", True
        if code.startswith("SQLITE_READONLY"):
            return f"{database!r} cannot be written ({error}); may this user write it and its folder?", False
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"another process keeps the database locked ({error})", True
        if code.startswith("SQLITE_FULL"):
            return f"the disk is full ({error})", True
        if code.startswith("SQLITE_IOERR"):
            return f"{database!r} cannot be read or written ({error}); is its disk full, or failing?", True
        transient = code.startswith(("SQLITE_NOMEM", "SQLITE_PROTOCOL"))
        return str(error), transient or isinstance(error, sa.exc.TimeoutError)

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
        for uid, version, job_id, payload in _by_keys(cursor, self._sql.payloads, missing):
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
            _check_id(job.id)
            rows.append(
                (
                    job.id,
                    codec.encode(job),
                    str(state),
                    int(job.trigger.elapsed),
                    fire_us,
                    due_us if state is JobState.ACTIVE else None,
                    reason,
                )
            )
        with self._writing("add jobs") as cursor:
            taken = {found[0] for found in _by_keys(cursor, self._sql.taken, [row[0] for row in rows])}
            for row in rows:
                if row[0] in taken:
                    raise ConflictingIdError(row[0])
                taken.add(row[0])
            cursor.executemany(self._sql.add, rows)
            room = max(0, _CACHE - len(self._cache))
            fresh = {job.id: job for job, *_ in entries[:room] if _is_value(job)}
            if fresh:
                uids = list(_by_keys(cursor, self._sql.uids, list(fresh)))
        if fresh:
            # What was just written need not be read back. Only after the commit: another thread may be looking already.
            for uid, job_id in uids:
                job = fresh[job_id]
                record = StoredRecord(*job._replace(func_ref=reference(job)))
                record.uid, record.version = uid, 1
                self._cache[uid] = record

    def check(self, job: JobRecord) -> None:
        _check_id(job.id)
        self.codec.encode(job)

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
            cursor.execute(self._sql.entry, (job_id,))
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
            place = (str(new.state), new.fire_us, new.due_us if new.state is JobState.ACTIVE else None, new.reason)
            if payload is None:
                cursor.execute(self._sql.replace_place, (*place, uid))
            else:
                cursor.execute(self._sql.replace, (*place, payload, int(new.job.trigger.elapsed), uid))
            if skipped:
                cursor.executemany(self._sql.skip, [_skip_row(uid, record) for record in skipped])
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
            cursor.execute(self._sql.entry, (job_id,))
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
        with self._lock, self._transaction("look for due jobs", self._dialect.begin_read, write=False) as cursor:
            claimed = self._claimed
            cursor.execute(self._sql.due, (now.wall_us, now.steady_us, limit + len(claimed)))
            rows = cursor.fetchall()
            if claimed:
                rows = [row for row in rows if row[0] not in claimed][:limit]
            if not rows:
                return claims
            rows.sort(key=_due_order)
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
                fences = dict(_by_keys(cursor, self._sql.fences, uids))
                wanted = {(d.claim.token[0], fire_us) for d in decisions for fire_us in d.fires}
                on_record = {key for key in _by_keys(cursor, self._sql.known_runs, uids) if key in wanted}
            for decision in decisions:
                claim, fires, skipped, next_us, due_us, broken, _ = decision
                uid, fence = token = claim.token
                if claimed.get(uid) != fence or (careful and fences.get(uid) != fence):
                    dropped.append(decision)
                    continue
                if broken is not None:
                    # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
                    fire_us = None if fires or skipped else _instant(claim.fire_us)
                    breaks.append((fire_us, broken, uid, fence))
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
            for statement, rows in ((self._sql.move, moves), (self._sql.end, ends), (self._sql.break_, breaks)):
                if rows:
                    cursor.executemany(statement, rows)
                    if cursor.rowcount != len(rows) and not careful:
                        cursor.connection.rollback()
                        return None
            if submits:
                cursor.executemany(self._sql.submit, submits)
                if cursor.rowcount != len(submits) and not careful:
                    cursor.connection.rollback()
                    return None
            if skips:
                cursor.executemany(self._sql.skip, skips)
            if idle:
                cursor.executemany(self._sql.let_go, [(uid,) for uid in idle])
                cursor.executemany(self._sql.forget, [(uid,) for uid in idle])
            stale.extend(self._stale)
            if len(stale) > _PRUNE_JOBS:
                stale = self._cut(cursor, stale)
        self._stale = set(stale)
        plain = len(moves) == len(submits) == len(decisions) and not skips
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        with self._writing("record that runs began") as cursor:
            cursor.executemany(self._sql.started, [(at_us, run.token, run.fire_us, run.attempt) for run, at_us in runs])

    def finish(self, finishes: Sequence[Finish]) -> None:
        rows = []
        latest_us = 0
        over: set[int] = set()
        ended = self._ended
        for finish in finishes:
            run = finish.run
            finished_us = finish.finished_us
            uid = run.token
            rows.append(
                (
                    str(finish.state),
                    finish.started_us,
                    finished_us,
                    *outcome(finish),
                    uid,
                    run.fire_us,
                    run.attempt,
                )
            )
            if finished_us > latest_us:
                latest_us = finished_us
            if uid in ended:
                over.add(uid)
        if not rows:
            return
        with self._writing("record how runs ended") as cursor:
            cursor.executemany(self._sql.finish, rows)
            if over:
                cursor.executemany(self._sql.let_go, [(uid,) for uid in over])
            if self._stale:
                self._stale = set(self._cut(cursor, list(self._stale)))
            self._delete_old(cursor, latest_us)
        self._ended -= over

    def _cut(self, cursor: Any, stale: list[int]) -> list[int]:
        """Cut the histories of some jobs; returns those that are left for the next time."""
        keep = self._history - 1
        cursor.executemany(self._sql.prune_count, [(uid, uid, keep) for uid in stale[:_PRUNE_JOBS]])
        return stale[_PRUNE_JOBS:]

    def _delete_old(self, cursor: Any, now_us: int) -> None:
        if self._history_age_us is None or now_us - self._aged_us < _AGE_CHECK_US:
            return
        before_us = now_us - self._history_age_us
        cursor.execute(self._sql.old, (before_us, before_us, _PRUNE_ROWS))
        keys = cursor.fetchall()
        if keys:
            cursor.executemany(self._sql.delete_run, keys)
            cursor.executemany(self._sql.forget, list({(key[0],) for key in keys}))
        if len(keys) < _PRUNE_ROWS:
            self._aged_us = now_us

    def next_due(self) -> Due:
        with self._lock, self._transaction("look for the next job", self._dialect.begin_read, write=False) as cursor:
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
                cursor.executemany(self._sql.lose, closed)
            if again:
                cursor.executemany(self._sql.submit, again)
            cursor.execute(self._sql.let_go_all)
            self._ended.update(row[0] for row in rows if row[7] == JobState.ENDED)
        return Recovered(runs, lost)

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        if job_id is not None and not _is_text(job_id):
            return []
        parameters = () if job_id is None else (job_id, job_id)
        with self._reading("list runs") as cursor:
            cursor.execute(self._sql.runs[job_id is not None, failed], (*parameters, limit))
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
    return _lenient(value) if type(value) is bytes else str(value)


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


def _by_keys(cursor: Any, statement: str, keys: Sequence[Any]) -> Iterator[Any]:
    """The rows that a statement with ``IN (\\0)`` gives for many keys."""
    for first in range(0, len(keys), _CHUNK):
        some = keys[first : first + _CHUNK]
        cursor.execute(statement.replace("\0", ", ".join("?" * len(some))), some)
        yield from cursor.fetchall()


def _is_text(job_id: str) -> bool:
    """Whether a database can hold it; what it cannot hold is nobody's id."""
    return isinstance(job_id, str) and (job_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in job_id))


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
    if not _is_text(job_id) or "\0" in job_id:
        raise SerializationError(f"the job id {job_id!r} has characters that a database cannot hold", path="id")


def _is_memory(url: sa.URL) -> bool:
    database = url.database or ""
    return not database or ":memory:" in database or "mode=memory" in database or url.query.get("mode") == "memory"


def _own_engine(url: str | sa.URL, options: Mapping[str, Any] | None, read_only: bool) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, AttributeError) as error:
        raise ConfigurationError(
            f"url={url!r} is not a database URL; write for example 'sqlite:///jobs.sqlite'"
        ) from error
    if backend not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ConfigurationError(f"url: this release has no job store on {backend!r}; it has one on: {known}")
    arguments: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", **(options or {})}
    if _is_memory(parsed):
        # A database in memory is its connection: there can be only one.
        arguments.setdefault("poolclass", StaticPool)
        arguments["connect_args"] = {"check_same_thread": False, **arguments.get("connect_args", {})}
    try:
        engine = sa.create_engine(parsed, **arguments)
    except (sa.exc.SQLAlchemyError, TypeError, ImportError) as error:
        raise ConfigurationError(f"the engine cannot be made: {error}") from error
    sa.event.listen(engine, "connect", _prepare_reader if read_only else _prepare_writer)
    return engine


def _given_engine(engine: sa.Engine | str | None) -> sa.Engine:
    found: Any = resolve(engine) if isinstance(engine, str) else engine
    if not isinstance(found, sa.Engine):
        raise ConfigurationError(
            f"engine must be an engine of sqlalchemy.create_engine (not an asynchronous one), or text that leads to one, "
            f"not {found!r}"
        )
    if found.dialect.name not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ConfigurationError(
            f"engine: this release has no job store on {found.dialect.name!r}; it has one on: {known}"
        )
    if _is_memory(found.url) and not isinstance(found.pool, StaticPool):
        raise ConfigurationError(
            "engine: a database in memory belongs to one connection, and each thread would see another one; "
            "make the engine with poolclass=StaticPool and connect_args={'check_same_thread': False}"
        )
    # The same pool; but on connections that this store checks out, transactions begin when the store says so.
    return found.execution_options(isolation_level="AUTOCOMMIT")


def _prepare_writer(connection: Any, record: object) -> None:
    # synchronous=NORMAL: in WAL mode a commit survives the process, and only a power cut may take the last ones.
    # A page that changes in each batch is copied back from the log once for several (checkpoint: 16 MB), and stays in memory.
    _pragmas(
        connection,
        f"busy_timeout={_BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "wal_autocheckpoint=4000",
        "cache_size=-16000",
    )


def _prepare_reader(connection: Any, record: object) -> None:
    _pragmas(connection, f"busy_timeout={_BUSY_MS}", "query_only=1")


def _pragmas(connection: Any, *settings: str) -> None:
    with ExitStack() as undo:
        undo.callback(connection.close)  # nobody else will
        # A row whose text is damaged must not make all the others unreadable.
        connection.text_factory = _lenient
        for setting in settings:
            connection.execute(f"PRAGMA {setting}").close()
        undo.pop_all()


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")
