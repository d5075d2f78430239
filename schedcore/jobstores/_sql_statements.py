"""The statements of the SQL store, as text: see ``sqlalchemy`` for what the tables mean that they are on.

``?`` stands for a parameter. Statements on many rows are batches (``_sql_backend``), which each database has in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from schedcore.job import JobState
from schedcore.jobstores._sql_backend import Backend, Batch, Many, Names
from schedcore.run import RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["GONE", "LIVE_FROM", "Statements"]

# What ``live`` says of a job that is over and only names its runs; see the module's docstring there.
GONE = "gone"
# The name, in the table of meta data, of the fire time before which no run is live; see the module's docstring there.
LIVE_FROM = "live_from"
# Characters of a text that are fetched. Ours are far shorter; a row that somebody else wrote may hold any.
_LONGEST_TEXT = 2**20


class Statements:
    """The statements, for one database and the names of one store's tables."""

    def __init__(self, backend: Backend, names: Names, max_bytes: int | None = None) -> None:
        def text(statement: str) -> str:
            statement = statement.replace("?", backend.placeholder)
            return statement.format(jobs=names.jobs, schedule=names.schedule, runs=names.runs, meta=names.meta)

        def update(table: str, columns: str, values: str, where: str) -> Many:
            return backend.many(Batch("update", table, tuple(columns.split(", ")), values, text(where)))

        jobs, schedule, runs = names.jobs, names.schedule, names.runs
        entry = f"uid, version, state, fire_us, due_us, substr(reason, 1, {_LONGEST_TEXT}) AS reason"
        # Wherever somebody else has left them, they can be counted on: a number too many fails the whole batch.
        next_fence, next_version = f"fence = (fence & {2**62 - 1}) + 1", f"version = (version & {2**30 - 1}) + 1"
        job = Batch("insert", jobs, ("id text", "payload bytes"), "<id>, <payload>", into="id, payload")
        place = Batch(
            "insert",
            schedule,
            ("uid int", "id text", "state word", "elapsed int", "fire_us int", "due_us int", "reason text"),
            "<uid>, <id>, 1, 1, <state>, <elapsed>, <fire_us>, <due_us>, <reason>",
            into="uid, id, version, fence, state, elapsed, fire_us, due_us, reason",
        )
        self.uids = text("SELECT uid, id FROM {jobs} WHERE id IN (\0)")
        self.add = backend.add(job, place, self.uids)
        self.add_one = backend.add_one(job, place)
        self.taken = text("SELECT id FROM {jobs} WHERE id IN (\0)")
        self.entry = text(f"SELECT {entry} FROM {{jobs}} j JOIN {{schedule}} s USING (uid) WHERE j.id = ?")
        self.entry_to_change = self.entry + backend.for_update
        self._list(text, f"{entry}, id", untyped=backend.untyped)
        # Of a payload that is too large its size alone is sent.
        payload = backend.payload
        if max_bytes is not None:
            payload = f"CASE WHEN {backend.payload_size} <= {max_bytes} THEN {payload} END"
        self.payloads = text(
            f"SELECT j.uid, coalesce(s.version, 0), coalesce(j.id, j.former_id), {payload}, {backend.payload_size} "
            "FROM {jobs} j LEFT JOIN {schedule} s USING (uid) WHERE j.uid IN (\0)"
        )
        change = f"{next_version}, {next_fence}, state = ?, fire_us = ?, due_us = ?, reason = ?"
        self.replace_place = text(f"UPDATE {{schedule}} SET {change} WHERE uid = ?")
        self.replace = text(f"UPDATE {{schedule}} SET {change}, elapsed = ? WHERE uid = ?")
        self.replace_payload = text("UPDATE {jobs} SET payload = ? WHERE uid = ?")
        self.payload = text(f"SELECT {payload} FROM {{jobs}} WHERE uid = ?")
        self.unplace = text("DELETE FROM {schedule} WHERE uid = ?")
        self.unplace_all = text("DELETE FROM {schedule}")
        # Nobody asks for the runs of a job that never had any: no need to keep its name.
        unknown = "NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = uid)"
        self.delete = text(f"DELETE FROM {{jobs}} WHERE uid = ? AND {unknown}")
        self.delete_all = text(f"DELETE FROM {{jobs}} WHERE id IS NOT NULL AND {unknown}")
        over = "former_id = id, id = NULL"
        self.remove = text(f"UPDATE {{jobs}} SET payload = NULL, {over} WHERE uid = ?")
        self.remove_all = text(f"UPDATE {{jobs}} SET payload = NULL, {over} WHERE id IS NOT NULL")

        self.due = text(
            backend.due(
                "SELECT uid, fence, version, fire_us, due_us FROM {schedule} WHERE elapsed = %d AND due_us <= ?"
            )
        )
        #: The same with payloads, as the first look after a start asks; None: they are asked for by themselves.
        self.due_with_payloads: str | None = None
        if backend.due_with_payloads:
            self.due_with_payloads = text(
                f"SELECT d.*, j.uid, coalesce(j.id, j.former_id), {payload}, {backend.payload_size} "
                f"FROM ({self.due}) AS d LEFT JOIN {{jobs}} j ON j.uid = d.uid ORDER BY d.due_us"
            )
        earliest = (
            "SELECT * FROM (SELECT elapsed, uid, due_us FROM {schedule} WHERE elapsed = %d AND due_us IS NOT NULL"
        )
        earliest += " ORDER BY due_us LIMIT ?) AS %s"
        self.next_due = text(f"{earliest % (0, 'a')} UNION ALL {earliest % (1, 'b')}")
        fenced = "uid = <uid> AND fence = <fence>"
        self.move = update(
            schedule,
            "fire_us int, due_us int, uid int, fence int",
            f"fire_us = <fire_us>, due_us = <due_us>, {next_fence}",
            fenced,
        )
        leave = backend.many(Batch("delete", schedule, ("uid int", "fence int"), where=fenced))
        let_go_of_ids = update(jobs, "uid int", over, "uid = <uid>")

        def end(cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
            ended = leave(cursor, rows)
            # Whoever finds that some are not as they were claimed changes nothing.
            if ended == len(rows):
                let_go_of_ids(cursor, [(uid,) for uid, _ in rows])
            return ended

        self.end = end
        self.break_ = update(
            schedule,
            "fire_us int, reason text, uid int, fence int",
            f"state = '{JobState.BROKEN}', fire_us = <fire_us>, due_us = NULL, reason = <reason>, {next_fence}",
            fenced,
        )
        self.fences = text("SELECT uid, fence FROM {schedule} WHERE uid IN (\0)" + backend.for_update)
        self.known_runs = text("SELECT job_uid, fire_us FROM {runs} WHERE attempt = 1 AND job_uid IN (\0)")
        run_key = ("job_uid int", "fire_us int", "attempt int")

        def submit(kind: Literal["insert", "insert new"]) -> Many:
            values = f"<job_uid>, <fire_us>, <attempt>, '{RunState.SUBMITTED}', 1, <submitted_us>"
            into = "job_uid, fire_us, attempt, state, times, submitted_us"
            return backend.many(Batch(kind, runs, (*run_key, "submitted_us int"), values, into=into))

        # Where a key is taken, the first fails. The second passes over it, which costs PostgreSQL a third more.
        self.submit, self.submit_new = submit("insert"), submit("insert new")
        self.skip = backend.many(
            Batch(
                "insert new",
                runs,
                (*run_key, "reason text", "times int", "until_us int", "now_us int"),
                f"<job_uid>, <fire_us>, <attempt>, '{RunState.SKIPPED}', <reason>, <times>, <until_us>, <now_us>",
                into="job_uid, fire_us, attempt, state, reason, times, until_us, finished_us",
            )
        )
        key = "job_uid = <job_uid> AND fire_us = <at_us> AND attempt = <attempt>"
        key_columns = "job_uid int, at_us int, attempt int"
        self.started = update(
            runs,
            f"started_us int, {key_columns}",
            f"state = '{RunState.RUNNING}', started_us = <started_us>",
            f"{key} AND state = '{RunState.SUBMITTED}'",
        )
        # A run without that instant is with no executor.
        taken_back = f"{key} AND state = '{RunState.SUBMITTED}'"
        self.withdraw = update(runs, key_columns, "submitted_us = NULL", taken_back)
        self.hand_over = update(runs, f"now_us int, {key_columns}", "submitted_us = <now_us>", taken_back)
        # Most runs leave nothing but that they ended well.
        self.finish_well = update(
            runs,
            f"started_us int, finished_us int, {key_columns}",
            f"state = '{RunState.SUCCEEDED}', started_us = coalesce(<started_us>, started_us), "
            "finished_us = <finished_us>",
            f"{key} AND finished_us IS NULL",
        )
        self.finish = update(
            runs,
            "state word, failed int, started_us int, finished_us int, reason text, error text, traceback text, "
            f"result text, output text, exit_code int, {key_columns}",
            "state = <state>, failed = <failed>, started_us = coalesce(<started_us>, started_us), finished_us = <finished_us>, "
            "reason = <reason>, error = <error>, traceback = <traceback>, result = <result>, output = <output>, "
            "exit_code = <exit_code>",
            f"{key} AND finished_us IS NULL",
        )
        idle = "NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = {jobs}.uid AND finished_us IS NULL)"
        ended = "payload IS NOT NULL AND " + idle
        self.let_go = update(jobs, "uid int", "payload = NULL", f"uid = <uid> AND id IS NULL AND {ended}")
        # The index of former ids finds them, however many jobs there are.
        self.let_go_all = text(f"UPDATE {{jobs}} SET payload = NULL WHERE former_id IS NOT NULL AND {ended}")
        # A job that ended without a run on record has nothing to be remembered for.
        forgotten = "id IS NULL AND payload IS NULL AND NOT EXISTS (SELECT 1 FROM {runs} WHERE job_uid = {jobs}.uid)"
        self.forget = backend.many(Batch("delete", jobs, ("uid int",), where=text(f"uid = <uid> AND {forgotten}")))

        # See ``LIVE_FROM``.
        live = "fire_us >= ? AND {0}finished_us IS NULL"
        begun_before = (
            "r.attempt > 1 AND EXISTS (SELECT 1 FROM {runs} b WHERE b.job_uid = r.job_uid AND b.fire_us = r.fire_us "
            "AND b.attempt < r.attempt AND b.started_us IS NOT NULL)"
        )
        state = (
            f"CASE WHEN j.id IS NOT NULL THEN s.state WHEN j.payload IS NOT NULL THEN '{JobState.ENDED}' "
            f"WHEN j.uid IS NOT NULL THEN '{GONE}' END"
        )
        self.live = text(
            "SELECT r.job_uid, r.fire_us, r.attempt, r.state, r.submitted_us, r.started_us, coalesce(s.version, 0), "
            f"{state}, coalesce(j.id, j.former_id), {begun_before} FROM {{runs}} r LEFT JOIN {{jobs}} j "
            f"ON j.uid = r.job_uid LEFT JOIN {{schedule}} s ON s.uid = j.uid "
            f"WHERE r.{live.format('r.')} ORDER BY r.fire_us, r.job_uid"
        )
        self.lose = update(
            runs,
            f"reason text, now_us int, {key_columns}",
            f"state = '{RunState.LOST}', reason = <reason>, finished_us = <now_us>, failed = 1",
            key,
        )
        # All that a scheduler finds to be done when it opens the tables: broken jobs, which may be mended; and, as number 0 (no
        # job has it), that there is something to recover; and as number -1 that it was looked for from the wrong time on.
        something = "SELECT * FROM (SELECT 0 AS uid, 0 AS version FROM {%s} WHERE %s LIMIT 1) AS %s"
        is_over = "former_id IS NOT NULL AND payload IS NOT NULL"
        # What is broken has no next dispatch: the index of those finds it.
        self.left = text(
            f"SELECT uid, version FROM {{schedule}} "
            f"WHERE elapsed IN (0, 1) AND due_us IS NULL AND state = '{JobState.BROKEN}' AND fire_us IS NOT NULL "
            f"UNION ALL {something % ('runs', live.format(''), 'a')} UNION ALL {something % ('jobs', is_over, 'b')} "
            f"UNION ALL SELECT -1 AS uid, 0 AS version FROM {{meta}} WHERE name = '{LIVE_FROM}' AND value <> ?"
        )
        self.mend = update(
            schedule,
            "uid int",
            f"state = '{JobState.ACTIVE}', due_us = fire_us, reason = NULL, {next_fence}, {next_version}",
            f"uid = <uid> AND state = '{JobState.BROKEN}'",
        )

        self.old = text(
            "SELECT job_uid, fire_us, attempt FROM {runs} WHERE fire_us < ? AND finished_us < ? ORDER BY fire_us LIMIT ?"
        )
        self.delete_run = backend.many(Batch("delete", runs, tuple(key_columns.split(", ")), where=key))

        reason, *texts = [
            f"substr(r.{name}, 1, {_LONGEST_TEXT})" for name in ("reason", "error", "traceback", "result", "output")
        ]
        record = (
            f"SELECT coalesce(j.id, j.former_id), r.fire_us, r.attempt, r.state, {reason}, r.times, r.until_us, "
            f"r.submitted_us, r.started_us, r.finished_us, {', '.join(texts)}, r.exit_code "
            "FROM {runs} r %s {jobs} j ON j.uid = r.job_uid %s"
            "ORDER BY r.fire_us DESC, r.job_uid DESC, r.attempt DESC LIMIT ?"
        )
        # First the keys, then the runs: asked at once, one database or another looks at every run there is.
        self.namesakes = text(
            "SELECT uid FROM {jobs} WHERE id = ? UNION ALL SELECT uid FROM {jobs} WHERE former_id = ?"
        )
        mine = "r.job_uid IN (\0)"
        self.runs = {}
        for of_one in (False, True):
            for only_failed in (False, True):
                # Rows with anything but an instant there are none of ours; they would come first.
                conditions = [f"r.fire_us BETWEEN {FIRST_US} AND {LAST_US}"] if backend.untyped else []
                conditions += [mine] * of_one + ["r.failed = 1"] * only_failed
                where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
                join = "JOIN" if of_one else backend.first_table
                self.runs[of_one, only_failed] = text(record % (join, where))
        self.meta = text("SELECT value FROM {meta} WHERE name = ?")
        self.term = text("SELECT value FROM {meta} WHERE name = 'term'")
        self.all_meta = text("SELECT name, value FROM {meta}")
        self.put_meta = text(backend.put_meta)

    def _list(self, text: Callable[[str], str], columns: str, *, untyped: bool) -> None:
        """The statements that give a page of all jobs. Their limit is put in the place of ``\\0``.

        Each is put together from ranges of the index on the next dispatch, so that its cost is that of the page: first what
        is scheduled (``scheduled``, ``scheduled_after``), by dispatch and id; then the rest (``idle``, ``idle_after``) by id.
        """

        def some(where: str, order: str, columns: str = columns) -> str:
            return f"SELECT {columns} FROM {{schedule}} WHERE {where} ORDER BY {order}"

        def page(order: str, *ranges: str) -> str:
            parts = [f"SELECT * FROM ({part} LIMIT \0) AS part{number}" for number, part in enumerate(ranges)]
            return text(f"{' UNION ALL '.join(parts)} ORDER BY {order} LIMIT \0")

        by_due = "due_us, id"
        last = f" AND due_us <= {LAST_US}" if untyped else ""
        first = f"due_us >= {FIRST_US}{last}" if untyped else "due_us IS NOT NULL"
        both = ("elapsed = 0", "elapsed = 1")
        odd: list[str] = []
        if untyped:
            # What no scheduler has written has no place in the order.
            odd = ["elapsed < 0", "elapsed > 0 AND elapsed < 1", "elapsed > 1"]
            odd += [
                f"{timeline} AND due_us {where}" for timeline in both for where in (f"< {FIRST_US}", f"> {LAST_US}")
            ]
        damaged = columns.replace("due_us", "'damaged' AS due_us")

        def rest(place: str) -> list[str]:
            # The sign keeps the few that are damaged from being looked for by id, among all.
            parts = [some(f"{timeline} AND due_us IS NULL AND {place}", "id") for timeline in both]
            return parts + [some(f"{where} AND {place}", "+id", damaged) for where in odd]

        later = ("due_us = ? AND id > ?", f"due_us > ?{last}")
        after = [f"{timeline} AND {where}" for timeline in both for where in later]
        self.scheduled = page(by_due, *(some(f"{timeline} AND {first}", by_due) for timeline in both))
        self.scheduled_after = page(by_due, *(some(where, by_due) for where in after))
        self.idle = page("id", *rest("id IS NOT NULL"))
        self.idle_after = page("id", *rest("id > ?"))
        self.idle_ranges = len(both) + len(odd)
