"""What is due, and what else an index leads to: places in timelines, the earliest of which are kept in memory; sets of ids."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from schedcore.job import JobState
from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import DAMAGED, Doc
from schedcore.jobstores._keyed_keys import Key, Named, Op, Step, Timed, Tree, loose
from schedcore.jobstores._keyed_records import KeyedRecords

__all__ = ["KeyedDue", "index_keys"]

_BROKEN = JobState.BROKEN  # each look at a member of an enumeration is a call
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor

# Places that are remembered of each timeline, and twice as many for a moment.
_HORIZON = 1000


class KeyedDue(KeyedRecords):
    """See the module's docstring."""

    def _reset(self) -> None:
        super()._reset()
        self._horizons: dict[Tree, _Horizon] = {}

    def _forget_what_was_read(self) -> None:
        super()._forget_what_was_read()
        self._horizons.clear()

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
                    if doc is not None and doc.uid:
                        stale.append(Op("create", _due_key(doc)))
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
        # Somebody else deleted or altered documents or places. Left there, these would be looked at again and again; a job
        # without its place would be neither run nor listed.
        self._carry_out(loose(stale, self._max_ops))
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

    def _follow(self, written: Sequence[Step], complete: bool) -> None:
        super()._follow(written, complete)
        if not complete:
            self._horizons.clear()
        # What was written may be due before all else, or have been.
        horizons = self._horizons
        for step in written if horizons else ():
            for verb, key, _ in step.ops:
                if not isinstance(key, Timed):
                    continue
                tree, at_us, name = key
                horizon = horizons.get(tree)
                if horizon is None:
                    continue
                if verb == "delete":
                    horizon.remove((at_us, name))
                else:
                    horizon.add((at_us, name))

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


class _Horizon:
    """The earliest places of a timeline, as far as they are known. As long as the store is ours, nobody else changes them."""

    __slots__ = ("_places", "_upto_us")

    def __init__(self, places: Iterable[tuple[int, str]], upto_us: int | None) -> None:
        self._places = set(places)
        self._upto_us = upto_us  # all places before that are known, and maybe some then; None: all there are

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
                # By the instants alone: thousands of places may be at one, and to order them by their ids takes long. So of those
                # that are due at the same instant as the last of them, others are left out.
                self._upto_us = upto_us = sorted([at_us for at_us, _ in self._places])[_HORIZON - 1]
                earlier = {place for place in self._places if place[0] < upto_us}
                then = (place for place in self._places if place[0] == upto_us)
                self._places = earlier.union(islice(then, _HORIZON - len(earlier)))

    def remove(self, place: tuple[int, str]) -> None:
        self._places.discard(place)


def _due_key(doc: Doc) -> Key:
    job_id, _, _, _, _, elapsed, _, due_us, _, _, _, _, _ = doc
    if due_us is None:
        return Named("idle", job_id)
    return _new(Timed, ("elapsed" if elapsed else "wall", due_us, job_id))


def index_keys(doc: Doc) -> list[Key]:
    job_id, _, uid, _, state, _, _, _, _, _, _, live, past = doc
    keys: list[Key] = []
    if uid:
        keys.append(_due_key(doc))
        if state is _BROKEN:
            keys.append(Named("broken", job_id))
    if live or past:
        keys.append(Named("live", job_id))
    return keys
