"""The tables of the SQL store: what is in them is told in ``sqlalchemy``."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from schedcore.errors import ConfigurationError
from schedcore.jobstores._sql_backend import Backend

__all__ = ["FILLED", "Tables", "make_tables"]

# Percent of a page of PostgreSQL's that new runs and places fill. Each is written once more, beside what it was.
FILLED = 45


class Tables(NamedTuple):
    """Those of a store; see ``sqlalchemy``."""

    jobs: sa.Table
    schedule: sa.Table
    runs: sa.Table
    meta: sa.Table


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
        **own(postgresql_with={"fillfactor": FILLED}),
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
        **own(sqlite_with_rowid=False, postgresql_with={"fillfactor": FILLED}),
    )
    meta = table(
        "_meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", long_text, nullable=False),
    )
    return Tables(jobs, schedule, runs, meta)
