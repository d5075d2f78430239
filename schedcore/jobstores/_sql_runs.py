"""The way of a run through the SQL store: claimed, committed, begun, ended; recovered where a scheduler died; and its history.

Claims are kept in memory. A commit assumes that every fence matches and no run is on record, compares the number of rows that
changed, and only if it differs rolls back and looks for those that do not.

**Live runs** are known in memory, too, so that nothing has to be written to find them and no index changes when a run ends: that
was a third of what the rows of runs cost a server. Who comes next finds them by their fire times, which come first in the key of
their table: no run is live whose fire time is before the one that is noted in the table of meta data (``LIVE_FROM``). It is noted
anew in the transaction that submits an earlier one; and, when some have ended, as that of the earliest one that is left. So,
wherever a scheduler dies, what has to be looked at is what had its fire time since that of the oldest live run, and a thousand
more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from operator import itemgetter
from typing import Any

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.job import JobState
from schedcore.jobstores._journal import RunKey
from schedcore.jobstores._outcome import outcome, storable
from schedcore.jobstores._payload import Loaded, StoredRecord
from schedcore.jobstores._recovery import judge
from schedcore.jobstores._sql_database import Database
from schedcore.jobstores._sql_definitions import Definitions
from schedcore.jobstores._sql_journal import Journal
from schedcore.jobstores._sql_rows import DAMAGED, finish_row, instant, is_text, run_record, skip_row, text
from schedcore.jobstores._sql_statements import GONE, LIVE_FROM
from schedcore.jobstores.base import Committed, Due, Recovered
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["Runs", "live_from"]

# Commits of a job between two looks at the length of its history.
_PRUNE_EVERY = 20
# Jobs whose history is cut in one transaction, and run records that are deleted for their age in one: some milliseconds.
_PRUNE_JOBS = 200
_PRUNE_ROWS = 1000
# Microseconds between two looks for records that are too old.
_AGE_CHECK_US = 60_000_000

# Runs after which it is noted anew from where on they may be live. Those that are behind it are looked at by each start.
_LOOKED_AT = 1000

# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor
_key_of_submit = itemgetter(0, 1, 2)
_key_of_end = itemgetter(2, 3, 4)
_due_order = itemgetter(4)


class Runs:
    """The runs of one store's jobs; ``history`` and ``history_age_us`` say how many finished ones are kept, and how long."""

    def __init__(
        self,
        database: Database,
        definitions: Definitions,
        journal: Journal,
        history: int,
        history_age_us: int | None,
    ) -> None:
        self.history = history
        self.history_age_us = history_age_us
        self._database = database
        self._sql = database.sql
        self._definitions = definitions
        self._journal = journal
        self.reset()

    def reset(self) -> None:
        """Forget what is known of the database: it was opened, or closed."""
        self.claimed: dict[int, int] = {}  # uid: fence
        self._ended: set[int] = set()  # jobs that have ended with runs live: a hint for ``finish``
        self._stale: set[int] = set()  # jobs whose history is to be cut
        self._aged_us = 0
        self.take_over(FIRST_US, nothing_left=False, doubtful=None)

    def take_over(self, live_from_us: int, *, nothing_left: bool, doubtful: set[RunKey] | None) -> None:
        """What is live on record is another scheduler's; ``nothing_left``: nothing is. ``doubtful``: the runs of which it is not
        known whether they began, None: any that is not known to have.
        """
        # The job's id of each live run; None: it has to be looked up.
        self._live: dict[RunKey, str] | None = {} if nothing_left else None
        self._live_from_us = live_from_us
        self._since = _LOOKED_AT  # runs submitted since that was noted; at first nobody knows
        #: Whether there was nothing to recover when the database was opened, and no run has been recorded since.
        self.nothing_left = nothing_left
        self._in_doubt: set[RunKey] | None = doubtful
        # What a recovery has submitted whose outcome was not learnt: no executor has it.
        self._submitted: set[RunKey] = set()

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        """Claim up to ``limit`` due jobs."""
        claims: list[Claim] = []
        if self._database.to_recover:
            # Whoever was told of it may have been somebody else.
            self._database.look_afresh()
        with self._database.looking("look for due jobs") as cursor:
            claimed = self.claimed
            cache = self._definitions.kept.records
            # Nothing is in memory: all will have to be read.
            with_payloads = None if cache else self._sql.due_with_payloads
            cursor.execute(
                with_payloads or self._sql.due,
                self._database.backend.due_rows(now.wall_us, now.steady_us, limit + len(claimed)),
            )
            rows = self._database.backend.fetch_due(cursor)
            if claimed:
                rows = [row for row in rows if row[0] not in claimed][:limit]
            if not rows:
                return claims
            rows = sorted(rows, key=_due_order)
            # By id: a job that has ended, or was removed, may have left some to another one of its id.
            live = Counter((self._live if self._live is not None else self._look_up(cursor)).values())
            fresh: dict[int, Loaded] | None = None
            if with_payloads is not None:
                fresh = self._definitions.read((row[0], row[2], *row[6:]) for row in rows if row[5] is not None)
                rows = [row[:5] for row in rows]
            for uid, fence, version, fire_us, due_us in rows:
                record = cache.get(uid)
                reason: str | None = None
                if record is None or record.version != version:
                    if fresh is None:
                        fresh = self._definitions.load(cursor, [(row[0], row[2]) for row in rows])
                    if uid not in fresh:
                        # Its job was deleted, by whoever did not know of its place. It is not looked at again.
                        claimed[uid] = fence
                        continue
                    record, reason = fresh[uid]
                if not (
                    type(fire_us) is type(due_us) is int
                    and FIRST_US <= fire_us <= LAST_US
                    and due_us >= FIRST_US
                    # A fraction does no harm; of anything else the next one is 1.
                    and type(fence) in (int, float)
                ):
                    reason = DAMAGED
                count = live.get(record.id, 0)
                claims.append(_new(Claim, (record, fire_us, due_us, count, (uid, fence), reason)))
                claimed[uid] = fence
        return claims

    def noted(self, cursor: Any, meta: Mapping[str, str] | None = None) -> str:
        """What is noted for ``live_from``; empty: nothing is. ``meta``: what is known of the meta data."""
        if meta is not None:
            return meta.get(LIVE_FROM, "")
        cursor.execute(self._sql.meta, (LIVE_FROM,))
        row = cursor.fetchone()
        return "" if row is None else str(row[0])

    def _look_up(self, cursor: Any) -> dict[RunKey, str]:
        """Look up what is live."""
        self._live = {row[:3]: text(row[8]) or "" for row in self._rows(cursor)}
        return self._live

    def _rows(self, cursor: Any) -> Sequence[tuple[Any, ...]]:
        """The rows of live runs."""
        self._live_from_us = live_from(self.noted(cursor))
        cursor.execute(self._sql.live, (self._live_from_us,))
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        """Carry out decisions, in one transaction."""
        if not decisions:
            return Committed([], [])
        with self._database.turns.take():
            if self._live is None:
                with self._database.looking("look for live runs") as cursor:
                    self._look_up(cursor)
            committed = self._commit(decisions, now_us, careful=False)
            if committed is None:
                committed = self._commit(decisions, now_us, careful=True)
                assert committed is not None
            claimed = self.claimed
            for decision in decisions:
                uid, fence = decision.claim.token
                if claimed.get(uid) == fence and (decision.broken is None or not self._is_left_alone(decision)):
                    del claimed[uid]
        return committed

    def _is_left_alone(self, decision: Decision) -> bool:
        """Whether a broken job is set aside without a word of it in its row, which would cost the memory that is to be spared. It
        stays claimed: it is told once, and not claimed again before the database is opened anew.
        """
        job = decision.claim.job
        return self._database.backend.reads_to_write and isinstance(job, StoredRecord) and job.oversized

    def _commit(self, decisions: Sequence[Decision], now_us: int, *, careful: bool) -> Committed | None:
        """One attempt, in one transaction. None, and nothing is changed, if not all is as the claims say; ``careful``: look."""
        self.nothing_left = False
        alias = self._database.alias
        claimed = self.claimed
        history = self.history
        runs: list[Run] = []
        dropped: list[Decision] = []
        moves: list[tuple[Any, ...]] = []
        ends: list[tuple[int, int]] = []
        idle: list[int] = []
        breaks: list[tuple[Any, ...]] = []
        submits: list[tuple[int, int, int, int]] = []
        skips: list[tuple[Any, ...]] = []
        stale: list[int] = []
        earliest_us = LAST_US
        # If it is not learnt what becomes of this, it is looked up what is live.
        live, self._live = self._live, None
        assert live is not None
        with self._database.writing("record runs") as cursor:
            fences: dict[int, int] = {}
            on_record: set[tuple[int, int]] = set()
            if careful:
                uids = [decision.claim.token[0] for decision in decisions]
                fences = dict(self._database.backend.by_keys(cursor, self._sql.fences, uids))
                wanted = {(d.claim.token[0], fire_us) for d in decisions for fire_us in d.fires}
                on_record = {
                    key for key in self._database.backend.by_keys(cursor, self._sql.known_runs, uids) if key in wanted
                }
            for decision in decisions:
                claim, fires, skipped, next_us, due_us, broken, _ = decision
                uid, fence = token = claim.token
                if claimed.get(uid) != fence or (careful and fences.get(uid) != fence):
                    dropped.append(decision)
                    continue
                if broken is not None:
                    if self._is_left_alone(decision):
                        continue
                    # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
                    fire_us = None if fires or skipped else instant(claim.fire_us)
                    breaks.append((fire_us, storable(broken), uid, fence))
                elif next_us is None:
                    ends.append(token)
                    if fires or claim.live:
                        self._ended.add(uid)
                    if not fires:
                        # If what is live is its own, it stays until that is over.
                        idle.append(uid)
                else:
                    moves.append((next_us, due_us, uid, fence))
                job = claim.job
                for fire_us in fires:
                    if careful and (uid, fire_us) in on_record:
                        continue
                    runs.append(_new(Run, (job, alias, fire_us, 1, uid)))
                    submits.append((uid, fire_us, 1, now_us))
                    if fire_us < earliest_us:
                        earliest_us = fire_us
                if skipped:
                    skips.extend(skip_row(uid, skip_record(job.id, skip, now_us)) for skip in skipped)
                # The fence grows with each commit: before it has, a job can hardly have so many records.
                if broken is None and (uid + fence) % _PRUNE_EVERY == 0 and (fence >= history or len(fires) > 1):
                    stale.append(uid)
            sql = self._sql
            submit = sql.submit_new if careful else sql.submit
            try:
                as_claimed = [
                    change(cursor, rows) == len(rows)
                    for change, rows in ((sql.move, moves), (sql.end, ends), (sql.break_, breaks), (submit, submits))
                    if rows
                ]
            except self._database.key_taken:
                if careful:
                    raise
                as_claimed = [False]
            if not (careful or all(as_claimed)):
                cursor.connection.rollback()
                self._live = live
                return None
            if earliest_us < self._live_from_us:
                self._database.put_meta(cursor, {LIVE_FROM: str(earliest_us)})
            if skips:
                sql.skip(cursor, skips)
            if idle:
                sql.let_go(cursor, [(uid,) for uid in idle])
                sql.forget(cursor, [(uid,) for uid in idle])
            stale.extend(self._stale)
            if len(stale) > _PRUNE_JOBS:
                stale = self._cut(cursor, stale)
        self._stale = set(stale)
        self._live_from_us = min(self._live_from_us, earliest_us)
        self._since += len(runs)
        live.update(zip(map(_key_of_submit, submits), [run.job.id for run in runs], strict=True))
        self._live = live
        plain = len(moves) == len(submits) == len(decisions) and not skips
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Runs began."""
        if not runs:
            return
        with self._database.writing("record that runs began") as cursor:
            self._sql.started(cursor, [(at_us, run.token, run.fire_us, run.attempt) for run, at_us in runs])

    def finish(self, finishes: Sequence[Finish]) -> None:
        """Runs ended."""
        well: list[tuple[Any, ...]] = []
        rows: list[tuple[Any, ...]] = []
        if not finishes:
            return
        for finish in finishes:
            (_, _, fire_us, attempt, uid), state, started_us, finished_us, retval, exception, traceback = finish
            if state is _SUCCEEDED and retval is None and exception is None and traceback is None:  # most are so
                well.append((started_us, finished_us, uid, fire_us, attempt))
            else:
                rows.append(finish_row(state, started_us, finished_us, outcome(finish), (uid, fire_us, attempt)))
        keys: list[RunKey] = [*map(_key_of_end, well), *(row[-3:] for row in rows)]
        over = self._ended.intersection([key[0] for key in keys]) if self._ended else set()
        with self._database.turns.take():
            # If it is not learnt what becomes of this, it is looked up what is live.
            live, self._live = self._live, None
            live_from_us = None
            with self._database.writing("record how runs ended") as cursor:
                if well:
                    self._sql.finish_well(cursor, well)
                if rows:
                    self._sql.finish(cursor, rows)
                if over:
                    self._sql.let_go(cursor, [(uid,) for uid in over])
                if self._stale:
                    self._stale = set(self._cut(cursor, list(self._stale)))
                self._delete_old(cursor, finishes[-1].finished_us)
                if live is not None and self._since >= max(_LOOKED_AT, len(live)):
                    live_from_us = _earliest(live, keys)
                    if live_from_us > self._live_from_us:
                        self._database.put_meta(cursor, {LIVE_FROM: str(live_from_us)})
            if live is not None:
                for _ in map(live.pop, keys, repeat(None)):
                    pass
                if live_from_us is not None:
                    self._live_from_us = max(self._live_from_us, live_from_us)
                    self._since = 0
                self._live = live
        self._ended -= over

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Runs were taken back before they began."""
        if not runs:
            return
        with self._database.writing("record that runs were taken back") as cursor:
            self._sql.withdraw(cursor, [(run.token, run.fire_us, run.attempt) for run in runs])

    def _cut(self, cursor: Any, stale: list[int]) -> list[int]:
        """Cut the histories of some jobs; returns those that are left for the next time."""
        self._database.backend.cut(cursor, self._database.names, stale[:_PRUNE_JOBS], self.history - 1)
        return stale[_PRUNE_JOBS:]

    def _delete_old(self, cursor: Any, now_us: int) -> None:
        if self.history_age_us is None or now_us - self._aged_us < _AGE_CHECK_US:
            return
        before_us = now_us - self.history_age_us
        cursor.execute(self._sql.old, (before_us, before_us, _PRUNE_ROWS))
        keys = cursor.fetchall()
        if keys:
            self._sql.delete_run(cursor, keys)
            self._sql.forget(cursor, list({(key[0],) for key in keys}))
        if len(keys) < _PRUNE_ROWS:
            self._aged_us = now_us

    def next_due(self) -> Due:
        """The earliest dispatches of jobs that are not claimed."""
        with self._database.looking("look for the next job") as cursor:
            claimed = self.claimed
            cursor.execute(self._sql.next_due, (len(claimed) + 1, len(claimed) + 1))
            earliest: list[int | None] = [None, None]
            for elapsed, uid, due_us in cursor.fetchall():
                if uid in claimed or type(due_us) is not int:
                    continue
                least = earliest[elapsed]
                if least is None or due_us < least:
                    earliest[elapsed] = due_us
        return Due(*earliest)

    def recover(self, known: Collection[Run], now_us: int) -> Recovered:
        """Take over what is live on record and not known."""
        if self.nothing_left:
            with self._database.turns.take():
                self._database.to_recover = False
                self.claimed.clear()
                self._in_doubt = set()
            return Recovered([], [])
        mine = {(run.token, run.fire_us, run.attempt) for run in known}
        runs: list[Run] = []
        lost: list[RunRecord] = []
        alias = self._database.alias
        closed: list[tuple[Any, ...]] = []
        again: list[tuple[int, int, int, int]] = []
        withdrawn: list[tuple[int, int, int, int]] = []
        left: list[Run] = []  # what is doubtful, and waits until its job is mended
        with self._database.writing("recover runs") as cursor:
            self._database.to_recover = False
            self.claimed.clear()
            self._live = None  # what is done here is looked up by the next one
            rows = [row for row in self._rows(cursor) if row[:3] not in mine]
            loaded = self._definitions.load(
                cursor, list({row[0]: row[6] for row in rows if row[7] not in (None, GONE)}.items())
            )
            for uid, fire_us, attempt, state, submitted_us, started_us, _, job_state, job_id, begun_before in rows:
                if instant(fire_us) is None or type(attempt) is not int:
                    # It names no run that could be made or told of; but while it is open it counts as one.
                    closed.append(("its record is damaged", now_us, uid, fire_us, attempt))
                    continue
                reason = ""
                if job_state is None or job_state == GONE:
                    reason = "its scheduler died, and its job has been removed"
                else:
                    job, why = loaded[uid]
                    key = uid, fire_us, attempt
                    doubtful = (self._in_doubt is None or key in self._in_doubt) and key not in self._submitted
                    if why is not None:
                        if doubtful:
                            left.append(Run(job, alias, fire_us, attempt, uid))
                        continue  # until its job is mended
                    begun = state != RunState.SUBMITTED
                    if not begun and (submitted_us is None or not doubtful):
                        if submitted_us is None:
                            withdrawn.append((now_us, *key))
                        runs.append(Run(job, alias, fire_us, attempt, uid))
                        continue
                    reason, is_again = judge(attempt, job.policy.recovery, begun=begun, begun_before=bool(begun_before))
                    if is_again:
                        runs.append(Run(job, alias, fire_us, attempt + 1, uid))
                        again.append((uid, fire_us, attempt + 1, now_us))
                closed.append((reason, now_us, uid, fire_us, attempt))
                lost.append(
                    RunRecord(
                        text(job_id) or "",
                        fire_us,
                        attempt,
                        RunState.LOST,
                        reason,
                        submitted_us=instant(submitted_us),
                        started_us=instant(started_us),
                        finished_us=now_us,
                    )
                )
            if closed:
                self._sql.lose(cursor, closed)
            if again:
                self._sql.submit(cursor, again)
            if withdrawn:
                self._sql.hand_over(cursor, withdrawn)
            self._journal.begin(cursor, left)
            cursor.execute(self._sql.let_go_all)
            self._ended.update(row[0] for row in rows if row[7] == JobState.ENDED)
            self._submitted.update((run.token, run.fire_us, run.attempt) for run in runs)
        with self._database.turns.take():
            self._journal.use()
            self._in_doubt = {(run.token, run.fire_us, run.attempt) for run in left}
            self._submitted.clear()
        return Recovered(runs, lost)

    def records(self, job_id: str | None, *, failed: bool, limit: int) -> list[RunRecord]:
        """Run records, latest first: of one job or all."""
        if job_id is not None and not is_text(job_id):
            return []
        statement = self._sql.runs[job_id is not None, failed]
        with self._database.reading("list runs") as cursor:
            if job_id is not None:
                cursor.execute(self._sql.namesakes, (job_id, job_id))
                uids = [str(int(row[0])) for row in cursor.fetchall()]
                if not uids:
                    return []
                statement = statement.replace("\0", ", ".join(uids))
            cursor.execute(statement, (limit,))
            rows = cursor.fetchall()
        return [record for record in map(run_record, rows) if record is not None]


def live_from(noted: str) -> int:
    """The fire time from which on runs may be live; of what is damaged, the first there is."""
    found = None
    with suppress(ValueError):
        found = instant(int(noted))
    return FIRST_US if found is None else found


def _earliest(live: dict[RunKey, str], ended: Sequence[RunKey]) -> int:
    """The fire time before which no run is live when some have ended."""
    over = set(ended)
    # What somebody else wrote may have anything in its place.
    left = [key[1] for key in live if key not in over and type(key[1]) is int]
    return min(left, default=max(key[1] for key in ended))
