"""What becomes of the runs that a dead scheduler left in documents (``_recovery`` says of each)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from schedcore.jobstores._documents_doc import Change, Doc, LiveRun, with_live
from schedcore.jobstores._documents_runs import DocumentRuns
from schedcore.jobstores._payload import Loaded
from schedcore.jobstores._recovery import judge
from schedcore.jobstores.base import Recovered
from schedcore.run import Run, RunRecord, RunState

__all__ = ["DocumentRecovery"]


class DocumentRecovery(DocumentRuns):
    """See the module's docstring."""

    def _take_over(self) -> None:
        super()._take_over()
        # The runs of which it is not known whether they began; None: any that is not known to have.
        self._in_doubt: set[tuple[tuple[str, str], int, int]] | None = None
        # What a recovery has submitted that was not finished: no executor has it.
        self._submitted: set[tuple[tuple[str, str], int, int]] = set()

    def recover(self, known: Collection[Run]) -> Recovered:
        mine = {(run.token, run.fire_us, run.attempt) for run in known}
        scheduler = self._scheduler
        now_us = scheduler.clock.wall_us() if scheduler is not None else int(datetime.now(UTC).timestamp() * 1e6)
        runs: dict[str, list[Run]] = {}
        lost: dict[str, list[RunRecord]] = {}
        left: set[tuple[tuple[str, str], int, int]] = set()  # what is doubtful, and waits until its job is mended

        def recover(doc: Doc) -> Change | None:
            runs[doc.id], lost[doc.id] = [], []
            records: list[tuple[str, RunRecord]] = []
            definitions: dict[str, Loaded | None] = {
                past.uid: self._definitions.load_past(doc.id, past) for past in doc.past
            }
            if doc.uid:
                definitions[doc.uid] = self._definitions.load([doc])[doc.id]

            def each(uid: str, run: LiveRun) -> LiveRun | None:
                token = doc.id, uid
                key = token, run.fire_us, run.attempt
                if key in mine:
                    return run
                if not self._writes_at_once and self._recorded(doc.id, [(uid, run.fire_us)], run.attempt):
                    return None  # its end was recorded, and the document not written any more
                definition = definitions[uid]
                again: LiveRun | None = None
                if definition is None:
                    reason = "its scheduler died, and its job has been removed"
                else:
                    job, why = definition
                    doubtful = (self._in_doubt is None or key in self._in_doubt) and key not in self._submitted
                    if why is not None:
                        if doubtful:
                            left.add(key)
                        return run  # until its job is mended
                    begun = run.state is not RunState.SUBMITTED
                    if not begun and (run.submitted_us is None or not doubtful):
                        runs[doc.id].append(Run(job, self._alias, run.fire_us, run.attempt, token))
                        return run if run.submitted_us is not None else run._replace(submitted_us=now_us)
                    before = begun and self._begun_before(doc.id, run)
                    reason, is_again = judge(run.attempt, job.policy.recovery, begun=begun, begun_before=before)
                    if is_again:
                        again = LiveRun(run.fire_us, run.attempt + 1, RunState.SUBMITTED, now_us, None)
                        runs[doc.id].append(Run(job, self._alias, run.fire_us, run.attempt + 1, token))
                record = RunRecord(
                    doc.id,
                    run.fire_us,
                    run.attempt,
                    RunState.LOST,
                    reason,
                    submitted_us=run.submitted_us,
                    started_us=run.started_us,
                    finished_us=now_us,
                )
                records.append((uid, record))
                lost[doc.id].append(record)
                return again

            change = with_live(doc, each, records)
            self._submitted.update((run.token, run.fire_us, run.attempt) for run in runs[doc.id])
            return change

        with self._writing("recover runs"):
            self._to_recover = False
            self._claimed.clear()
            self._docs.clear()
            self._change([doc.id for doc in self._fetch_live()], recover)
            self._in_doubt = left
            self._submitted.clear()
        by_time = sorted((run for some in runs.values() for run in some), key=lambda run: (run.fire_us, run.job.id))
        return Recovered(by_time, [record for some in lost.values() for record in some])

    def _begun_before(self, job_id: str, run: LiveRun) -> bool:
        """Whether an attempt before this one is known to have begun."""
        return run.attempt > 1 and any(
            record.fire_us == run.fire_us and record.attempt < run.attempt and record.started_us is not None
            for record in self._fetch_history(job_id, True, self._history_limit)
        )
