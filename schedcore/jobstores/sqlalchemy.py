"""Jobs in an SQL database, through SQLAlchemy: on SQLite, the durable store that needs no server, PostgreSQL, MariaDB and MySQL.

**Tables.** ``jobs`` has a row for each job: its id and its payload (``_payload``). ``schedule`` has the place of each job that is
not over: its state, its next fire time, and two counters: ``version`` grows when the definition changes, ``fence`` whenever
anything does. Each run changes that place, and nothing else of the job: so it is small, and has few indexes. ``runs`` has a row
for each run and for each span of skipped fire times; a run's key (job, fire time, attempt) is what makes it happen once: whoever
writes the row runs it. ``meta`` has the schema version, who has the store open, and from where on runs may be live.
(``_sql_tables``, ``_sql_schema``; the statements on them: ``_sql_statements``.)

**Jobs that are over.** A job that has ended or was removed has no place, and lets go of its id at once (``id`` is null,
``former_id`` has it), so that the next job may have it. One that has ended keeps its payload until its last live run is over, for
recovery; without one its row only names its runs, and goes with the last of them.

**One scheduler at a time.** A lock sees to it, on a file beside an SQLite database (``_sql_sqlite``) or in the server
(``_sql_server``); other processes may read meanwhile (``open_reader``). Claims are therefore kept in memory: a claim that was not
committed when the process died never was. What makes commits safe is in the database all the same: the fence, the runs' key,
and on a server the *term* of who has the lock, which each transaction that writes reads first (``_sql_database``).

**Speed.** Statements are text, sent through the driver's own cursor, a batch at once (``_sql_backend``): the time of a batch is
the database's. Payloads are read once and kept (``_sql_definitions``). A commit assumes that all is as it was when the jobs
were claimed, and looks closer only if the number of rows that changed says that it was not (``_sql_runs``).

**Housekeeping.** A job's finished runs beyond ``history`` are deleted every now and then, those older than ``history_age`` once
a minute, a bounded number at a time. Live runs are never deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobLookupError,
    JobStoreInUseError,
    MissingExtraError,
    SerializationError,
)
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import storable
from schedcore.jobstores._payload import Codec
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, RunJournal, StoreHost, StoreTraits
from schedcore.run import Finish, Run, RunRecord
from schedcore.serializers import Serializer

try:
    import sqlalchemy as sa

    from schedcore.jobstores._sql_database import Database
    from schedcore.jobstores._sql_definitions import Definitions
    from schedcore.jobstores._sql_journal import Journal
    from schedcore.jobstores._sql_options import backend_and_engine
    from schedcore.jobstores._sql_rows import entry, instant, is_text, skip_row, text
    from schedcore.jobstores._sql_runs import Runs, live_from
    from schedcore.jobstores._sql_schema import SCHEMA_VERSION
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'sqlalchemy'", "sqlalchemy") from error

__all__ = ["SCHEMA_VERSION", "SQLAlchemyJobStore", "open_reader"]

# More rows than any database has; not all of them know a limit that is none.
_NO_LIMIT = 2**62


class SQLAlchemyJobStore(JobStore):
    """Keeps jobs and runs in an SQL database: SQLite, PostgreSQL (through psycopg 3), MariaDB or MySQL (through PyMySQL).

    :param url: the database's URL, for example ``sqlite:///jobs.sqlite`` or ``postgresql://user:password@host/database``.
    :param engine: an SQLAlchemy engine, or text such as ``"module:name"`` that leads to one, in the place of a URL. It is never
        disposed of, and its pool, its connections and its other users' transactions are left as they are.
    :param tablename: the name of the table of jobs; those of runs and meta data have it as their first part.
    :param metadata: an SQLAlchemy ``MetaData`` to which the tables are to belong. What makes its tables may make these, too.
    :param pickle_protocol: with ``serializer="pickle"``: the protocol.
    :param tableschema: the schema (on SQLite: the attached database; on MySQL: the database) of the tables; None: that of
        ``metadata``, if it has one.
    :param engine_options: arguments for ``sqlalchemy.create_engine``, beside the URL.
    :param timeout: seconds that the database may take for an answer; None: 30, and on SQLite 10 for another process's lock.
        Connecting, locks and statements have limits that follow from it, or others in ``engine_options``.
    :param serializer: ``"json"``, ``"cbor"``, ``"pickle"``, a ``Serializer``, or text that leads to one: how jobs become bytes.
    :param signing_key: one or several keys (bytes, or text): records are signed with the first, and read only if one of them
        signed them (``schedcore.serializers.signed``).
    :param allowed_refs: what functions stored jobs may name, such as ``["myapp.jobs:*"]``; None: all but those of the standard
        library that run programs or code, or change files, which draws no boundary (``schedcore.allowed``).
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
        if not (isinstance(tablename, str) and tablename and is_text(tablename)):
            raise ConfigurationError(f"tablename must be text, not {tablename!r}")
        if tableschema is not None and not (isinstance(tableschema, str) and is_text(tableschema)):
            raise ConfigurationError(f"tableschema must be text, not {tableschema!r}")
        if engine_options is not None and not isinstance(engine_options, Mapping):
            raise ConfigurationError(f"engine_options must be a dictionary, not {engine_options!r}")
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigurationError(f"history must be a number of run records from 1 up, not {history!r}")
        for name, value in (("history_age", history_age), ("timeout", timeout)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < 1e9):
                raise ConfigurationError(f"{name} must be a number of seconds above 0, or None, not {value!r}")
        self.codec = Codec(
            serializer, pickle_protocol=pickle_protocol, signing_key=signing_key, allowed_refs=allowed_refs
        )
        self._read_only = bool(read_only)
        backend, found, timeout_s = backend_and_engine(url, engine, engine_options, timeout, read_only=self._read_only)
        backend.check_name(tablename)
        durable = backend.is_durable(found.url)
        self.traits = self.traits._replace(durable=durable, journals=durable and backend.journals)
        if metadata is not None:
            if not isinstance(metadata, sa.MetaData):
                raise ConfigurationError(f"metadata must be an sqlalchemy.MetaData, not {metadata!r}")
            tableschema = tableschema or metadata.schema
        place = metadata, tablename, tableschema or None
        self._database = Database(
            backend,
            found,
            timeout_s,
            place,
            owned=engine is None,
            read_only=self._read_only,
            max_bytes=self.codec.max_bytes,
        )
        self._sql = self._database.sql
        self._definitions = Definitions(self.codec, backend, self._sql, import_func=not self._read_only)
        history_age_us = None if history_age is None else int(history_age * 1e6)
        self._journal = Journal(self._database)
        self._runs = Runs(self._database, self._definitions, self._journal, min(history, _NO_LIMIT), history_age_us)

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def start(self, scheduler: StoreHost, alias: str) -> None:
        """Open the database, keep others off it, create what is missing, and take back broken jobs whose code is there again.

        Raises ``JobStoreInUseError`` while another scheduler has it open, and ``JobStoreError``.
        """
        with self._database.turns.take():
            if self._database.is_open:
                raise JobStoreInUseError(
                    "this job store object is in use by a scheduler already; give each scheduler a job store of its own"
                )
            super().start(scheduler, alias)
            self._open()

    def _open(self) -> None:
        self._reset()
        self._database.open(self._alias, self._take_over)
        self._journal.use()

    def _reset(self) -> None:
        self._definitions.kept.clear()
        self._runs.reset()

    def _take_over(self, cursor: Any) -> None:
        """See what an earlier scheduler has left. Jobs that were set aside and can be loaded again go on where they stood."""
        doubtful = self._journal.read(cursor)
        for meta in (self._database.meta, None):
            noted = self._runs.noted(cursor, meta)
            live_from_us = live_from(noted)
            cursor.execute(self._sql.left, (live_from_us, noted))
            left = cursor.fetchall()
            # What is known of the meta data was read before this transaction.
            if all(row[0] >= 0 for row in left):
                break
        rows = [row for row in left if row[0] > 0]
        nothing_left = len(rows) == len(left)
        self._runs.take_over(live_from_us, nothing_left=nothing_left, doubtful=doubtful)
        if nothing_left or doubtful == set():
            self._journal.begin(cursor)
        loaded = self._definitions.load(cursor, rows)
        mended = [(uid,) for uid, found in loaded.items() if found.reason is None]
        if mended:
            self._sql.mend(cursor, mended)
            for (uid,) in mended:
                self._definitions.kept.drop(uid)

    def shutdown(self) -> None:
        with self._database.turns.take(), self._database.read_turns.take():
            self._journal.close()
            self._database.close()
            self._reset()

    def awaited_here(self) -> bool:
        return self._database.turns.awaited_here() or self._database.read_turns.awaited_here()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (url={self._database.engine.url!r})>"

    # -- notes -----------------------------------------------------------------------------------------------------------

    def get_note(self, name: str) -> str | None:
        meta = self._database.meta
        if meta is not None:
            return meta.get(f"note: {name}")
        with self._database.reading("read a note") as cursor:
            cursor.execute(self._sql.meta, (f"note: {name}",))
            row = cursor.fetchone()
        return None if row is None else str(row[0])

    def put_note(self, name: str, value: str) -> None:
        note = {f"note: {name}": value}
        # The first run after a start would wait for the disk. An older note does no harm: it tells of an earlier moment.
        with self._database.writing("write a note", lasting=False) as cursor:
            self._database.put_meta(cursor, note)
        if self._database.meta is not None:
            self._database.meta |= note

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
        for entry in entries:
            self._check_id(entry.job.id)
        payloads = self.codec.encode_all([entry.job for entry in entries])
        rows = []
        for (job, state, fire_us, due_us, reason, _), payload in zip(entries, payloads, strict=True):
            rows.append(
                (
                    job.id,
                    payload,
                    str(state),
                    int(job.trigger.elapsed),
                    fire_us,
                    due_us if state is JobState.ACTIVE else None,
                    storable(reason),
                )
            )
        if not rows:
            return
        host = self._scheduler  # None: it is closed, which is told below
        fresh = {} if host is None else self._definitions.worth_keeping(entries, payloads, host.clock.wall_us())
        add_one = self._sql.add_one
        uids: Sequence[Any]
        if add_one is not None and len(rows) == 1 and not skipped:
            with self._database.writing("add a job", single=True) as cursor:
                uid = add_one(cursor, rows[0])
            if uid is None:
                raise ConflictingIdError(rows[0][0])
            uids = [(uid, rows[0][0])]
        else:
            uids = self._add(rows, list(fresh), skipped)
        if fresh:
            self._definitions.keep(fresh, uids)

    def _add(
        self, rows: Sequence[tuple[Any, ...]], fresh: Sequence[str], skipped: Sequence[RunRecord]
    ) -> Sequence[Any]:
        """Add many jobs, with records of them; the numbers of those that are named."""
        by_keys = self._database.backend.by_keys
        with self._database.writing("add jobs") as cursor:
            try:
                self._sql.add(cursor, rows)
            except self._database.key_taken:
                # Nearly always there is none: only now it is asked which.
                cursor.connection.rollback()
                taken = {text(found[0]) for found in by_keys(cursor, self._sql.taken, [row[0] for row in rows])}
                for row in rows:
                    if row[0] in taken:
                        raise ConflictingIdError(row[0]) from None
                    taken.add(row[0])
                raise
            if skipped:
                found = by_keys(cursor, self._sql.uids, list({record.job_id for record in skipped}))
                uids = {text(job_id): uid for uid, job_id in found}
                self._sql.skip(cursor, [skip_row(uids[record.job_id], record) for record in skipped])
            return by_keys(cursor, self._sql.uids, fresh) if fresh else []

    def check(self, job: JobRecord) -> None:
        self._check_id(job.id)
        self.codec.encode(job)

    def _check_id(self, job_id: str) -> None:
        if not is_text(job_id):
            raise SerializationError(f"the job id {job_id!r} has characters that a database cannot hold", path="id")
        backend = self._database.backend
        if backend.longest_id is not None and len(job_id) > backend.longest_id:
            raise SerializationError(
                f"the job id {job_id[:40]!r}… has {len(job_id)} characters; in {backend.title} it may have {backend.longest_id}",
                path="id",
            )

    def get_entry(self, job_id: str) -> JobEntry | None:
        if not is_text(job_id):
            return None
        with self._database.reading("look a job up") as cursor:
            cursor.execute(self._sql.entry, (job_id,))
            row = cursor.fetchone()
            return None if row is None else entry(row, self._definitions.load(cursor, [row[:2]])[row[0]])

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        sql = self._sql
        left = _NO_LIMIT if limit is None else int(limit)
        rows: list[tuple[Any, ...]] = []
        with self._database.reading("list jobs") as cursor:
            if after is None:
                cursor.execute(sql.scheduled.replace("\0", str(left)))
                rows += cursor.fetchall()
            elif after.due_us is not None:
                place = (after.due_us, after.job.id, after.due_us)
                cursor.execute(sql.scheduled_after.replace("\0", str(left)), place * 2)
                rows += cursor.fetchall()
            left -= len(rows)
            if left > 0:
                if after is None or after.due_us is not None:
                    cursor.execute(sql.idle.replace("\0", str(left)))
                else:
                    cursor.execute(sql.idle_after.replace("\0", str(left)), (after.job.id,) * sql.idle_ranges)
                rows += cursor.fetchall()
            loaded = self._definitions.load(cursor, [(row[0], row[1]) for row in rows])
        # The jobs of some may have been deleted, by whoever did not know of their places.
        return [entry(row[:6], loaded[row[0]]) for row in rows if row[0] in loaded]

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        job_id = old.job.id
        payload = None if new.job is old.job else self.codec.encode(new.job)
        with self._database.writing("change a job") as cursor:
            cursor.execute(self._sql.entry_to_change, (job_id,))
            row = cursor.fetchone()
            if row is None:
                raise JobLookupError(job_id)
            uid, version, _, fire_us, due_us, _ = row
            if (
                instant(fire_us) != old.fire_us
                or instant(due_us) != old.due_us
                or not self._definitions.is_same(cursor, uid, version, old.job)
            ):
                return False
            due_us = new.due_us if new.state is JobState.ACTIVE else None
            place = (str(new.state), new.fire_us, due_us, storable(new.reason))
            if payload is None:
                cursor.execute(self._sql.replace_place, (*place, uid))
            else:
                cursor.execute(self._sql.replace, (*place, int(new.job.trigger.elapsed), uid))
                cursor.execute(self._sql.replace_payload, (payload, uid))
            if skipped:
                self._sql.skip(cursor, [skip_row(uid, record) for record in skipped])
            self._drop(uid)
        return True

    def _drop(self, uid: int) -> None:
        """A job was changed or removed: nothing that was known of it holds any more."""
        self._definitions.kept.drop(uid)
        self._runs.claimed.pop(uid, None)

    def remove_job(self, job_id: str) -> None:
        if not is_text(job_id):
            raise JobLookupError(job_id)
        with self._database.writing("remove a job") as cursor:
            cursor.execute(self._sql.entry_to_change, (job_id,))
            row = cursor.fetchone()
            if row is None:
                raise JobLookupError(job_id)
            uid = row[0]
            for statement in (self._sql.unplace, self._sql.delete, self._sql.remove):
                cursor.execute(statement, (uid,))
            self._drop(uid)

    def remove_all_jobs(self) -> None:
        with self._database.writing("remove all jobs") as cursor:
            cursor.execute(self._sql.unplace_all)
            cursor.execute(self._sql.delete_all)
            cursor.execute(self._sql.remove_all)
            self._definitions.kept.clear()
            self._runs.claimed.clear()

    # -- the way of a run -----------------------------------------------------------------------------------------------

    @property
    def journal(self) -> RunJournal | None:
        return self._journal.file

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        return self._runs.acquire(now, limit)

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        return self._runs.commit(decisions, now_us)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        self._runs.started(runs)

    def finish(self, finishes: Sequence[Finish]) -> None:
        self._runs.finish(finishes)

    def withdraw(self, runs: Sequence[Run]) -> None:
        self._runs.withdraw(runs)

    def next_due(self) -> Due:
        return self._runs.next_due()

    def recover(self, known: Collection[Run]) -> Recovered:
        scheduler = self._scheduler
        now_us = scheduler.clock.wall_us() if scheduler is not None else int(datetime.now(UTC).timestamp() * 1e6)
        return self._runs.recover(known, now_us)

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        return self._runs.records(job_id, failed=failed, limit=limit)


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
