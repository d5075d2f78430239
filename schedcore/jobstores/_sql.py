"""The tables of the SQL store and the statements on them, as text: see ``sqlalchemy`` for what they mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from schedcore.job import JobState
from schedcore.run import RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["DIALECTS", "GONE", "Dialect", "Statements", "make_tables"]

# The state of a row whose job is over and only names its runs; see the module's docstring there.
GONE = "gone"


class Dialect(NamedTuple):
    """What databases differ in. A new one is a row here, and a way to keep a second scheduler off."""

    placeholder: str
    begin_write: str | None  #: sent at the start of a transaction that writes; None: the driver does what is needed
    begin_read: str | None
    insert_new: str  #: INSERT that passes over a row whose key is there


DIALECTS = {"sqlite": Dialect("?", "BEGIN IMMEDIATE", "BEGIN", "INSERT OR IGNORE")}


class Statements:
    """The statements, for one dialect and the names of one store's tables."""

    def __init__(self, dialect: Dialect, jobs: str, runs: str, meta: str) -> None:
        def text(statement: str) -> str:
            return statement.format(jobs=jobs, runs=runs, meta=meta, new=dialect.insert_new).replace(
                "?", dialect.placeholder
            )

        entry = "uid, version, state, fire_us, due_us, reason"
        self.add = text(
            "INSERT INTO {jobs} (id, payload, version, fence, state, elapsed, fire_us, due_us, reason) "
            "VALUES (?, ?, 1, 1, ?, ?, ?, ?, ?)"
        )
        self.uids = text("SELECT uid, id FROM {jobs} WHERE id IN (\0)")
        self.taken = text("SELECT id FROM {jobs} WHERE id IN (\0)")
        self.entry = text(f"SELECT {entry} FROM {{jobs}} WHERE id = ?")
        listing = f"SELECT {entry} FROM {{jobs}} WHERE id IS NOT NULL %s ORDER BY due_us IS NULL, due_us, id"
        self.entries = text(listing % "")
        self.entries_after_due = text(listing % "AND (due_us > ? OR (due_us = ? AND id > ?) OR due_us IS NULL)")
        self.entries_after_idle = text(listing % "AND due_us IS NULL AND id > ?")
        # Whatever is in the column: text that is not UTF-8 would be an error of the driver for all of them.
        self.payloads = text(
            "SELECT uid, version, coalesce(id, former_id), CAST(payload AS BLOB) FROM {jobs} WHERE uid IN (\0)"
        )
        place = "version = version + 1, fence = fence + 1, state = ?, fire_us = ?, due_us = ?, reason = ?"
        self.replace_place = text(f"UPDATE {{jobs}} SET {place} WHERE uid = ?")
        self.replace = text(f"UPDATE {{jobs}} SET {place}, payload = ?, elapsed = ? WHERE uid = ?")
        self.payload = text("SELECT payload FROM {jobs} WHERE uid = ?")
        # Nobody asks for the runs of a job that never had any: no need to keep its name.
        self.delete = text("DELETE FROM {jobs} WHERE id = ? AND NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = uid)")
        self.delete_all = text(
            "DELETE FROM {jobs} WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = uid)"
        )
        gone = "former_id = id, id = NULL, fire_us = NULL, due_us = NULL, reason = NULL, fence = fence + 1"
        self.remove = text(f"UPDATE {{jobs}} SET state = '{GONE}', payload = NULL, {gone} WHERE id = ?")
        self.remove_all = text(f"UPDATE {{jobs}} SET state = '{GONE}', payload = NULL, {gone} WHERE id IS NOT NULL")

        timeline = "SELECT uid, fence, version, fire_us, due_us FROM {jobs} WHERE elapsed = %d AND due_us <= ?"
        self.due = text(f"{timeline % 0} UNION ALL {timeline % 1} ORDER BY due_us LIMIT ?")
        # For all jobs at once, from the index of live runs: asked job by job it may look at all that a job ever ran.
        self.live_counts = text("SELECT job_uid, count(*) FROM {runs} WHERE finished_us IS NULL GROUP BY job_uid")
        self.next_due = text(
            "SELECT uid, due_us FROM {jobs} WHERE elapsed = ? AND due_us IS NOT NULL ORDER BY due_us LIMIT ?"
        )
        self.move = text("UPDATE {jobs} SET fire_us = ?, due_us = ?, fence = fence + 1 WHERE uid = ? AND fence = ?")
        self.end = text(f"UPDATE {{jobs}} SET state = '{JobState.ENDED}', {gone} WHERE uid = ? AND fence = ?")
        self.break_ = text(
            f"UPDATE {{jobs}} SET state = '{JobState.BROKEN}', fire_us = ?, due_us = NULL, reason = ?, fence = fence + 1 "
            "WHERE uid = ? AND fence = ?"
        )
        self.fences = text("SELECT uid, fence FROM {jobs} WHERE id IS NOT NULL AND uid IN (\0)")
        self.known_runs = text("SELECT job_uid, fire_us FROM {runs} WHERE attempt = 1 AND job_uid IN (\0)")
        self.submit = text(
            "{new} INTO {runs} (job_uid, fire_us, attempt, state, times, submitted_us) "
            f"VALUES (?, ?, ?, '{RunState.SUBMITTED}', 1, ?)"
        )
        self.skip = text(
            "{new} INTO {runs} (job_uid, fire_us, attempt, state, reason, times, until_us, finished_us) "
            f"VALUES (?, ?, ?, '{RunState.SKIPPED}', ?, ?, ?, ?)"
        )
        key = "job_uid = ? AND fire_us = ? AND attempt = ?"
        self.started = text(
            f"UPDATE {{runs}} SET state = '{RunState.RUNNING}', started_us = ? WHERE {key} AND state = '{RunState.SUBMITTED}'"
        )
        self.finish = text(
            "UPDATE {runs} SET state = ?, started_us = coalesce(?, started_us), finished_us = ?, reason = ?, error = ?, "
            f"traceback = ?, result = ?, output = ?, exit_code = ? WHERE {key} AND finished_us IS NULL"
        )
        idle = "NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = {jobs}.uid AND finished_us IS NULL)"
        let_go = f"UPDATE {{jobs}} SET state = '{GONE}', payload = NULL WHERE state = '{JobState.ENDED}' AND {idle}"
        self.let_go = text(f"{let_go} AND uid = ?")
        self.let_go_all = text(let_go)
        # A job that ended without a run on record has nothing to be remembered for.
        self.forget = text(
            f"DELETE FROM {{jobs}} WHERE uid = ? AND state = '{GONE}' "
            "AND NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = {jobs}.uid)"
        )

        # The sign keeps the order from being taken from the table's key: found by the index of live runs, they are few to sort.
        self.live = text(
            "SELECT r.job_uid, r.fire_us, r.attempt, r.state, r.submitted_us, r.started_us, j.version, j.state, "
            "coalesce(j.id, j.former_id) FROM {runs} r LEFT JOIN {jobs} j ON j.uid = r.job_uid "
            "WHERE r.finished_us IS NULL ORDER BY +r.fire_us, r.job_uid"
        )
        self.lose = text(f"UPDATE {{runs}} SET state = '{RunState.LOST}', reason = ?, finished_us = ? WHERE {key}")
        self.broken = text(
            f"SELECT uid, version FROM {{jobs}} WHERE state = '{JobState.BROKEN}' AND fire_us IS NOT NULL AND id IS NOT NULL"
        )
        self.mend = text(
            f"UPDATE {{jobs}} SET state = '{JobState.ACTIVE}', due_us = fire_us, reason = NULL, fence = fence + 1, "
            f"version = version + 1 WHERE uid = ? AND state = '{JobState.BROKEN}'"
        )

        self.prune_count = text(
            "DELETE FROM {runs} WHERE job_uid = ? AND finished_us IS NOT NULL AND fire_us < (SELECT fire_us FROM {runs} "
            "WHERE job_uid = ? ORDER BY fire_us DESC LIMIT 1 OFFSET ?)"
        )
        self.old = text(
            "SELECT job_uid, fire_us, attempt FROM {runs} WHERE fire_us < ? AND finished_us < ? ORDER BY fire_us LIMIT ?"
        )
        self.delete_run = text(f"DELETE FROM {{runs}} WHERE {key}")

        record = (
            "SELECT coalesce(j.id, j.former_id), r.fire_us, r.attempt, r.state, r.reason, r.times, r.until_us, r.submitted_us, "
            "r.started_us, r.finished_us, r.error, r.traceback, r.result, r.output, r.exit_code "
            "FROM {runs} r JOIN {jobs} j ON j.uid = r.job_uid "
            # Rows with anything but an instant there are none of ours; they would come first.
            f"WHERE r.fire_us BETWEEN {FIRST_US} AND {LAST_US} %s "
            "ORDER BY r.fire_us DESC, r.job_uid DESC, r.attempt DESC LIMIT ?"
        )
        # The condition of the index on such runs, word for word: SQLite uses it for nothing less.
        failed = f"r.{_FAILED}"
        mine = "r.job_uid IN (SELECT uid FROM {jobs} WHERE id = ? UNION ALL SELECT uid FROM {jobs} WHERE former_id = ?)"
        self.runs = {
            (False, False): text(record % ""),
            (False, True): text(record % f"AND {failed}"),
            (True, False): text(record % f"AND {mine}"),
            (True, True): text(record % f"AND {mine} AND {failed}"),
        }
        self.meta = text("SELECT value FROM {meta} WHERE name = ?")
        self.drop_meta = text("DELETE FROM {meta} WHERE name = ?")
        self.put_meta = text("INSERT INTO {meta} (name, value) VALUES (?, ?)")


_FAILED = f"state IN ('{RunState.FAILED}', '{RunState.LOST}')"


def make_tables(metadata: sa.MetaData, name: str, schema: str | None) -> tuple[sa.Table, sa.Table, sa.Table]:
    """The three tables, as part of ``metadata``, where they may be already."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    blob = sa.LargeBinary(2**32 - 1)

    def table(suffix: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
        full = f"{name}{suffix}"
        key = full if schema is None else f"{schema}.{full}"
        known = metadata.tables.get(key)
        return sa.Table(full, metadata, *parts, schema=schema, **options) if known is None else known

    jobs = table(
        "",
        sa.Column("uid", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Unicode(255), unique=True),
        sa.Column("former_id", sa.Unicode(255)),
        sa.Column("payload", blob),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("elapsed", sa.SmallInteger, nullable=False),
        sa.Column("fire_us", sa.BigInteger),
        sa.Column("due_us", sa.BigInteger),
        sa.Column("reason", sa.Text),
        # Null but for active jobs, so that what is paused, broken or over costs a due query nothing.
        sa.Index(f"{name}_due", "elapsed", "due_us"),
        sa.Index(f"{name}_former", "former_id", sqlite_where=sa.text("former_id IS NOT NULL")),
        sqlite_autoincrement=True,
    )
    runs = table(
        "_runs",
        # The fire time first: what runs together is written together, at the end of the table, and what is oldest is at its
        # beginning. By job, each run would change a page of its own.
        sa.Column("fire_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("job_uid", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger),
        sa.Column("submitted_us", sa.BigInteger),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("finished_us", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("output", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Index(f"{name}_runs_live", "job_uid", sqlite_where=sa.text("finished_us IS NULL")),
        sa.Index(f"{name}_runs_job", "job_uid", "fire_us"),
        sa.Index(f"{name}_runs_failed", "fire_us", sqlite_where=sa.text(_FAILED)),
        sqlite_with_rowid=False,
    )
    meta = table(
        "_meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    return jobs, runs, meta
