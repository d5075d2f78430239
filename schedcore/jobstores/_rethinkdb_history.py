"""Run records in RethinkDB: written, counted, cut and listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.jobstores._documents_doc import Change, unpack_record
from schedcore.jobstores._rethinkdb_owner import OwnedTables
from schedcore.jobstores._rethinkdb_rows import Row, key_of, record_row
from schedcore.jobstores._rethinkdb_terms import text
from schedcore.run import RunRecord

__all__ = ["History"]

# Jobs whose number of records is kept in mind.
_COUNTED = 10_000


class History(OwnedTables):
    """The table ``jobs_runs``."""

    def _reset(self) -> None:
        super()._reset()
        self._counts: dict[str, int] = {}

    def _write_records(self, changes: Sequence[Change], token: str) -> None:
        rows: list[Row] = []
        for change in changes:
            for uid, record in change.records:
                rows.append(record_row(uid, record, token))
                if record.job_id in self._counts:
                    self._counts[record.job_id] += 1
        self._insert(self._runs, rows, conflict=lambda key, old, new: old)

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        if not keys:
            return set()
        ids = {f"{uid}:{fire_us}:{attempt}": (uid, fire_us) for uid, fire_us in keys}
        return {ids[key] for key in self._line.ask(self._read_runs.get_all(*ids).map(lambda row: row["id"]))}

    def _of_job(self, table: Any, job_id: str) -> Any:
        key = key_of(job_id)
        return table.between([key, r.minval], [key, r.maxval], index="job")

    def _cut(self, jobs: Iterable[str]) -> None:
        """Delete the oldest records of jobs that have a tenth more of them than they should."""
        ids, counts = list(jobs), self._counts
        unknown = [job_id for job_id in ids if job_id not in counts]
        if unknown:
            if len(counts) + len(unknown) > _COUNTED:
                counts.clear()
                unknown = ids
            found = self._line.ask(r.expr([self._of_job(self._read_runs, job_id).count() for job_id in unknown]))
            counts.update(zip(unknown, map(int, found), strict=True))
        keep = self._history_limit
        for job_id in ids:
            if counts[job_id] > keep + keep // 10:
                old = self._of_job(self._runs, job_id).order_by(index=r.desc("job")).skip(keep)
                self._check(self._line.ask(old.delete()))
                counts[job_id] = keep

    def _delete_records(self, before_us: int, limit: int) -> int:
        old = self._runs.between(r.minval, [before_us], index="fire").order_by(index="fire").limit(limit)
        self._counts.clear()
        result = self._line.ask(old.delete())
        self._check(result)
        return int(result["deleted"])

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        if limit < 1:
            return []
        if job_id is not None:
            rows = self._of_job(self._read_runs, job_id).order_by(index=r.desc("job"))
            if failed:
                rows = rows.filter({"failed": True})
            limit = min(limit, self._history_limit)
        elif failed:
            rows = self._read_runs.between([True, r.minval], [True, r.maxval], index="failed")
            rows = rows.order_by(index=r.desc("failed"))
        else:
            rows = self._read_runs.order_by(index=r.desc("fire"))
        records = [
            unpack_record(packed) for packed in self._line.ask(rows.limit(limit).map(lambda row: text(row, "record")))
        ]
        return [record for record in records if record is not None]
