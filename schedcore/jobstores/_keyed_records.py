"""Run records by their instants, and for each job a ledger, which lists those that are its own, to count, find and cut them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import pack_record, unpack_record
from schedcore.jobstores._keyed_keys import Key, Named, Op, Timed, Tree, loose
from schedcore.jobstores._keyed_payloads import KeyedPayloads
from schedcore.run import RunRecord, RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["KeyedRecords", "Ledger"]

# Records whose place is remembered in ledgers, over all jobs: about 10 MB.
_LEDGER_CACHE = 100_000
_FAILED = frozenset({RunState.FAILED, RunState.LOST})


class _Entry(NamedTuple):
    """A record in a ledger."""

    fire_us: int
    attempt: int
    uid: str
    failed: bool

    def key(self, tree: Tree) -> Timed:
        return Timed(tree, self.fire_us, f"{self.attempt}-{self.uid}")


Ledger = tuple[_Entry, ...]


class KeyedRecords(KeyedPayloads):
    """See the module's docstring."""

    def _reset(self) -> None:
        super()._reset()
        self._ledgers: dict[str, Ledger] = {}
        self._ledger_size = 0

    def _forget_what_was_read(self) -> None:
        super()._forget_what_was_read()
        self._forget_ledgers()

    def _forget_ledgers(self) -> None:
        self._ledgers.clear()
        self._ledger_size = 0

    def _fetch_ledgers(self, ids: Iterable[str]) -> None:
        if self._read_only:
            # Somebody else writes them.
            self._forget_ledgers()
        missing: list[Key] = [Named("runs", job_id) for job_id in ids if job_id not in self._ledgers]
        if missing:
            found = self._values(missing)
            for key in missing:
                self._learn_ledger(key[-1], found.get(key))

    def _learn_ledger(self, job_id: str, text: bytes | None) -> None:
        """A ledger as it is there; None: it is not."""
        self._remember_ledger(job_id, () if text is None else _unpack_ledger(text))

    def _remember_ledger(self, job_id: str, ledger: Ledger) -> None:
        ledgers = self._ledgers
        self._ledger_size += len(ledger) - len(ledgers.pop(job_id, ()))
        ledgers[job_id] = ledger
        # The one that was just put there is the last to go.
        while self._ledger_size > _LEDGER_CACHE and len(ledgers) > CHUNK:
            self._ledger_size -= len(ledgers.pop(next(iter(ledgers))))

    def _keep_records(self, job_id: str, records: Sequence[tuple[str, RunRecord]]) -> tuple[Ledger, list[Op]]:
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
                ops += [Op("delete", entry.key(tree)) for tree in _trees_of(entry)]
        for entry, text in fresh.items():
            ops += [Op("create", entry.key(tree), text if tree == "history" else b"") for tree in _trees_of(entry)]
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
        self._carry_out(loose(ops, self._max_ops))
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
                ops += [
                    Op("delete", entry.key(tree)) for entry in before if entry.uid == uid for tree in _trees_of(entry)
                ]
                key = Named("runs", job_id)
                ops.append(Op("set", key, _pack_ledger(after)) if after else Op("delete", key))
                self._remember_ledger(job_id, after)
        # Not all of them need have been written.
        there = self._values([op.key for op in ops])
        self._carry_out(loose((op for op in ops if op.key in there), self._max_ops))

    def _delete_lost_records(self) -> None:
        """Those of runs that are live: they were written ahead of a document that was not written any more."""
        keys: list[Key] = []
        for doc in self._fetch_live():
            for uid, runs in ((doc.uid, doc.live), *((past.uid, past.live) for past in doc.past)):
                for run in runs:
                    entry = _Entry(run.fire_us, run.attempt, uid, True)
                    keys += [entry.key(tree) for tree in _trees_of(entry)]
        there = self._values(keys)
        self._carry_out(loose((Op("delete", key) for key in there), self._max_ops))

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


def _trees_of(entry: _Entry) -> tuple[Tree, ...]:
    return ("history", "failed") if entry.failed else ("history",)


def _pack_ledger(ledger: Iterable[_Entry]) -> bytes:
    """By uid, of which there is mostly one; a fire time alone is that of a first attempt that did not fail."""
    groups: list[tuple[str, list[Any]]] = []
    for fire_us, attempt, uid, failed in ledger:
        if not groups or groups[-1][0] != uid:
            groups.append((uid, []))
        groups[-1][1].append(fire_us if attempt == 1 and not failed else [fire_us, attempt, int(failed)])
    return json.dumps(groups, separators=(",", ":")).encode()


def _unpack_ledger(text: bytes) -> Ledger:
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
