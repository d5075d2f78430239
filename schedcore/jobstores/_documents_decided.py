"""Records of what was decided, where a document and its records cannot be written in one step: MongoDB, RethinkDB.

How a run ended is a fact, and its record the same however often it is written: it is written before the document. That fire
times were skipped, or a run lost, was decided, and is decided again, perhaps otherwise, if the document was not written. So
these records are written in the document itself, in one step with the decision (``pack_decided``), and then moved to the others.
Where a process dies in between, they count where they are (``with_decided``), until they are moved by who writes next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from schedcore.jobstores._documents_doc import Change, read_record, to_json
from schedcore.run import RunRecord, RunState

__all__ = ["Records", "decided", "ended", "pack_decided", "record_key", "unpack_decided", "with_decided"]

#: Each with the uid of its job.
Records = Sequence[tuple[str, RunRecord]]

_DECIDED = frozenset({RunState.SKIPPED, RunState.LOST})
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# What the numbers of a record of ours are below.
_TOP = 1 << 53


def record_key(uid: str, record: RunRecord) -> str:
    """The key of a record."""
    return f"{uid}:{record.fire_us}:{record.attempt}"


def decided(changes: Iterable[Change]) -> Records:
    """The records of what was decided with these changes."""
    return [(uid, record) for change in changes for uid, record in change.records if record.state in _DECIDED]


def ended(changes: Iterable[Change]) -> Records:
    """The records of runs that have ended."""
    return [(uid, record) for change in changes for uid, record in change.records if record.state not in _DECIDED]


def pack_decided(records: Records) -> str:
    """As JSON text, in ASCII."""
    return to_json(records)


def unpack_decided(text: object) -> Records:
    """Records as ``pack_decided`` wrote them, but for those that are none. Raises nothing."""
    found: list[tuple[str, RunRecord]] = []
    try:
        pairs = json.loads(text) if isinstance(text, str) else []
        for uid, values in pairs:
            record = read_record(values)
            if record is not None and all(abs(n) < _TOP for n in (record.attempt, record.times, record.exit_code or 0)):
                found.append((str(uid), record))
    # Text that is none, or another one, and text that is nested too deeply.
    except Exception:  # noqa: BLE001
        return found
    return found


def with_decided(
    records: Iterable[tuple[str, RunRecord]], unmoved: Records, failed: bool, limit: int
) -> list[RunRecord]:
    """Records, each with its key, and those that were not moved to them yet: latest fire time first, so many at most."""
    found = dict(records)
    more = {record_key(uid, record): record for uid, record in unmoved if not failed or record.state in _FAILED}
    if more.keys() <= found.keys():
        return list(found.values())
    merged = {**more, **found}.values()
    return sorted(merged, key=lambda one: (one.fire_us, one.job_id, one.attempt), reverse=True)[:limit]
