"""The way of a run through a store of documents: claimed, committed, begun, ended; and its history.

``acquire`` only reads. What a decision was made from is compared when it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.job import JobState
from schedcore.jobstores._documents_access import Claimed, DocumentAccess
from schedcore.jobstores._documents_doc import DAMAGED, Change, Doc, LiveRun, instant, is_text, with_live
from schedcore.jobstores._outcome import outcome
from schedcore.jobstores.base import Committed, Due
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record

__all__ = ["DocumentRuns"]

# Microseconds between two looks for records that are too old, and how many are deleted in one.
_AGE_CHECK_US = 60_000_000
_AGED_ROWS = 1000

_new = tuple.__new__  # half the cost of a NamedTuple's own constructor
_ACTIVE = JobState.ACTIVE
_SUBMITTED = RunState.SUBMITTED  # each look at a member of an enumeration is a call


class DocumentRuns(DocumentAccess):
    """See the module's docstring."""

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        with self._writing("look for due jobs"):
            if self._to_recover:
                # Whoever was told of it may have been somebody else.
                self._look_again()
            claimed = self._claimed
            count = limit + len(claimed)
            docs = [
                doc
                for elapsed, upto_us in ((True, now.steady_us), (False, now.wall_us))
                for doc in self._fetch_due(elapsed, upto_us, count)
                if doc.id not in claimed or claimed[doc.id].doc.revision != doc.revision
            ]
            docs.sort(key=_due_order)
            del docs[limit:]
            loaded = self._definitions.load(docs)
            claims: list[Claim] = []
            for doc in docs:
                job_id, revision, uid, _, state, _, fire_us, due_us, _, _, _, live, past = doc
                record, reason = loaded[job_id]
                if fire_us is None or due_us is None or state is not _ACTIVE:
                    reason = DAMAGED
                count = len(live)
                if past:
                    count += sum([len(one.live) for one in past])
                claims.append(_new(Claim, (record, fire_us or 0, due_us or 0, count, (job_id, uid, revision), reason)))
                claimed[job_id] = _new(Claimed, (revision, doc))
            return claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        with self._writing("record runs"):
            changes: list[Change] = []
            planned: list[tuple[Decision, list[Run]]] = []
            dropped: list[Decision] = []
            alias, claims = self._alias, self._claimed
            for decision in decisions:
                claim, fires, _, _, _, _, _ = decision
                job, _, _, _, (job_id, uid, revision), _ = claim
                claimed = claims.get(job_id)
                if claimed is None or claimed.revision != revision or claimed.doc.uid != uid:
                    dropped.append(decision)
                    continue
                doc = claimed.doc
                if fires and fires[0] <= doc.last_us:
                    fires = self._not_on_record(doc, fires)
                changes.append(self._decided(doc, decision, fires, now_us))
                token = job_id, uid
                if len(fires) == 1:
                    runs = [_new(Run, (job, alias, fires[0], 1, token))]
                else:
                    runs = [_new(Run, (job, alias, fire_us, 1, token)) for fire_us in fires]
                planned.append((decision, runs))
            written = self._put(changes)
            for decision in decisions:
                job_id, _, revision = decision.claim.token
                claimed = claims.get(job_id)
                if claimed is not None and claimed.revision == revision:
                    del claims[job_id]
            made: list[Run] = []
            plain = not dropped
            for (decision, runs), done in zip(planned, written, strict=True):
                if not done:
                    dropped.append(decision)
                    plain = False
                    continue
                made += runs
                if len(runs) != 1 or decision.skips or decision.next_us is None:
                    plain = False
            return Committed(made, dropped, plain)

    def _not_on_record(self, doc: Doc, fires: Sequence[int]) -> tuple[int, ...]:
        """Fire times, oldest first, without those that have a run already: only those that are not later than all before can."""
        live = {run.fire_us for run in doc.live}
        suspects = [(doc.uid, fire_us) for fire_us in fires if fire_us <= doc.last_us and fire_us not in live]
        found = self._recorded(doc.id, suspects) if suspects else set()
        return tuple([fire_us for fire_us in fires if fire_us not in live and (doc.uid, fire_us) not in found])

    def _decided(self, doc: Doc, decision: Decision, fires: Sequence[int], now_us: int) -> Change:
        claim, all_fires, skips, next_us, next_due_us, broken, _ = decision
        job_id, revision, uid, version, state, elapsed, fire_us, due_us, reason, last_us, payload, live, past = doc
        if len(fires) == 1:  # as most often
            live = (*live, _new(LiveRun, (fires[0], 1, _SUBMITTED, now_us, None)))
        else:
            live += tuple([_new(LiveRun, (at_us, 1, _SUBMITTED, now_us, None)) for at_us in fires])
        if all_fires and all_fires[-1] > last_us:
            last_us = all_fires[-1]
        records: tuple[tuple[str, RunRecord], ...] = ()
        if skips:
            last_us = max((last_us, *[skip.last_us for skip in skips]))
            records = tuple([(uid, skip_record(job_id, skip, now_us)) for skip in skips])
        if broken is not None:
            # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
            fire_us = None if all_fires or skips else instant(claim.fire_us)
            state, due_us, reason = JobState.BROKEN, None, broken
        elif next_us is not None:
            fire_us, due_us = next_us, next_due_us
        elif live and payload is None:
            payload = self._read([job_id])[job_id].payload
        values = (
            job_id,
            revision + 1,
            uid,
            version,
            state,
            elapsed,
            fire_us,
            due_us,
            reason,
            last_us,
            payload,
            live,
            past,
        )
        changed: Doc = _new(Doc, values)
        if broken is None and next_us is None:
            return Change(revision, changed.without_job(keep=True), records)
        return _new(Change, (revision, changed, records, True))

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        begun: dict[str, dict[tuple[str, int, int], int]] = {}
        for run, at_us in runs:
            job_id, uid = run.token
            begun.setdefault(job_id, {})[uid, run.fire_us, run.attempt] = at_us

        def start(doc: Doc) -> Change | None:
            mine = begun[doc.id]

            def each(uid: str, run: LiveRun) -> LiveRun:
                at_us = mine.get((uid, run.fire_us, run.attempt))
                return run if at_us is None else run._replace(state=RunState.RUNNING, started_us=at_us)

            return with_live(doc, each)

        with self._writing("record that runs began"):
            self._change(list(begun), start, cached=True)

    def finish(self, finishes: Sequence[Finish]) -> None:
        over = {(run.token, run.fire_us, run.attempt): finish for finish in finishes for run in (finish.run,)}

        def end(doc: Doc) -> Change | None:
            job_id = doc.id
            records: list[tuple[str, RunRecord]] = []

            def each(uid: str, run: LiveRun) -> LiveRun | None:
                found = over.get(((job_id, uid), run.fire_us, run.attempt))
                if found is None:
                    return run
                records.append((uid, _finished(job_id, run, found)))
                return None

            return with_live(doc, each, records)

        with self._writing("record how runs ended"):
            self._change(list(dict.fromkeys([token[0] for token, _, _ in over])), end, cached=True)
            self._forget_old(max((finish.finished_us for finish in finishes), default=0))

    def withdraw(self, runs: Sequence[Run]) -> None:
        withdrawn = {(run.token, run.fire_us, run.attempt) for run in runs}

        def withdraw(doc: Doc) -> Change | None:
            def each(uid: str, run: LiveRun) -> LiveRun:
                mine = ((doc.id, uid), run.fire_us, run.attempt) in withdrawn
                return run._replace(submitted_us=None) if mine and run.state is RunState.SUBMITTED else run

            return with_live(doc, each)

        with self._writing("record that runs were taken back"):
            self._change(list(dict.fromkeys(run.token[0] for run in runs)), withdraw, cached=True)

    def _forget_old(self, now_us: int) -> None:
        if self._history_age_us is None or now_us - self._aged_us < _AGE_CHECK_US:
            return
        if self._delete_records(now_us - self._history_age_us, _AGED_ROWS) < _AGED_ROWS:
            self._aged_us = now_us

    def next_due(self) -> Due:
        with self._using("look for the next job"):
            return Due(self._next_due(False), self._next_due(True))

    def _next_due(self, elapsed: bool) -> int | None:
        claimed = self._claimed
        earliest = self._fetch_earliest(elapsed, len(claimed) + 1)
        return next((due_us for due_us, job_id in earliest if job_id not in claimed), None)

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        if job_id is not None and not is_text(job_id):
            return []
        with self._using("list runs"):
            records = self._fetch_history(job_id, failed, limit)
            if not failed:
                if job_id is None:
                    docs: Iterable[Doc] = self._fetch_live()
                else:
                    docs = self._read([job_id]).values()
                records += [
                    RunRecord(doc.id, *run[:3], submitted_us=run.submitted_us, started_us=run.started_us)
                    for doc in docs
                    for live in (doc.live, *(past.live for past in doc.past))
                    for run in live
                ]
        records.sort(key=lambda record: (record.fire_us, record.job_id, record.attempt), reverse=True)
        return records[:limit]


def _finished(job_id: str, run: LiveRun, finish: Finish) -> RunRecord:
    fire_us, attempt, _, submitted_us, begun_us = run
    _, state, started_us, finished_us, _, _, _ = finish
    if started_us is None:
        started_us = begun_us
    reason, error, traceback, result, output, exit_code = outcome(finish)
    values = job_id, fire_us, attempt, state, reason, 1, None, submitted_us, started_us, finished_us
    return _new(RunRecord, (*values, error, traceback, result, output, exit_code))


def _due_order(doc: Doc) -> tuple[int, str]:
    return doc.due_us or 0, doc.id
