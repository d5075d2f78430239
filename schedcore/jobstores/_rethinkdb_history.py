"""Run records in RethinkDB: written, counted, cut and listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.jobstores._documents_decided import Records, unpack_decided, with_decided
from schedcore.jobstores._documents_doc import unpack_record
from schedcore.jobstores._rethinkdb_owner import OwnedTables
from schedcore.jobstores._rethinkdb_rows import ANY_LENGTH, Row, key_of, record_row, without_decided
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

    def _take_over(self) -> None:
        super()._take_over()
        # Whether documents may have records that were not moved.
        self._unmoved = True

    def _write_records(self, records: Records, token: str) -> None:
        rows: list[Row] = []
        for uid, record in records:
            rows.append(record_row(uid, record, token))
            if record.job_id in self._counts:
                self._counts[record.job_id] += 1
        self._insert(self._runs, rows, conflict=lambda key, old, new: old)

    def _move(self, token: str, records: Records) -> None:
        """Have records no longer in their documents. ``token``: of the batch that wrote them there."""
        self._write_records(records, token)
        self._check(self._line.ask(self._jobs.get_all(token, index="decided").replace(without_decided)))

    def _left(self) -> dict[str, Records]:
        """What is left in documents: records by the token of the batch that wrote them."""
        rows = self._read_jobs.between(r.minval, r.maxval, index="decided")
        found = self._line.ask(
            rows.map(
                lambda row: {
                    "w": text(row["decided"], "w"),
                    # Of any length: what is not read here is not moved, and gone.
                    "records": text(row["decided"], "records", most=ANY_LENGTH),
                }
            )
        )
        left: dict[str, Records] = {}
        for row in found:
            left[row["w"]] = [*left.get(row["w"], ()), *unpack_decided(row["records"])]
        return left

    def _move_what_is_left(self) -> None:
        """Move what writes have left in documents that did not come to their end, whoever made them."""
        for token, records in self._left().items():
            self._move(token, records)
        self._unmoved = False

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
        # These first: none is missed that is moved in between.
        unmoved = [one for records in self._left().values() for one in records if job_id in (None, one[1].job_id)]
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
        found = self._line.ask(
            rows.limit(limit).map(lambda row: {"id": text(row, "id"), "record": text(row, "record")})
        )
        records = [(row["id"], unpack_record(row["record"])) for row in found]
        return with_decided([(key, record) for key, record in records if record is not None], unmoved, failed, limit)
