"""The tables of the SQL store: what they are, who makes them, and how those of an older release become those of this one.

The version is in the table of meta data. When a scheduler opens tables with an older one, the steps from there to
``SCHEMA_VERSION`` are made one after the other, each in a transaction that also notes the version it leads to. MariaDB and MySQL
end a transaction at each statement that changes a table: a step must be one that can be made again after it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from schedcore.errors import ConfigurationError, JobStoreError
from schedcore.job import JobState
from schedcore.jobstores._sql_backend import Backend
from schedcore.jobstores._sql_rows import DAMAGED
from schedcore.jobstores._sql_statements import LIVE_FROM
from schedcore.run import RunState

if TYPE_CHECKING:
    from schedcore.jobstores._sql_database import Database

__all__ = ["SCHEMA_VERSION", "Step", "Tables", "check_tables", "create_tables", "make_tables"]

SCHEMA_VERSION = 3

# Percent of a page of PostgreSQL's that new runs and places fill. Each is written once more, beside what it was.
_FILLED = 45

# What version 2 had in the table of jobs, beside what a job is.
_PLACE = ("version", "fence", "state", "elapsed", "fire_us", "due_us", "reason")


class Tables(NamedTuple):
    """Those of a store; see ``sqlalchemy``."""

    jobs: sa.Table
    schedule: sa.Table
    runs: sa.Table
    meta: sa.Table


def _part_schedule(connection: sa.Connection, tables: Tables) -> None:
    """The places of jobs were in the table of jobs, so that each run wrote all of a job anew."""
    jobs, schedule = tables.jobs, tables.schedule
    there = {column["name"] for column in sa.inspect(connection).get_columns(jobs.name, jobs.schema)}
    if "fence" in there:
        old = sa.Table(jobs.name, sa.MetaData(), *map(sa.Column, ("uid", "id", *_PLACE)), schema=jobs.schema)
        sa.Index(f"{jobs.name}_due", old.c.elapsed, old.c.due_us, old.c.id).drop(connection, checkfirst=True)
        # Its index is made when it is filled, in a part of the time.
        connection.execute(sa.schema.CreateTable(schedule, if_not_exists=True))
        connection.execute(sa.delete(schedule))
        columns = ("uid", "id", *_PLACE)
        of_jobs = sa.select(*(old.c[name] for name in columns)).where(old.c.id.is_not(None))
        connection.execute(sa.insert(schedule).from_select(columns, of_jobs))
        for index in schedule.indexes:
            index.create(connection, checkfirst=True)
        drop = [f"DROP COLUMN {name}" for name in _PLACE]
        # SQLite drops them one by one, in a transaction; MariaDB and MySQL, which end theirs here, all at once or none.
        table = connection.dialect.identifier_preparer.format_table(jobs)
        for some in drop if connection.dialect.name == "sqlite" else [", ".join(drop)]:
            connection.exec_driver_sql(f"ALTER TABLE {table} {some}")


#: Changes the tables on a connection.
Step = Callable[[sa.Connection, Tables], None]


def _find_runs_without_writing(connection: sa.Connection, tables: Tables) -> None:
    """There were indexes on live runs and on those that failed, in which something changed whenever a run ended."""
    runs, meta = tables.runs, tables.meta
    c = runs.c
    # Where the last live runs begin; or, if there are none, where there were any.
    live_from = connection.execute(sa.select(sa.func.min(c.fire_us)).where(c.finished_us.is_(None))).scalar()
    if live_from is None:
        live_from = connection.execute(sa.select(sa.func.max(c.fire_us))).scalar()
    connection.execute(sa.delete(meta).where(meta.c.name == LIVE_FROM))
    if live_from is not None:
        connection.execute(sa.insert(meta).values(name=LIVE_FROM, value=str(live_from)))
    found = sa.Table(runs.name, sa.MetaData(), schema=runs.schema, autoload_with=connection)
    preparer = connection.dialect.identifier_preparer
    alter = f"ALTER TABLE {preparer.format_table(runs)}"
    if c.failed.name not in found.c:
        column = sa.schema.CreateColumn(c.failed).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"{alter} ADD COLUMN {column}")
    failed = c.state.in_([str(RunState.FAILED), str(RunState.LOST)])
    connection.execute(sa.update(runs).where(failed, c.failed.is_(None)).values(failed=1))
    (wanted,) = [index for index in runs.indexes if c.failed in list(index.columns)]
    there = False
    for index in found.indexes:
        columns = index.columns.keys()
        if columns == wanted.columns.keys():
            there = True
        elif columns != ["job_uid", "fire_us"]:
            index.drop(connection)
    if not there:
        wanted.create(connection)
    if "kind" in found.c:
        connection.exec_driver_sql(f"{alter} DROP COLUMN kind")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"{alter} SET (fillfactor = {_FILLED})")


# By the version from which a step leads to the next one. Version 1 is the first.
_UPGRADES: dict[int, Step] = {1: _find_runs_without_writing, 2: _part_schedule}


def make_tables(backend: Backend, metadata: sa.MetaData, name: str, schema: str | None) -> Tables:
    """The tables, as part of ``metadata``, where they may be already."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    blob = sa.LargeBinary(2**32 - 1)
    key, long_text = backend.key_type, backend.text_type

    def own(**options: Any) -> dict[str, Any]:
        """Those for this kind of database. For the others SQLAlchemy would load all that it knows of them."""
        return {option: value for option, value in options.items() if option.partition("_")[0] in backend.dialects}

    def table(suffix: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
        full = f"{name}{suffix}"
        known = metadata.tables.get(full if schema is None else f"{schema}.{full}")
        if known is not None:
            if set(known.columns.keys()) != {part.name for part in parts if isinstance(part, sa.Column)}:
                raise ConfigurationError(
                    f"metadata: it has a table {known.fullname!r} with other columns; give another tablename"
                )
            return known
        options |= own(
            mysql_engine="InnoDB", mysql_charset="utf8mb4", mariadb_engine="InnoDB", mariadb_charset="utf8mb4"
        )
        return sa.Table(full, metadata, *parts, schema=schema, **options)

    formers, failed = sa.text("former_id IS NOT NULL"), sa.text("failed = 1")
    jobs = table(
        "",
        sa.Column("uid", number, primary_key=True, autoincrement=True),
        sa.Column("id", key, unique=True),
        sa.Column("former_id", key),
        sa.Column("payload", blob),
        sa.Index(f"{name}_former", "former_id", **own(sqlite_where=formers, postgresql_where=formers)),
        **own(sqlite_autoincrement=True),
    )
    schedule = table(
        "_schedule",
        sa.Column("uid", number, primary_key=True, autoincrement=False),
        sa.Column("id", key, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("elapsed", sa.SmallInteger, nullable=False),
        sa.Column("fire_us", sa.BigInteger),
        sa.Column("due_us", sa.BigInteger),
        sa.Column("reason", long_text),
        # Null but for active jobs, so that what is paused or broken costs a due query nothing. The id is for lists.
        sa.Index(f"{name}_schedule_due", "elapsed", "due_us", "id"),
        **own(postgresql_with={"fillfactor": _FILLED}),
    )
    runs = table(
        "_runs",
        # The fire time first: what runs together is written together, at the end of the table, and what is oldest is at its
        # beginning. By job, each run would change a page of its own.
        sa.Column("fire_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("job_uid", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", long_text),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger),
        sa.Column("submitted_us", sa.BigInteger),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("finished_us", sa.BigInteger),
        sa.Column("error", long_text),
        sa.Column("traceback", long_text),
        sa.Column("result", long_text),
        sa.Column("output", long_text),
        sa.Column("exit_code", sa.Integer),
        # 1 for what is listed as failed, and null. Nothing that an index is on changes when a run ends well, so that none is
        # written then; and PostgreSQL puts the new row beside the old one, if there is room.
        sa.Column("failed", sa.SmallInteger),
        sa.Index(f"{name}_runs_job", "job_uid", "fire_us"),
        sa.Index(f"{name}_runs_failed", "failed", "fire_us", **own(sqlite_where=failed, postgresql_where=failed)),
        listeners=backend.run_listeners(),
        **own(sqlite_with_rowid=False, postgresql_with={"fillfactor": _FILLED}),
    )
    meta = table(
        "_meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", long_text, nullable=False),
    )
    return Tables(jobs, schedule, runs, meta)


def check_tables(database: Database, *, create: bool) -> None:
    """Create the tables where there are none, bring those of an older release up to date, and refuse what is not ours.

    Where nothing is to be created, what is missing or older is refused too. Raises ``JobStoreError``.
    """
    found = _version(database)
    if found == str(SCHEMA_VERSION):
        return
    if found is not None:
        steps = _steps_from(found)
        if steps is None:
            raise JobStoreError(
                database.alias,
                f"its tables have the schema version {found}, and this release of schedcore reads {SCHEMA_VERSION}; "
                f"use the release that made them, or a newer one",
            )
        if not create:
            raise JobStoreError(
                database.alias,
                f"its tables have the schema version {found}, of an older release of schedcore; a scheduler that opens "
                f"them changes them to {SCHEMA_VERSION}",
            )
        meta = database.tables.meta
        for version, step in steps:
            with database.changing_tables(f"change the tables to the schema version {version}") as connection:
                step(connection, database.tables)
                connection.execute(sa.update(meta).where(meta.c.name == "schema").values(value=str(version)))
        return
    if not create:
        raise JobStoreError(database.alias, "the database has no tables of schedcore; is it the right one?")
    create_tables(database)


def create_tables(database: Database) -> None:
    """Create those that are missing, and note the version. Raises ``JobStoreError``."""
    with database.changing_tables("create the tables") as connection:
        # Those that are there were made from the user's metadata, or by a start that was interrupted where each statement stands.
        inspector = sa.inspect(connection)
        made = set()
        for table in database.tables:
            there = inspector.has_table(table.name, table.schema)
            table.metadata.create_all(connection, tables=[table])
            for index in table.indexes if there else ():
                index.create(connection, checkfirst=True)
            if not there:
                made.add(table)
            database.watch.renew()
        jobs, schedule, _, meta = database.tables
        if (jobs in made) != (schedule in made):
            _make_consistent(connection, jobs, schedule)
        if connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema")).scalar() is None:
            connection.execute(sa.insert(meta).values(name="schema", value=str(SCHEMA_VERSION)))


def _make_consistent(connection: sa.Connection, jobs: sa.Table, schedule: sa.Table) -> None:
    """One of the two was lost: a place without a job goes, and a job without a place waits for another one."""
    connection.execute(sa.delete(schedule).where(schedule.c.uid.not_in(sa.select(jobs.c.uid))))
    without = sa.select(jobs.c.uid, jobs.c.id, *map(sa.literal, (1, 1, str(JobState.BROKEN), 1, DAMAGED))).where(
        jobs.c.id.is_not(None), jobs.c.uid.not_in(sa.select(schedule.c.uid))
    )
    columns = ("uid", "id", "version", "fence", "state", "elapsed", "reason")
    connection.execute(sa.insert(schedule).from_select(columns, without))


def _steps_from(version: str) -> list[tuple[int, Step]] | None:
    """The steps from a version, each with the one that it leads to; None: there is no way."""
    if not version.isdecimal() or not 0 < int(version) < SCHEMA_VERSION:
        return None
    steps = [(number + 1, _UPGRADES.get(number)) for number in range(int(version), SCHEMA_VERSION)]
    known = [(number, step) for number, step in steps if step is not None]
    return known if len(known) == len(steps) else None


def _version(database: Database) -> str | None:
    """The version that the tables have; None: there are none. Raises ``JobStoreError`` for tables that are not ours."""
    if database.backend.remote:
        # Nearly always they are there. Asking what there is costs several times as much.
        with suppress(JobStoreError):
            found = database.read_meta()
            if "schema" in found:
                return found["schema"]
    jobs, schedule, runs, meta = database.tables
    with database.lock, database.read_lock, database.connected("read the tables") as connection:
        inspector = sa.inspect(connection)
        if inspector.has_table(meta.name, meta.schema):
            value = connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema")).scalar()
            if value is not None:
                return str(value)
        for table in (jobs, schedule, runs):
            if not inspector.has_table(table.name, table.schema):
                continue
            if {column["name"] for column in inspector.get_columns(table.name, table.schema)} != {
                *table.columns.keys()
            }:
                raise JobStoreError(
                    database.alias,
                    f"there is a table {table.name!r} that schedcore did not make; give another tablename, or another "
                    f"database",
                )
    return None
