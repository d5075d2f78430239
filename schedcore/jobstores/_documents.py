"""Job stores that keep a job in one document: Redis, MongoDB, ZooKeeper, etcd, RethinkDB.

**A document** (``Doc``) is all that is known of one job id: the definition's payload, its place in the schedule, its live runs,
and, of earlier jobs that had the same id, the runs that are live still (``past``). One atomic write of it therefore does what
takes SQL stores a transaction: claim, runs and next fire time are committed together, per job. Run records of what is over lie
beside it (``history``).

**Claims.** ``acquire`` only reads. What a decision was made from is compared when it is committed: the write says which
revision it replaces, and one that finds another one changes nothing. So a fire time is decided about once, whoever reads it.

**What a backend supplies** (``_documents_backend``) is little: look documents up by id, by due time and in pages; write some of
them if their revision is still the same; keep run records; notes; and keep a second scheduler off. Everything else is the same
for all: reading and writing (``_documents_access``), the way of a run (``_documents_runs``), what a dead scheduler left
(``_documents_recovery``), and here opening, closing, and the jobs themselves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from schedcore.errors import ConflictingIdError, JobLookupError, JobStoreInUseError, SerializationError
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import Change, Doc, Past, check_id, check_ids, is_text
from schedcore.jobstores._documents_recovery import DocumentRecovery
from schedcore.jobstores._payload import SOON_US, Loaded, StoredRecord
from schedcore.jobstores.base import StoreHost
from schedcore.run import RunRecord

__all__ = ["DocumentStore"]

_new = tuple.__new__  # half the cost of a NamedTuple's own constructor
_ACTIVE = JobState.ACTIVE  # each look at a member of an enumeration is a call


class DocumentStore(DocumentRecovery):
    """See the module's docstring."""

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def start(self, scheduler: StoreHost, alias: str) -> None:
        """Connect, keep others off, and take back broken jobs whose code is there again.

        Raises ``JobStoreInUseError`` while another scheduler has it open, and ``JobStoreError``.
        """
        with self._turns.take():
            if self._opened:
                raise JobStoreInUseError(
                    "this job store object is in use by a scheduler already; give each scheduler a job store of its own"
                )
            super().start(scheduler, alias)
            self._reset()
            with ExitStack() as undo:
                undo.callback(self.shutdown)
                self._opened = True
                with self._errors("open the store"):
                    if self._read_only:
                        self._open_to_read()
                    else:
                        self._open()
                if not self._read_only:
                    self._mend()
                    with self._writing("forget what is old"):
                        self._forget_old(scheduler.clock.wall_us())
                undo.pop_all()

    def shutdown(self) -> None:
        with self._turns.take():
            if self._opened:
                self._opened = False
                self._close()
            self._reset()

    def awaited_here(self) -> bool:
        return self._turns.awaited_here()

    def _mend(self) -> None:
        """Jobs that were set aside and can be loaded again go on where they stood."""
        with self._writing("look for jobs that were set aside"):
            docs = [doc for doc in self._fetch_broken() if doc.uid and doc.fire_us is not None]
            loaded = self._definitions.load(docs)
            changes = [
                Change(
                    doc.revision,
                    doc._replace(state=JobState.ACTIVE, due_us=doc.fire_us, reason=None, revision=doc.revision + 1),
                    keeps_payload=True,
                )
                for doc in docs
                if loaded[doc.id].reason is None
            ]
            self._put(changes)

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def check(self, job: JobRecord) -> None:
        check_id(job.id)
        self._encode(job)

    def _encode(self, job: JobRecord) -> bytes:
        return self._fitting(job, self.codec.encode(job))

    def _fitting(self, job: JobRecord, payload: bytes) -> bytes:
        limit = self._payload_limit
        if limit is not None and len(payload) > limit:
            raise SerializationError(
                f"job {job.id!r} cannot be stored: its record has {len(payload):,} bytes, and {self._keeper} takes "
                f"{limit:,}; keep the data elsewhere, and give the job the place where it is"
            )
        return payload

    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
        records: dict[str, list[RunRecord]] = {}
        for record in skipped:
            records.setdefault(record.job_id, []).append(record)
        jobs = [entry.job for entry in entries]
        ids = [job.id for job in jobs]
        check_ids(ids)
        if len(set(ids)) < len(ids):
            raise ConflictingIdError(Counter(ids).most_common(1)[0][0])
        payloads = self.codec.encode_all(jobs)
        if self._payload_limit is not None:
            for job, payload in zip(jobs, payloads, strict=True):
                self._fitting(job, payload)
        with self._writing("add jobs"):
            # Mostly nobody has these ids. Where somebody has, nothing was written. (Many records would not go in one step.)
            blind = not skipped and self._refuses_in_one_step(ids)
            changes = self._added(entries, payloads, records, {}) if blind else []
            if not changes or not all(self._put(changes, together=True)):
                changes = self._added(entries, payloads, records, self._read(ids))
                written = self._put(changes, together=True)
                for change, done in zip(changes, written, strict=True):
                    if not done:
                        raise ConflictingIdError(change.doc.id)
            assert self._scheduler is not None
            # What is not due soon has no use yet for a place in memory, and others have.
            soon_us = self._scheduler.clock.wall_us() + SOON_US
            soon = [
                (doc, job)
                for (_, doc, _, _), job in zip(changes, jobs, strict=True)
                if doc.due_us is not None and doc.due_us <= soon_us
            ]
            for doc, _ in soon:
                self._remember(doc)
            self._definitions.keep(soon)

    def _added(
        self,
        entries: Sequence[JobEntry],
        payloads: Sequence[bytes],
        records: Mapping[str, Sequence[RunRecord]],
        there: Mapping[str, Doc],
    ) -> list[Change]:
        """What adds jobs, with the records of them, beside what is there of their ids. Raises ``ConflictingIdError``."""
        changes: list[Change] = []
        uids = os.urandom(16 * len(entries)).hex()
        for number, (entry, payload) in enumerate(zip(entries, payloads, strict=True)):
            job, state, fire_us, due_us, reason, _ = entry
            job_id = job[0]
            revision: int = 0
            past: tuple[Past, ...] = ()
            old = there.get(job_id)
            if old is not None:
                revision, past = old.revision, old.past
                if old.uid:
                    raise ConflictingIdError(job_id)
            uid = uids[32 * number : 32 * number + 32]
            its_records: tuple[tuple[str, RunRecord], ...] = ()
            if job_id in records:
                its_records = tuple([(uid, record) for record in records[job_id]])
            if state is not _ACTIVE:
                due_us = None
            elapsed = job.trigger.elapsed
            values = job_id, revision + 1, uid, 1, state, elapsed, fire_us, due_us, reason, 0, payload, (), past
            doc: Doc = _new(Doc, values)
            changes.append(_new(Change, (revision, doc, its_records, False)))
        return changes

    def get_entry(self, job_id: str) -> JobEntry | None:
        if not is_text(job_id):
            return None
        with self._using("look a job up"):
            doc = self._read([job_id]).get(job_id)
            return None if doc is None or not doc.uid else self._entry(doc, self._definitions.load([doc])[job_id])

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        place = None if after is None else (after.due_us, after.job.id)
        with self._using("list jobs"):
            docs = [doc for doc in self._fetch_page(place, limit) if doc.uid]
            if self._read_only:
                # One that its owner moved on while they were read may be found in two places.
                docs = list({doc.id: doc for doc in docs}.values())
            loaded = self._definitions.load(docs)
            return [self._entry(doc, loaded[doc.id]) for doc in docs]

    def _entry(self, doc: Doc, loaded: Loaded) -> JobEntry:
        if loaded.reason is not None:
            # What keeps it from being loaded now, though something else may have been the reason why it was set aside.
            paused = doc.state is JobState.PAUSED
            return JobEntry(loaded.record, JobState.BROKEN, doc.fire_us, doc.due_us, loaded.reason, paused)
        return JobEntry(loaded.record, doc.state, doc.fire_us, doc.due_us, doc.reason)

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        job_id = old.job.id
        payload = None if new.job is old.job else self._encode(new.job)
        with self._writing("change a job"):
            doc = self._read([job_id]).get(job_id)
            if doc is None or not doc.uid:
                raise JobLookupError(job_id)
            if doc.fire_us != old.fire_us or doc.due_us != old.due_us or not self._is_same(doc, old.job):
                return False
            changed = doc._replace(
                revision=doc.revision + 1,
                version=doc.version + 1,
                state=new.state,
                fire_us=new.fire_us,
                due_us=new.due_us if new.state is JobState.ACTIVE else None,
                reason=new.reason,
            )
            if payload is not None:
                changed = changed._replace(payload=payload, elapsed=new.job.trigger.elapsed)
            records = tuple((doc.uid, record) for record in skipped)
            (done,) = self._put([Change(doc.revision, changed, records, payload is None)])
            self._forget(doc)
            return done

    def _is_same(self, doc: Doc, job: JobRecord) -> bool:
        """Whether a document's definition is still the one that ``job`` was read from."""
        if isinstance(job, StoredRecord) and job.version:
            return (job.uid, job.version) == (doc.uid, doc.version)
        return doc.payload == self.codec.encode(job)

    def _forget(self, doc: Doc) -> None:
        """A job was changed or removed: nothing that was known of it holds any more."""
        self._definitions.forget(doc.uid)
        self._claimed.pop(doc.id, None)

    def remove_job(self, job_id: str) -> None:
        if not is_text(job_id):
            raise JobLookupError(job_id)
        with self._writing("remove a job"):
            self._remove([job_id], missing=True)

    def remove_all_jobs(self) -> None:
        with self._writing("remove all jobs"):
            while True:
                page = [doc.id for doc in self._fetch_page(None, CHUNK) if doc.uid]
                if not page:
                    return
                self._remove(page, missing=False)

    def _remove(self, ids: Sequence[str], *, missing: bool) -> None:
        def remove(doc: Doc) -> Change | None:
            if not doc.uid:
                if missing:
                    raise JobLookupError(doc.id)
                return None
            self._forget(doc)
            return Change(doc.revision, doc.without_job(keep=False)._replace(revision=doc.revision + 1))

        self._change(ids, remove)

    # -- notes --------------------------------------------------------------------------------------------------------------

    def get_note(self, name: str) -> str | None:
        with self._using("read a note"):
            return self._fetch_note(name)

    def put_note(self, name: str, value: str) -> None:
        with self._writing("write a note"):
            self._write_note(name, value)
