"""Who makes the tables of the SQL store, and brings those of an older release up to date.

The version is in the table of meta data. When a scheduler opens tables with an older one, the steps from there to
``SCHEMA_VERSION`` (``_sql_upgrade``) are made one after the other, each in a transaction that also notes the version it leads to.
"""

from __future__ import annotations

import sqlalchemy as sa

from schedcore.errors import JobStoreError
from schedcore.job import JobState
from schedcore.jobstores._sql_connections import Connections
from schedcore.jobstores._sql_rows import DAMAGED
from schedcore.jobstores._sql_upgrade import UPGRADES, Step

__all__ = ["SCHEMA_VERSION", "check_tables", "create_tables"]

SCHEMA_VERSION = 3


def check_tables(database: Connections, noted: str | None, *, create: bool) -> None:
    """Create the tables where there are none, bring those of an older release up to date, and refuse what is not ours.

    ``noted``: the version that is known from their meta data; None: it is not known whether there are any. Where nothing is to
    be created, what is missing or older is refused too. Raises ``JobStoreError``.
    """
    found = _version(database) if noted is None else noted
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


def create_tables(database: Connections) -> None:
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
    steps = [(number + 1, UPGRADES.get(number)) for number in range(int(version), SCHEMA_VERSION)]
    known = [(number, step) for number, step in steps if step is not None]
    return known if len(known) == len(steps) else None


def _version(database: Connections) -> str | None:
    """The version that the tables have; None: there are none. Raises ``JobStoreError`` for tables that are not ours."""
    jobs, schedule, runs, meta = database.tables
    with database.turns.take(), database.read_turns.take(), database.connected("read the tables") as connection:
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
