"""How the tables of an older release become those of this one, step by step; who makes the steps: ``_sql_schema``.

MariaDB and MySQL end a transaction at each statement that changes a table: a step is one that can be made again after it was
interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from schedcore.jobstores._sql_statements import LIVE_FROM
from schedcore.jobstores._sql_tables import FILLED, Tables
from schedcore.run import RunState

__all__ = ["UPGRADES", "Step"]

#: Changes the tables on a connection.
Step = Callable[[sa.Connection, Tables], None]

# What version 2 had in the table of jobs, beside what a job is.
_PLACE = ("version", "fence", "state", "elapsed", "fire_us", "due_us", "reason")


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
        connection.exec_driver_sql(f"{alter} SET (fillfactor = {FILLED})")


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


# By the version from which a step leads to the next one. Version 1 is the first.
UPGRADES: dict[int, Step] = {1: _find_runs_without_writing, 2: _part_schedule}
