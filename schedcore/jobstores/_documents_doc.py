"""What is kept of one job id in one document, and of a run that is over in a record: values, and how they are written.

What is read back may have been written by anybody. A document that nobody of us wrote becomes a broken job, and a record that
is none is left out; neither raises anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple, TypeVar

from schedcore.errors import SerializationError
from schedcore.job import JobState
from schedcore.jobstores._payload import Oversized
from schedcore.run import LIVE_STATES, RunRecord, RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = [
    "DAMAGED",
    "Change",
    "Doc",
    "LiveRun",
    "Past",
    "check_id",
    "check_ids",
    "instant",
    "is_text",
    "pack_record",
    "read_doc",
    "read_record",
    "to_json",
    "unpack_doc",
    "unpack_record",
    "with_live",
]

#: Why a job is set aside whose instants are none.
DAMAGED = "its place in the schedule is damaged; give it a trigger or a next run time"

# The values of a document, in the order of ``Doc.pack``. The first is the version of this form.
_FIELDS = ("v", "uid", "version", "state", "elapsed", "fire_us", "due_us", "reason", "last_us", "live", "past")
# ``json.dumps`` would make an encoder for each call. What it is given contains nothing twice, nor itself.
to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_STATES = {str(state): state for state in JobState}
_RUN_STATES = {str(state): state for state in RunState}

# Of a run record: error, traceback, result, output, exit code.
_NO_TEXTS = [None] * 5

T = TypeVar("T")
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor


class LiveRun(NamedTuple):
    """A run that is not over. Instants in microseconds."""

    fire_us: int
    attempt: int
    state: RunState
    submitted_us: int | None
    started_us: int | None


class Past(NamedTuple):
    """A job that is over, whose runs are not; without payload it was removed, and its runs are not made again."""

    uid: str
    payload: bytes | None
    live: tuple[LiveRun, ...]


class Doc(NamedTuple):
    """One job id. Without ``uid`` no job has it; then only ``past`` says something."""

    id: str
    revision: int  #: grows with every write; 0: it was never written
    uid: str = ""  #: of this job, and of no other that has or had the same id
    version: int = 0  #: grows when the definition changes
    state: JobState = JobState.ACTIVE
    elapsed: bool = False
    fire_us: int | None = None
    due_us: int | None = None  #: null but for active jobs, so that the others cost a due query nothing
    reason: str | None = None
    last_us: int = 0  #: the latest fire time that was decided about: an earlier one may have a record
    payload: bytes | Oversized | None = None  #: None also: it was not fetched
    live: tuple[LiveRun, ...] = ()
    past: tuple[Past, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be remembered."""
        return not self.uid and not self.past

    def pack(self) -> str:
        """All but id, revision and payload as JSON text, in ASCII: a list of the values."""
        _, _, uid, version, state, elapsed, fire_us, due_us, reason, last_us, _, live, past = self
        if past or reason is not None or fire_us is None or due_us is None:
            return to_json(self._values())
        # Each run writes this twice, and an encoder takes twice the time for it.
        runs = "" if not live else _packed_run(live[0]) if len(live) == 1 else ",".join(map(_packed_run, live))
        return (
            f'[1,{_quoted(uid)},{version},"{state!s}",{"true" if elapsed else "false"},'
            f"{fire_us},{due_us},null,{last_us},[{runs}],[]]"
        )

    def _values(self) -> tuple[Any, ...]:
        _, _, uid, version, state, elapsed, fire_us, due_us, reason, last_us, _, live, past = self
        gone = [[one.uid, None if one.payload is None else one.payload.hex(), _pack_live(one.live)] for one in past]
        return 1, uid, version, state, elapsed, fire_us, due_us, reason, last_us, live, gone

    def after(self, live: tuple[LiveRun, ...], past: tuple[Past, ...]) -> Doc:
        """The next revision, with other live runs."""
        return _new(Doc, (self[0], self[1] + 1, *self[2:-2], live, past))

    def without_job(self, *, keep: bool) -> Doc:
        """What is left when the job is over: its live runs; ``keep``: and its payload, so that they can be made again."""
        past = self.past
        if self.live:
            payload = self.payload if keep and isinstance(self.payload, bytes) else None
            past = (*past, Past(self.uid, payload, self.live))
        return Doc(self.id, self.revision, past=past)


class Change(NamedTuple):
    """A document that is to be written in the place of the revision ``old`` (0: it must not be there), and what is to be
    recorded with it: the uid of the job, and the record. An empty document is to be deleted.
    """

    old: int
    doc: Doc
    records: tuple[tuple[str, RunRecord], ...] = ()
    keeps_payload: bool = False  #: the payload that is there stays as it is


def _packed_run(run: LiveRun) -> str:
    fire_us, attempt, state, submitted_us, started_us = run
    submitted = "null" if submitted_us is None else submitted_us
    return f'[{fire_us},{attempt},"{state!s}",{submitted},{"null" if started_us is None else started_us}]'


def _pack_live(live: Iterable[LiveRun]) -> list[list[Any]]:
    return [[run.fire_us, run.attempt, str(run.state), run.submitted_us, run.started_us] for run in live]


def unpack_doc(job_id: str, revision: int, text: str | bytes, payload: bytes | Oversized | None) -> Doc:
    """A document as ``pack`` wrote it. Raises nothing: what nobody of us wrote becomes a broken job."""
    try:
        data = dict(zip(_FIELDS, json.loads(text), strict=True))
    # Text that is none, or another one, and text that is nested too deeply.
    except Exception:  # noqa: BLE001
        data = None
    return read_doc(job_id, revision, data, payload)


def read_doc(job_id: str, revision: int, data: object, payload: bytes | Oversized | None) -> Doc:
    """A document of its values by their names. Raises nothing: what nobody of us wrote becomes a broken job."""
    try:
        if type(data) is not dict or data.get("v") != 1:
            raise ValueError("not a document of this version")
        uid, version, state = data["uid"], data["version"], _STATES[data["state"]]
        fire_us, due_us, last_us = data["fire_us"], data["due_us"], data["last_us"]
        reason, elapsed = data["reason"], data["elapsed"]
        past = tuple(
            Past(_uid(one), None if hexed is None else bytes.fromhex(hexed), _unpack_live(live))
            for one, hexed, live in data["past"]
        )
        doc = Doc(
            job_id,
            revision,
            _uid(uid),
            _typed(version, int),
            state,
            _typed(elapsed, bool),
            instant(fire_us),
            instant(due_us),
            None if reason is None else str(reason),
            _typed(last_us, int),
            payload,
            _unpack_live(data["live"]),
            past,
        )
        if doc.fire_us == fire_us and doc.due_us == due_us:
            return doc
        return doc._replace(state=JobState.BROKEN, due_us=None, reason=DAMAGED)
    # Whatever an altered document provokes.
    except Exception:  # noqa: BLE001
        # Of this job alone: what is known of jobs is known by their uids.
        uid = hashlib.sha256(job_id.encode("utf-8", "replace")).hexdigest()[:32]
        return Doc(job_id, revision, uid, 0, JobState.BROKEN, reason=DAMAGED, payload=payload)


def _unpack_live(rows: Any) -> tuple[LiveRun, ...]:
    return tuple(
        LiveRun(_typed(fire_us, int), _typed(attempt, int), _RUN_STATES[state], instant(submitted), instant(started))
        for fire_us, attempt, state, submitted, started in rows
        if instant(fire_us) is not None and state in LIVE_STATES
    )


def _uid(value: Any) -> str:
    """A uid that can be part of a record's key."""
    uid = _typed(value, str)
    if not is_text(uid) or "\0" in uid:
        raise ValueError(f"{uid!r} is no uid")
    return uid


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


def instant(value: Any) -> int | None:
    """An instant as triggers give them; None for anything else."""
    return value if type(value) is int and FIRST_US <= value <= LAST_US else None


def pack_record(record: RunRecord) -> str:
    """A run record as JSON text, in ASCII."""
    job_id, fire_us, attempt, state, reason, times, until, submitted, started, finished, *texts = record
    if not (reason is None and until is None and submitted and started and finished and texts == _NO_TEXTS):
        return to_json(record)
    # Of a run that said nothing, as most do.
    return (
        f'[{_quoted(job_id)},{fire_us},{attempt},"{state!s}",null,{times},null,'
        f"{submitted},{started},{finished},null,null,null,null,null]"
    )


def unpack_record(text: str | bytes) -> RunRecord | None:
    """A run record as ``pack_record`` wrote it; None for what is none."""
    try:
        values = json.loads(text)
    except Exception:  # noqa: BLE001  # it is no text, or nested too deeply
        return None
    return read_record(values)


def read_record(values: Any) -> RunRecord | None:
    """A run record of its values, in their order; None for what is none."""
    try:
        job_id, fire_us, attempt, state, reason, times, until, submitted, started, finished, *texts, exit_code = values
        if instant(fire_us) is None:
            return None
        error, traceback, result, output = map(_text, texts)
        return RunRecord(
            str(job_id),
            fire_us,
            _typed(attempt, int),
            _RUN_STATES[state],
            _text(reason),
            times if type(times) is int else 1,
            instant(until),
            instant(submitted),
            instant(started),
            instant(finished),
            error,
            traceback,
            result,
            output,
            exit_code if type(exit_code) is int else None,
        )
    except Exception:  # noqa: BLE001  # whatever an altered record provokes
        return None


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else str(value)


def with_live(
    doc: Doc, each: Callable[[str, LiveRun], LiveRun | None], records: list[tuple[str, RunRecord]] | None = None
) -> Change | None:
    """A document with its live runs changed; None when none was."""
    job_id, revision, uid, version, state, elapsed, fire_us, due_us, reason, last_us, payload, live, past = doc
    if len(live) == 1 and not past:  # as most often
        new = each(uid, live[0])
        if new == live[0]:
            return None
        live = () if new is None else (new,)
    else:
        live = _kept(uid, live, each)
        past = tuple([one._replace(live=left) for one in past for left in (_kept(one.uid, one.live, each),) if left])
        if live == doc.live and past == doc.past:
            return None
    values = job_id, revision + 1, uid, version, state, elapsed, fire_us, due_us, reason, last_us, payload, live, past
    changed: Doc = _new(Doc, values)
    return _new(Change, (revision, changed, tuple(records) if records else (), True))


def _kept(uid: str, live: tuple[LiveRun, ...], each: Callable[[str, LiveRun], LiveRun | None]) -> tuple[LiveRun, ...]:
    return tuple([new for run in live for new in (each(uid, run),) if new is not None])


def is_text(job_id: str) -> bool:
    """Whether a database can hold it; what it cannot hold is nobody's id."""
    return isinstance(job_id, str) and (job_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in job_id))


def check_ids(ids: Sequence[str]) -> None:
    """``check_id`` of each. All in one is a look at all, and most often enough."""
    text = "".join(ids)
    if not text.isascii() or "\0" in text:
        for job_id in ids:
            check_id(job_id)


def check_id(job_id: str) -> None:
    if not is_text(job_id) or "\0" in job_id:
        raise SerializationError(f"the job id {job_id!r} has characters that a database cannot hold", path="id")
