"""Job stores over a server that keeps values under keys, in some order and with no other index: etcd and ZooKeeper.

What a ``DocumentStore`` asks for is kept under two kinds of keys. ``Named``: a value by its name (documents, payloads, ledgers,
notes) or a set of ids (``idle``, ``live``, ``broken``). ``Timed``: in the order of an instant, so that the earliest due jobs
(``wall``, ``elapsed``) and the latest records (``history``, ``failed``) are found without looking at the others.

**A step** is all that changes with one document: its text, its payload, its places in the sets and timelines, and its records.
A server makes a step whole or not at all, and only for who owns the store and if the document still has its old revision.
What is to be removed is told by the document that is replaced, so nothing is searched for.

**Payloads** are at the end of the document's text, behind a line break: that is one key less to write and to read. Those of more
than 500 bytes, which each write of the document would write again, are kept by the uid of the job; if it has ended while it runs,
its payload stays there, and the document says so with an empty one.
Where a request cannot hold it, a payload is in pieces: they are written first, under names that no
others have, and the key of the payload says which they are. Pieces that it does not name are deleted by who opens the store next.

**A ledger** lists the records of a job, by which they are counted, found and cut.

**Batches beyond one request** (thousands of jobs, or one with as many records) are noted before they are begun. What is half done
is undone: at once, or by who opens the store next.
"""

from __future__ import annotations

import heapq
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple

from schedcore.engine import Decision
from schedcore.job import JobState
from schedcore.jobstores._documents_backend import CHUNK
from schedcore.jobstores._documents_doc import DAMAGED, Change, Doc, pack_record, unpack_doc, unpack_record
from schedcore.jobstores._owned import OwnedStore
from schedcore.jobstores.base import Committed, Due
from schedcore.run import Finish, RunRecord, RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["DIGITS", "OFFSET_US", "Key", "KeyedStore", "Kind", "Named", "Op", "Step", "Timed", "Tree"]

# Instants of keys are counted from here, so that none is negative, and have so many digits.
OFFSET_US = 10**17
DIGITS = 18
# Records whose place is remembered in ledgers, over all jobs: about 10 MB.
_LEDGER_CACHE = 100_000
# Places that are remembered of each timeline, and twice as many for a moment.
_HORIZON = 1000
# Attempts to undo a batch that was half done.
_TRIES = 10
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# Bytes up to which a payload lies in the document.
_SMALL = 500
# Pieces of a payload at the most.
_MOST_PIECES = 16
# What a payload begins with that is in pieces. Then come, with a space between, what their names have in common and how many.
_IN_PIECES = b"\0in pieces "

Kind = Literal["jobs", "payloads", "runs", "notes", "idle", "live", "broken", "adding", "pieces"]
Tree = Literal["wall", "elapsed", "history", "failed"]


class Named(NamedTuple):
    """A key with a name."""

    kind: Kind
    name: str


class Timed(NamedTuple):
    """A key with an instant (microseconds) and a name."""

    tree: Tree
    at_us: int
    name: str


Key = Named | Timed


class Op(NamedTuple):
    """One key that changes. That it is there (``set``, ``delete``) or not (``create``) is what should be; if a stranger had a
    hand in it, the outcome counts.
    """

    verb: Literal["create", "set", "delete"]
    key: Key
    value: bytes = b""


class Step(NamedTuple):
    """What changes together, if the document has the revision ``old`` (0: it is not there). Without ``doc_id``: in any case."""

    doc_id: str | None
    old: int
    text: bytes | None  #: of the document; None: it is deleted
    ops: tuple[Op, ...]
    #: Its job's ledger is not known, and soon needed: ``_apply`` may bring it along (``_learn_ledger``).
    tell: bool = False
    #: It is a part of the step that follows, and what becomes of that one counts.
    ahead: bool = False

    @property
    def size(self) -> int:
        """About how many bytes are sent for it."""
        return 200 + len(self.text or b"") + sum(120 + len(op.value) + 3 * len(op.key[-1]) for op in self.ops)


class _Apart(bytes):
    """A payload as it was found under a key of its own, whatever its length."""


class _Entry(NamedTuple):
    """A record in a ledger."""

    fire_us: int
    attempt: int
    uid: str
    failed: bool

    def key(self, tree: Tree) -> Timed:
        return Timed(tree, self.fire_us, f"{self.attempt}-{self.uid}")


_Ledger = tuple[_Entry, ...]


class _Horizon:
    """The earliest places of a timeline, as far as they are known. As long as the store is ours, nobody else changes them."""

    __slots__ = ("_places", "_upto_us")

    def __init__(self, places: Iterable[tuple[int, str]], upto_us: int | None) -> None:
        self._places = set(places)
        self._upto_us = upto_us  # all places before that are known; None: all there are

    def upto(self, at_us: int, limit: int) -> list[tuple[int, str]] | None:
        """The places up to an instant, so many at most; None: they have to be asked for."""
        if self._upto_us is not None and at_us >= self._upto_us:
            return None
        return heapq.nsmallest(limit, (place for place in self._places if place[0] <= at_us))

    def first(self) -> tuple[int | None] | None:
        """The earliest instant, which is None where nothing is; None: it has to be asked for."""
        if self._places:
            return (min(self._places)[0],)
        return (None,) if self._upto_us is None else None

    def add(self, place: tuple[int, str]) -> None:
        if self._upto_us is None or place[0] < self._upto_us:
            self._places.add(place)
            if len(self._places) > 2 * _HORIZON:
                self._places = set(heapq.nsmallest(_HORIZON, self._places))
                # Of those that are due at the same instant as the last of them, others may have been left out.
                self._upto_us = max(self._places)[0]

    def remove(self, place: tuple[int, str]) -> None:
        self._places.discard(place)


class KeyedStore(OwnedStore):
    """See the module's docstring. A backend supplies the methods at the end, and takes the store in ``_open``."""

    _writes_at_once: ClassVar[bool] = True
    #: Of one request: how many steps, how many operations each, and bytes, unless it is a single step.
    _max_steps: ClassVar[int]
    _max_ops: ClassVar[int]
    _max_bytes: ClassVar[int]
    #: Bytes of a payload beyond which it is kept in pieces of this size; None: never.
    _piece_size: ClassVar[int | None] = None

    def _reset(self) -> None:
        super()._reset()
        self._ledgers: dict[str, _Ledger] = {}
        self._ledger_size = 0
        self._horizons: dict[Tree, _Horizon] = {}
        self._pieces: dict[str, set[str]] | None = None  # that are there, by uid; None: they are to be read
        self._notes: dict[str, str] | None = None  # None: they are to be read
        self._notes_to_write: dict[str, str] = {}
        self._ends_to_come = False
        self._halfway = False

    def _forget_what_was_read(self) -> None:
        super()._forget_what_was_read()
        self._ledgers.clear()
        self._ledger_size = 0
        self._horizons.clear()
        self._pieces = None
        self._notes = None

    def _settle(self) -> None:
        super()._settle()
        if self._halfway and not self._read_only:
            self._undo()
            self._halfway = False

    # -- documents --------------------------------------------------------------------------------------------------------

    def _bare(self, ids: Sequence[str]) -> dict[str, Doc]:
        """Documents by id, without payloads that are elsewhere; those that are not there are left out."""
        found: dict[str, Doc] = {}
        for first in range(0, len(ids), CHUNK):
            for job_id, (text, revision) in self._texts(ids[first : first + CHUNK]).items():
                text, inside, payload = text.partition(b"\n")
                found[job_id] = unpack_doc(job_id, revision, text, payload if inside else None)
        return found

    def _remember(self, doc: Doc) -> None:
        # A payload that has a key of its own is not needed to write the document.
        super()._remember(doc if doc.payload is None or _is_inside(doc.payload) else doc._replace(payload=None))

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        docs = self._bare(ids)
        payloads = self._payloads(key for doc in docs.values() for key in _payload_keys(doc))

        def full(doc: Doc) -> Doc:
            def apart(uid: str) -> bytes | None:
                found = payloads.get(Named("payloads", uid))
                return None if found is None else _Apart(found)

            past = tuple(
                [one._replace(payload=apart(one.uid) or b"") if one.payload == b"" else one for one in doc.past]
            )
            return doc._replace(payload=apart(doc.uid) if doc.payload is None else doc.payload, past=past)

        return {job_id: full(doc) for job_id, doc in docs.items()}

    def _fetch_payloads(self, docs: Sequence[Doc]) -> Mapping[str, bytes | None]:
        found = self._payloads(Named("payloads", doc.uid) for doc in docs)
        return {doc.id: found.get(Named("payloads", doc.uid)) for doc in docs}

    # -- pieces -----------------------------------------------------------------------------------------------------------

    def _payloads(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Payloads, those that are in pieces put together; one of which some are missing is left as it is, and cannot be read."""
        wanted = list(dict.fromkeys(keys))
        found = dict(self._values(wanted))
        for _ in range(_TRIES):
            names = {key: _piece_keys(key, found[key]) for key in wanted if key in found}
            wanted = []
            for key, some in names.items():
                values = self._values(some) if some else {}
                if len(values) == len(some) > 0:
                    found[key] = b"".join([values[piece] for piece in some])
                elif some:
                    wanted.append(key)
            if not wanted or not self._read_only:
                break
            # Its owner has changed it meanwhile.
            found.update(self._values(wanted))
        return found

    def _payload_ops(self, key: Named, payload: bytes, there: bool) -> list[Op]:
        verb: Literal["set", "create"] = "set" if there else "create"
        size = self._piece_size
        if size is None or (len(payload) <= size and not payload.startswith(_IN_PIECES)):
            return [Op(verb, key, payload)]
        value = _IN_PIECES + f"{os.urandom(8).hex()} {-(-len(payload) // size)}".encode()
        starts = range(0, len(payload), size)
        pieces = [
            Op("create", piece, payload[start : start + size])
            for start, piece in zip(starts, _piece_keys(key, value), strict=True)
        ]
        return [*pieces, Op(verb, key, value)]

    def _pieces_by_uid(self) -> dict[str, set[str]]:
        if self._pieces is None:
            self._pieces = {}
            for name in [] if self._piece_size is None else self._names("pieces"):
                self._pieces.setdefault(name.partition("-")[0], set()).add(name)
        return self._pieces

    def _drop_pieces(self, uid: str) -> list[Op]:
        """What deletes the pieces that are there of a job's payload, also those that it does not name."""
        return [Op("delete", Named("pieces", name)) for name in sorted(self._pieces_by_uid().get(uid, ()))]

    def _follow_pieces(self, steps: Iterable[Step]) -> None:
        """What was written and deleted."""
        if self._pieces is None or self._piece_size is None:
            return
        for verb, key, _ in [op for step in steps for op in step.ops if op.key[0] == "pieces"]:
            uid = key[-1].partition("-")[0]
            if verb == "create":
                self._pieces.setdefault(uid, set()).add(key[-1])
            elif uid in self._pieces:
                self._pieces[uid].discard(key[-1])
                if not self._pieces[uid]:
                    del self._pieces[uid]

    def _delete_lost_pieces(self) -> None:
        """Those whose job was not written any more."""
        self._pieces = None
        keys: list[Key] = [Named("payloads", uid) for uid in self._pieces_by_uid()]
        named = {piece for key, value in self._values(keys).items() for piece in _piece_keys(key, value)}
        lost = [op for key in keys for op in self._drop_pieces(key[-1]) if op.key not in named]
        self._carry_out(_loose(lost, self._max_ops))

    # -- due --------------------------------------------------------------------------------------------------------------

    def _due_docs(
        self, tree: Tree, after: tuple[int, str] | None, upto_us: int | None, limit: int | None, stale: list[Op] | None
    ) -> list[Doc]:
        places = self._earliest(tree, after, upto_us, CHUNK if limit is None else limit)
        return self._docs_at(tree, places, limit, stale)

    def _docs_at(
        self, tree: Tree, places: Iterator[tuple[int, str]], limit: int | None, stale: list[Op] | None
    ) -> list[Doc]:
        found: list[Doc] = []
        while limit is None or len(found) < limit:
            some = list(islice(places, CHUNK if limit is None else min(CHUNK, limit - len(found))))
            if not some:
                break
            # Who looks for due jobs has written them last. Should a stranger have changed one, the commit is refused.
            docs = {} if stale is None else self._in_memory(tree, some)
            docs.update(self._bare([job_id for _, job_id in some if job_id not in docs]))
            for due_us, job_id in some:
                doc = docs.get(job_id)
                if doc is not None and doc.due_us is None and doc.reason == DAMAGED:
                    doc = doc._replace(due_us=due_us, elapsed=tree == "elapsed")
                if doc is not None and _due_key(doc) == (tree, due_us, job_id):
                    found.append(doc)
                elif doc is not None and doc.due_us is not None and self._read_only:
                    found.append(doc)  # it has moved on since its place was read
                elif stale is not None:
                    stale.append(Op("delete", Timed(tree, due_us, job_id)))
        return found

    def _in_memory(self, tree: Tree, places: Iterable[tuple[int, str]]) -> dict[str, Doc]:
        """The documents of places, as far as they are in memory."""
        known = ((due_us, self._docs.get(job_id)) for due_us, job_id in places)
        return {doc.id: doc for due_us, doc in known if doc is not None and _due_key(doc) == (tree, due_us, doc.id)}

    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        tree: Tree = "elapsed" if elapsed else "wall"
        horizon = self._horizons.get(tree)
        places = None if horizon is None else horizon.upto(upto_us, limit)
        if places is None:
            places = list(islice(self._earliest(tree, None, upto_us, limit), limit))
            if len(places) < limit:
                self._horizons[tree] = _Horizon(places, upto_us + 1)
        stale: list[Op] = []
        docs = self._docs_at(tree, iter(places), limit, stale)
        # Somebody else deleted or altered documents. Left there, these places would be looked at again and again.
        self._carry_out(_loose(stale, self._max_ops))
        return docs

    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        return list(islice(self._earliest("elapsed" if elapsed else "wall", None, None, limit), limit))

    def _next_due(self, elapsed: bool) -> int | None:
        if self._claimed or self._read_only:
            return super()._next_due(elapsed)
        tree: Tree = "elapsed" if elapsed else "wall"
        horizon = self._horizons.get(tree)
        first = None if horizon is None else horizon.first()
        if first is None:
            places = list(islice(self._earliest(tree, None, None, 1), 1))
            self._horizons[tree] = _Horizon(places, places[0][0] if places else None)
            return places[0][0] if places else None
        return first[0]

    def _move_horizons(self, steps: Iterable[Step]) -> None:
        """What was written may be due before all else, or have been."""
        for step in steps:
            for verb, key, _ in step.ops:
                horizon = self._horizons.get(key.tree) if isinstance(key, Timed) else None
                if horizon is None or not isinstance(key, Timed):
                    continue
                if verb == "delete":
                    horizon.remove((key.at_us, key.name))
                else:
                    horizon.add((key.at_us, key.name))

    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        docs: list[Doc] = []
        name = ""
        if after is not None and after[0] is None:
            name = after[1]
        else:
            place = None if after is None or after[0] is None else (after[0], after[1])
            docs += self._due_docs("wall", place, None, limit, None)
            docs += self._due_docs("elapsed", place, None, limit, None)
            docs.sort(key=lambda doc: (doc.due_us or 0, doc.id))
        left = None if limit is None else limit - len(docs)
        if left is None or left > 0:
            ids = self._names("idle", name, left)
            idle = self._bare(ids)
            docs += [idle[job_id] for job_id in ids if job_id in idle]
        return docs[:limit]

    def _fetch_live(self) -> Sequence[Doc]:
        return list(self._bare(self._names("live")).values())

    def _fetch_broken(self) -> Sequence[Doc]:
        return [doc for doc in self._bare(self._names("broken")).values() if doc.state is JobState.BROKEN]

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        olds = self._replaced(changes)
        written = [doc is not None for doc in olds]
        if together and not all(written):
            return written
        self._fetch_ledgers({change.doc.id for change in changes if change.records})
        numbers: list[int] = []
        steps: list[Step] = []
        ledgers: dict[int, tuple[str, _Ledger]] = {}
        for number, (change, old) in enumerate(zip(changes, olds, strict=True)):
            if old is None:
                continue
            ledger, record_ops = self._keep_records(change.doc.id, change.records)
            ops = (*self._index_ops(change, old), *record_ops)
            if record_ops:
                ledgers[number] = change.doc.id, ledger
            text = None if change.doc.empty else _text(change.doc)
            tell = bool(change.doc.live) and change.doc.id not in self._ledgers
            steps.append(Step(change.doc.id, change.old, text, ops, tell))
            numbers.append(number)
        done = self._carry_out_together(steps, changes) if together else self._carry_out(steps)
        for number, fine in zip(numbers, done, strict=True):
            written[number] = fine
            if number in ledgers and (all(done) if together else fine):
                self._remember_ledger(*ledgers[number])
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        """What takes several steps is undone if one is refused; to ask beforehand takes longer than to write."""
        return True

    def _index_ops(self, change: Change, old: Doc) -> list[Op]:
        """What changes besides the document itself, records left out."""
        doc = change.doc
        before, after = _index_keys(old), _index_keys(doc)
        there, kept = _payload_keys(old), _payload_keys(doc)
        ops = [Op("delete", key) for key in before if key not in after]
        ops += [Op("create", key) for key in after if key not in before]
        for key in there:
            if key not in kept:
                ops += [*self._drop_pieces(key.name), Op("delete", key)]
        if doc.uid and type(doc.payload) is bytes and not _is_inside(doc.payload):
            key = Named("payloads", doc.uid)
            ops += [*self._drop_pieces(key.name), *self._payload_ops(key, doc.payload, key in there)]
        return ops

    def _replaced(self, changes: Sequence[Change]) -> list[Doc | None]:
        """The document that each change replaces; None: it is another one by now."""
        known: dict[str, Doc] = {}
        for old, doc, *_ in changes:
            there = self._known(doc.id, old)
            if there is not None:
                known[doc.id] = there
        known.update(self._bare([doc.id for old, doc, *_ in changes if old and doc.id not in known]))
        found: list[Doc | None] = []
        seen: set[str] = set()
        for old, doc, *_ in changes:
            replaced = Doc(doc.id, 0) if not old else known.get(doc.id)
            # Of two changes of one document the second has to look at what the first one did.
            fits = replaced is not None and replaced.revision == old and doc.id not in seen
            found.append(replaced if fits else None)
            seen.add(doc.id)
        return found

    def _carry_out(self, steps: Sequence[Step], *, together: bool = False) -> list[bool]:
        if together or not steps or not self._notes_to_write:
            return self._carry_out_now(steps, together)
        done = self._carry_out_now([Step(None, 0, None, tuple(self._note_ops())), *steps], together)
        if self._notes is not None:
            self._notes.update(self._notes_to_write)
        self._notes_to_write.clear()
        return done[1:]

    def _carry_out_now(self, steps: Sequence[Step], together: bool) -> list[bool]:
        done: list[bool] = []
        for batch in self._batches(steps):
            with self._telling():
                made = self._apply(batch, together)
            if not all(made):
                self._horizons.clear()
            written = [step for step, fine in zip(batch, made, strict=True) if fine]
            self._move_horizons(written)
            self._follow_pieces(written)
            done += [fine for step, fine in zip(batch, made, strict=True) if not step.ahead]
        return done

    def _batches(self, steps: Sequence[Step]) -> Iterator[list[Step]]:
        batch: list[Step] = []
        size = 0
        for step in steps:
            for part in self._parts(step):
                part_size = part.size
                full = len(batch) >= self._max_steps or size + part_size > self._max_bytes
                if batch and (full or part.ahead or batch[-1].ahead):
                    yield batch
                    batch, size = [], 0
                batch.append(part)
                size += part_size
        if batch:
            yield batch

    def _parts(self, step: Step) -> list[Step]:
        """A step that one request cannot hold, as several: first what means nothing until the document is written."""
        if step.doc_id is None or (len(step.ops) <= self._max_ops and not any(map(_may_be_ahead, step.ops))):
            return [step]
        if len(step.ops) <= self._max_ops and step.size <= self._max_bytes:
            return [step]
        ahead = _ahead(step)
        rest = tuple(op for op in step.ops if op not in ahead)
        parts: list[Step] = []
        some: list[Op] = []
        size = 0
        for op in ahead:
            if some and (len(some) >= self._max_ops or size + len(op.value) > self._max_bytes // 2):
                parts.append(Step(None, 0, None, tuple(some), ahead=True))
                some, size = [], 0
            some.append(op)
            size += len(op.value) + 200
        if some:
            parts.append(Step(None, 0, None, tuple(some), ahead=True))
        return [*parts, step._replace(ops=rest)]

    # -- all or none --------------------------------------------------------------------------------------------------------

    def _carry_out_together(self, steps: Sequence[Step], changes: Sequence[Change]) -> list[bool]:
        if len(list(self._batches(steps))) <= 1:
            return self._carry_out(steps, together=True)
        self._halfway = True
        self._note_batch(changes)
        # Records that are written ahead of their job are found by its ledger, should the job come to nothing.
        long = [step for step in steps if len(self._parts(step)) > 1]
        ledgers = [op for step in long for op in step.ops if isinstance(op.key, Named) and op.key.kind == "runs"]
        self._carry_out(_loose(ledgers, self._max_ops))
        done = self._carry_out(steps)
        if all(done):
            self._carry_out(_loose((Op("delete", key) for key in self._batch_keys()), self._max_ops))
        else:
            self._undo()
        self._halfway = False
        return done

    def _note_batch(self, changes: Sequence[Change]) -> None:
        notes: list[Op] = []
        for first in range(0, len(changes), CHUNK):
            text = json.dumps([[change.doc.id, change.doc.uid] for change in changes[first : first + CHUNK]])
            notes.append(Op("create", Named("adding", f"{first:010}"), text.encode()))
        self._carry_out([Step(None, 0, None, (note,)) for note in notes])

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
        self._carry_out(_loose((Op("delete", key) for key in keys), self._max_ops))

    # -- records ----------------------------------------------------------------------------------------------------------

    def _fetch_ledgers(self, ids: Iterable[str]) -> None:
        if self._read_only:
            # Somebody else writes them.
            self._ledgers.clear()
            self._ledger_size = 0
        missing: list[Key] = [Named("runs", job_id) for job_id in ids if job_id not in self._ledgers]
        found = self._values(missing)
        for key in missing:
            self._learn_ledger(key[-1], found.get(key))

    def _learn_ledger(self, job_id: str, text: bytes | None) -> None:
        """A ledger as it is there; None: it is not."""
        self._remember_ledger(job_id, () if text is None else _unpack_ledger(text))

    def _remember_ledger(self, job_id: str, ledger: _Ledger) -> None:
        ledgers = self._ledgers
        self._ledger_size += len(ledger) - len(ledgers.pop(job_id, ()))
        ledgers[job_id] = ledger
        # The one that was just put there is the last to go.
        while self._ledger_size > _LEDGER_CACHE and len(ledgers) > CHUNK:
            self._ledger_size -= len(ledgers.pop(next(iter(ledgers))))

    def _keep_records(self, job_id: str, records: Sequence[tuple[str, RunRecord]]) -> tuple[_Ledger, list[Op]]:
        """A job's ledger when these are kept, and what is to be done for it."""
        if not records:
            return (), []
        before = self._ledgers[job_id]
        there = {entry[:3] for entry in before}
        fresh: dict[_Entry, bytes] = {}
        for uid, record in records:
            entry = _Entry(record.fire_us, record.attempt, uid, record.state in _FAILED)
            if entry[:3] not in there:
                there.add(entry[:3])
                fresh[entry] = pack_record(record).encode()
        if not fresh:
            return before, []
        after = sorted((*before, *fresh), key=lambda entry: entry.fire_us)
        cut, after = after[: -self._history_limit], after[-self._history_limit :]
        ops: list[Op] = []
        for entry in cut:
            if fresh.pop(entry, None) is None:
                ops += [Op("delete", entry.key(tree)) for tree in _trees(entry)]
        for entry, text in fresh.items():
            ops += [Op("create", entry.key(tree), text if tree == "history" else b"") for tree in _trees(entry)]
        ops.append(Op("set" if before else "create", Named("runs", job_id), _pack_ledger(after)))
        return tuple(after), ops

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        self._fetch_ledgers([job_id])
        there = {(entry.uid, entry.fire_us) for entry in self._ledgers[job_id] if entry.attempt == attempt}
        return there & set(keys)

    def _delete_records(self, before_us: int, limit: int) -> int:
        keys: list[Key] = [Timed("history", *place) for place in islice(self._latest("history", before_us - 1), limit)]
        if not keys:
            return 0
        records = self._values(keys)
        gone: dict[str, set[str]] = {}
        for key in keys:
            record = unpack_record(records.get(key, b""))
            if record is not None:
                gone.setdefault(record.job_id, set()).add(f"{record.fire_us}-{key[-1]}")
        self._fetch_ledgers(gone)
        ops = [Op("delete", key) for key in keys]
        for job_id, names in gone.items():
            before = self._ledgers[job_id]
            after = tuple(entry for entry in before if f"{entry.fire_us}-{entry.key('history').name}" not in names)
            ops += [Op("delete", entry.key("failed")) for entry in before if entry.failed and entry not in after]
            if before:
                key = Named("runs", job_id)
                ops.append(Op("set", key, _pack_ledger(after)) if after else Op("delete", key))
            self._ledger_size -= len(self._ledgers.pop(job_id))
        self._carry_out(_loose(ops, self._max_ops))
        return len(keys)

    def _delete_records_of(self, uids: Mapping[str, str]) -> None:
        """Delete the records of jobs that came to nothing; ``uids``: by id, under which others may have been."""
        for job_id in uids:
            self._ledger_size -= len(self._ledgers.pop(job_id, ()))
        self._fetch_ledgers(uids)
        ops: list[Op] = []
        for job_id, uid in uids.items():
            before = self._ledgers[job_id]
            after = tuple(entry for entry in before if entry.uid != uid)
            if len(after) < len(before):
                ops += [Op("delete", entry.key(tree)) for entry in before if entry.uid == uid for tree in _trees(entry)]
                key = Named("runs", job_id)
                ops.append(Op("set", key, _pack_ledger(after)) if after else Op("delete", key))
                self._remember_ledger(job_id, after)
        # Not all of them need have been written.
        there = self._values([op.key for op in ops])
        self._carry_out(_loose((op for op in ops if op.key in there), self._max_ops))

    def _delete_lost_records(self) -> None:
        """Those of runs that are live: they were written ahead of a document that was not written any more."""
        keys: list[Key] = []
        for doc in self._fetch_live():
            for uid, runs in ((doc.uid, doc.live), *((past.uid, past.live) for past in doc.past)):
                for run in runs:
                    entry = _Entry(run.fire_us, run.attempt, uid, True)
                    keys += [entry.key(tree) for tree in _trees(entry)]
        there = self._values(keys)
        self._carry_out(_loose((Op("delete", key) for key in there), self._max_ops))

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        places: Iterator[tuple[int, str]]
        if job_id is None:
            places = self._latest("failed" if failed else "history", None)
        else:
            self._fetch_ledgers([job_id])
            entries = [entry for entry in self._ledgers[job_id] if entry.failed or not failed]
            places = iter([entry.key("history")[1:] for entry in reversed(entries)])
        found: list[RunRecord] = []
        while len(found) < limit:
            keys: list[Key] = [Timed("history", *place) for place in islice(places, min(CHUNK, limit - len(found)))]
            if not keys:
                break
            values = self._values(keys)
            for key in keys:
                record = unpack_record(values[key]) if key in values else None
                if record is not None and not (failed and record.state not in _FAILED):
                    found.append(record)
        return found

    # Notes are read once, and written with whatever is written next: that is how runs ended, if some have just begun; else at
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

    def _mend(self) -> None:
        super()._mend()
        with self._writing("delete what was not finished"):
            self._delete_lost_records()
        with self._using("read notes"):
            self._fetch_note("")

    # -- what a backend supplies, beside opening and closing ------------------------------------------------------------------

    @abstractmethod
    def _texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        """The texts of documents, and their revisions: 1 for one that was just created, and 1 more with each write."""

    @abstractmethod
    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Values; those that are not there are left out."""

    @abstractmethod
    def _names(self, kind: Kind, after: str = "", limit: int | None = None) -> list[str]:
        """The names of a kind, in order, that come after one."""

    @abstractmethod
    def _earliest(
        self, tree: Tree, after: tuple[int, str] | None, upto_us: int | None, count: int
    ) -> Iterator[tuple[int, str]]:
        """Instants and names, in order, that come after a place and not after an instant; ``count``: so many are wanted."""

    @abstractmethod
    def _latest(self, tree: Tree, upto_us: int | None) -> Iterator[tuple[int, str]]:
        """Instants and names, the latest first, that come not after an instant."""

    @abstractmethod
    def _apply(self, steps: Sequence[Step], together: bool) -> list[bool]:
        """Make each step in one piece, if its revision fits; whether it was. ``together``: all of them in one, or none.

        Only for who owns the store: when somebody else does, nothing is written and it is a ``JobStoreInUseError``.
        """


def _text(doc: Doc) -> bytes:
    if doc.past:
        past = [
            one if one.payload is None or _is_inside(one.payload) else one._replace(payload=b"") for one in doc.past
        ]
        doc = doc._replace(past=tuple(past))
    text = doc.pack().encode()
    return text + b"\n" + doc.payload if isinstance(doc.payload, bytes) and _is_inside(doc.payload) else text


def _due_key(doc: Doc) -> Key:
    if doc.due_us is None:
        return Named("idle", doc.id)
    return Timed("elapsed" if doc.elapsed else "wall", doc.due_us, doc.id)


def _is_inside(payload: object) -> bool:
    """Whether a payload lies in the document."""
    return type(payload) is bytes and len(payload) <= _SMALL


def _payload_keys(doc: Doc) -> list[Named]:
    """Where payloads are that do not lie in the document."""
    uids = [
        past.uid for past in doc.past if past.payload == b"" or not (past.payload is None or _is_inside(past.payload))
    ]
    if doc.uid and not _is_inside(doc.payload):
        uids.append(doc.uid)
    return [Named("payloads", uid) for uid in uids]


def _index_keys(doc: Doc) -> list[Key]:
    keys: list[Key] = []
    if doc.uid:
        keys.append(_due_key(doc))
        if doc.state is JobState.BROKEN:
            keys.append(Named("broken", doc.id))
    if doc.live or doc.past:
        keys.append(Named("live", doc.id))
    return keys


def _piece_keys(key: Key, value: bytes) -> list[Key]:
    """The pieces that a payload is in; none: it is whole."""
    tag, _, count = value[len(_IN_PIECES) :].partition(b" ") if value.startswith(_IN_PIECES) else (b"", b"", b"")
    if not count.isdigit() or len(count) > 2 or int(count) > _MOST_PIECES:
        return []
    return [Named("pieces", f"{key[-1]}-{tag.decode('ascii', 'replace')}-{number}") for number in range(int(count))]


def _ahead(step: Step) -> list[Op]:
    """What may be written before the document: records, and pieces of payloads."""
    return [op for op in step.ops if _may_be_ahead(op)]


def _may_be_ahead(op: Op) -> bool:
    return op.key[0] in ("history", "failed") or (op.verb, op.key[0]) == ("create", "pieces")


def _loose(ops: Iterable[Op], at_once: int) -> list[Step]:
    """Steps that belong to no document."""
    left = list(ops)
    return [Step(None, 0, None, tuple(left[first : first + at_once])) for first in range(0, len(left), at_once)]


def _trees(entry: _Entry) -> tuple[Tree, ...]:
    return ("history", "failed") if entry.failed else ("history",)


def _pack_ledger(ledger: Iterable[_Entry]) -> bytes:
    """By uid, of which there is mostly one; a fire time alone is that of a first attempt that did not fail."""
    groups: list[tuple[str, list[Any]]] = []
    for fire_us, attempt, uid, failed in ledger:
        if not groups or groups[-1][0] != uid:
            groups.append((uid, []))
        groups[-1][1].append(fire_us if attempt == 1 and not failed else [fire_us, attempt, int(failed)])
    return json.dumps(groups, separators=(",", ":")).encode()


def _unpack_ledger(text: bytes) -> _Ledger:
    """Raises nothing: what cannot be read lists nothing."""
    found: list[_Entry] = []
    try:
        for uid, entries in json.loads(text):
            for entry in entries:
                fire_us, attempt, failed = (entry, 1, 0) if type(entry) is int else entry
                if type(fire_us) is int and type(attempt) is int and FIRST_US <= fire_us <= LAST_US:
                    found.append(_Entry(fire_us, attempt, str(uid), bool(failed)))
    except Exception:  # noqa: BLE001  # whatever an altered one provokes
        return ()
    return tuple(found)
