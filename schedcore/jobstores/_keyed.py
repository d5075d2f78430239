"""Job stores over a server that keeps values under keys, in some order and with no other index: etcd and ZooKeeper.

What a ``DocumentStore`` asks for is kept under two kinds of keys. ``Named``: a value by its name (documents, payloads, ledgers,
notes) or a set of ids (``idle``, ``live``, ``broken``). ``Timed``: in the order of an instant, so that the earliest due jobs
(``wall``, ``elapsed``) and the latest records (``history``, ``failed``) are found without looking at the others.

**A step** is all that changes with one document: its text, its payload, its places in the sets and timelines, and its records.
A server makes a step whole or not at all, and only for who owns the store and if the document still has its old revision.
What is to be removed is told by the document that is replaced, so nothing is searched for.

**Payloads** are at the end of the document's text, behind a line break: that is one key less to write and to read. Those of more
than 500 bytes, which each write of the document would write again, are kept by the uid of the job; if it has ended while it runs,
its payload stays there, and the document says so with an empty one. Where a request cannot hold it, a payload is in pieces: they
are written first, under names that no others have, and the key of the payload says which they are. Pieces that it does not name
are deleted by who opens the store next.

**A ledger** lists the records of a job, by which they are counted, found and cut.

**Batches beyond one request** (thousands of jobs, or one with as many records) are noted before they are begun. What is half done
is undone: at once, or by who opens the store next.

**Where what is.** The keys and steps (``_keyed_keys``); and in layers, each a class over the last, what a server has to do
(``_keyed_backend``), requests (``_keyed_sending``), documents with their payloads (``_keyed_payloads``), run records
(``_keyed_records``), what is due (``_keyed_due``), and here how documents are written, all or none of a batch, and notes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from schedcore.engine import Decision
from schedcore.errors import SerializationError
from schedcore.job import JobRecord
from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import Change, Doc
from schedcore.jobstores._keyed_due import KeyedDue, index_keys
from schedcore.jobstores._keyed_keys import Key, Named, Op, Step, Tree, loose
from schedcore.jobstores.base import Committed, Due
from schedcore.run import Finish

__all__ = ["KeyedStore"]

_TIMELINES: tuple[Tree, ...] = ("wall", "elapsed")
# How many jobs a message names.
_NAMED = 10

_logger = logging.getLogger("schedcore.jobstores")

_new = tuple.__new__  # half the cost of a NamedTuple's own constructor
# What a document replaces that is new.
_NO_DOC = Doc("", 0)
# Attempts to undo a batch that was half done.
_TRIES = 10
# Bytes of an id. It is part of most keys, and all that is done about one job at once has to go into one request.
_LONGEST_ID = 10_000


class KeyedStore(KeyedDue):
    """See the module's docstring."""

    def _reset(self) -> None:
        super()._reset()
        self._notes: dict[str, str] | None = None  # None: they are to be read
        self._notes_to_write: dict[str, str] = {}
        self._ends_to_come = False
        self._halfway = False

    def _forget_what_was_read(self) -> None:
        super()._forget_what_was_read()
        self._notes = None

    def _settle(self) -> None:
        super()._settle()
        if self._halfway and not self._read_only:
            self._undo()
            self._halfway = False

    def _mend(self) -> None:
        super()._mend()
        with self._writing("delete what was not finished"):
            self._delete_lost_records()
        with self._writing("look for jobs without a place"):
            self._restore_places()
        with self._using("read notes"):
            self._fetch_note("")

    def _restore_places(self) -> None:
        """Jobs of which somebody else deleted the place among what is due, or idle, would be in no list, and never run. (One that
        is at a wrong place is noticed when that is come to.)
        """
        missing = self._count_missing_places()
        # What has ended while it runs has no place.
        if missing <= 0 or missing <= sum(not doc.uid for doc in self._fetch_live()):
            return
        placed = set(self._names("idle"))
        for tree in _TIMELINES:
            placed.update(name for _, name in self._earliest(tree, None, None, CHUNK))
        docs = self._bare([job_id for job_id in self._names("jobs") if job_id not in placed])
        lost = [doc for doc in docs.values() if doc.uid]
        self._carry_out(loose((Op("create", index_keys(doc)[0]) for doc in lost), 1))
        if lost:
            named = ", ".join(repr(doc.id) for doc in lost[:_NAMED])
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            _logger.warning("jobs were put back into the places that somebody else had deleted: %s%s", named, more)

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        olds = self._replaced(changes)
        written = [doc is not None for doc in olds]
        if together and not all(written):
            return written
        self._fetch_ledgers({change.doc.id for change in changes if change.records})
        numbers = [number for number, old in enumerate(olds) if old is not None]
        records = {
            number: self._keep_records(changes[number].doc.id, changes[number].records)
            for number in numbers
            if changes[number].records
        }
        steps = self._steps(changes, olds, {number: ops for number, (_, ops) in records.items()}) if numbers else ()
        done = self._carry_out_together(steps, changes) if together else self._carry_out(steps)
        complete = all(done)
        for number, fine in zip(numbers, done, strict=True):
            written[number] = fine
            if number in records and (complete if together else fine):
                ledger, ops = records[number]
                if ops:
                    self._remember_ledger(changes[number].doc.id, ledger)
        return written

    def _steps(
        self, changes: Sequence[Change], olds: Sequence[Doc | None], record_ops: Mapping[int, Sequence[Op]]
    ) -> Iterator[Step]:
        """What changes with each document, made when it is its turn: meanwhile the server writes what comes before."""
        ledgers = self._ledgers
        for number, (change, old) in enumerate(zip(changes, olds, strict=True)):
            if old is None:
                continue
            revision, doc, _, _ = change
            text = None if doc.empty else self._document_text(doc)
            ops = self._index_ops(change, old)
            if number in record_ops:
                ops += record_ops[number]
            tell = bool(doc.live) and doc.id not in ledgers
            yield _new(Step, (doc.id, revision, text, tuple(ops), tell, False))

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        """What takes several steps is undone if one is refused; to ask beforehand takes longer than to write."""
        return True

    def _index_ops(self, change: Change, old: Doc) -> list[Op]:
        """What changes besides the document itself, records left out."""
        after = index_keys(change[1])
        ops: list[Op] = []
        if old is not _NO_DOC:
            before = index_keys(old)
            ops += [Op("delete", key) for key in before if key not in after]
            after = [key for key in after if key not in before]
        ops += [_new(Op, ("create", key, b"")) for key in after]
        ops += self._payload_changes(change, old)
        return ops

    def _replaced(self, changes: Sequence[Change]) -> list[Doc | None]:
        """The document that each change replaces; None: it is another one by now."""
        known: dict[str, Doc] = {}
        unknown: list[str] = []
        for old, doc, _, _ in changes:
            if not old:
                continue
            there = self._known(doc[0], old)
            if there is not None:
                known[doc[0]] = there
            else:
                unknown.append(doc[0])
        known.update(self._bare([job_id for job_id in unknown if job_id not in known]))
        found: list[Doc | None] = []
        seen: set[str] = set()
        for old, doc, _, _ in changes:
            job_id = doc[0]
            replaced = known.get(job_id) if old else _NO_DOC
            # Of two changes of one document the second has to look at what the first one did.
            fits = replaced is not None and replaced.revision == old and job_id not in seen
            found.append(replaced if fits else None)
            seen.add(job_id)
        return found

    def _fitting(self, job: JobRecord, payload: bytes) -> bytes:
        # No character has more than four bytes.
        if len(job.id) > _LONGEST_ID // 4 and (size := len(job.id.encode())) > _LONGEST_ID:
            raise SerializationError(
                f"the job id {job.id[:40]!r}… has {size:,} bytes, and {self._keeper} takes {_LONGEST_ID:,}", path="id"
            )
        return super()._fitting(job, payload)

    # -- all or none --------------------------------------------------------------------------------------------------------

    def _carry_out_together(self, steps: Iterable[Step], changes: Sequence[Change]) -> list[bool]:
        records = any(change.records for change in changes)
        if records:
            steps = list(steps)
        batches = self._batches(steps)
        first = list(islice(batches, 2))
        if len(first) <= 1:
            return self._finish(first[0], together=True) if first else []
        self._halfway = True
        noted = self._note_batch(changes)
        if records:
            # Records that are written ahead of their job are found by its ledger, should the job come to nothing.
            long = [step for step in steps if len(self._parts(step, step.size)) > 1]
            ledgers = [op for step in long for op in step.ops if isinstance(op.key, Named) and op.key.kind == "runs"]
            self._carry_out(loose(ledgers, self._max_ops))
        done = self._carry_out_batches(chain(first, batches))
        if all(done):
            self._carry_out(loose((Op("delete", key) for key in noted), self._max_ops))
        else:
            self._undo()
        self._halfway = False
        return done

    def _note_batch(self, changes: Sequence[Change]) -> list[Key]:
        """Note what is going to be added; where that is."""
        notes: list[Op] = []
        for first in range(0, len(changes), CHUNK):
            text = json.dumps([[change.doc.id, change.doc.uid] for change in changes[first : first + CHUNK]])
            notes.append(Op("create", Named("adding", f"{first:010}"), text.encode()))
        self._carry_out([Step(None, 0, None, (note,)) for note in notes])
        return [note.key for note in notes]

    def _batch_keys(self) -> list[Key]:
        return [Named("adding", name) for name in self._names("adding")]

    def _undo(self) -> None:
        """Remove what was added by a batch that was not finished."""
        keys = self._batch_keys()
        for value in self._values(keys).values():
            try:
                added = {str(job_id): str(uid) for job_id, uid in json.loads(value)}
            except (ValueError, TypeError):
                continue
            for _ in range(_TRIES):
                docs = [doc for doc in self._bare(list(added)).values() if doc.uid and doc.uid == added[doc.id]]
                undone = [Change(doc.revision, Doc(doc.id, doc.revision + 1, past=doc.past)) for doc in docs]
                for doc in docs:
                    self._docs[doc.id] = doc
                done = self._write(undone, False)
                for doc in docs:
                    self._docs.pop(doc.id, None)
                if all(done):
                    break
            self._delete_records_of(added)
        self._delete_lost_pieces()
        self._carry_out(loose((Op("delete", key) for key in keys), self._max_ops))

    # -- notes --------------------------------------------------------------------------------------------------------------

    # They are read once, and written with whatever is written next: that is how runs ended, if some have just begun; else at
    # the latest before the next cycle, or at the end.

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        committed = super().commit(decisions, now_us)
        self._ends_to_come = bool(committed.runs)
        return committed

    def finish(self, finishes: Sequence[Finish]) -> None:
        super().finish(finishes)
        self._ends_to_come = False

    def _fetch_note(self, name: str) -> str | None:
        if name in self._notes_to_write:
            return self._notes_to_write[name]
        if self._notes is None or self._read_only:
            values = self._values([Named("notes", there) for there in self._names("notes")])
            self._notes = {key[-1]: value.decode("utf-8", "replace") for key, value in values.items()}
        return self._notes.get(name)

    def _write_note(self, name: str, value: str) -> None:
        self._notes_to_write[name] = value

    def next_due(self) -> Due:
        found = super().next_due()
        if self._notes_to_write:
            if not self._ends_to_come:
                self._write_notes()
            self._ends_to_come = False
        return found

    def _note_ops(self) -> list[Op]:
        """What writes the notes."""
        there = self._notes or {}
        return [
            Op("set" if name in there else "create", Named("notes", name), value.encode())
            for name, value in self._notes_to_write.items()
        ]

    def _write_notes(self) -> None:
        with self._writing("write notes"):
            self._carry_out([Step(None, 0, None, ())])

    def _carry_out(self, steps: Iterable[Step]) -> list[bool]:
        if not steps or not self._notes_to_write:
            return super()._carry_out(steps)
        done = super()._carry_out(chain((Step(None, 0, None, tuple(self._note_ops())),), steps))
        if self._notes is not None:
            self._notes.update(self._notes_to_write)
        self._notes_to_write.clear()
        return done[1:]
