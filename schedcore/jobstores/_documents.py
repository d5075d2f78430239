"""Job stores that keep a job in one document: Redis, MongoDB, ZooKeeper, etcd, RethinkDB.

**A document** (``Doc``) is all that is known of one job id: the definition's payload, its place in the schedule, its live runs,
and, of earlier jobs that had the same id, the runs that are live still (``past``). One atomic write of it therefore does what
takes SQL stores a transaction: claim, runs and next fire time are committed together, per job. Run records of what is over lie
beside it (``history``).

**Claims.** ``acquire`` only reads. What a decision was made from is compared when it is committed: the write says which
revision it replaces, and one that finds another one changes nothing. So a fire time is decided about once, whoever reads it.

**What a backend supplies** are the methods at the end of ``DocumentStore``: look documents up by id, by due time and in pages;
write some of them if their revision is still the same; keep run records; notes; and keep a second scheduler off. Everything
else is here, and the same for all.
"""

from __future__ import annotations

import json
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobLookupError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import outcome
from schedcore.jobstores._payload import SOON_US, Codec, Loaded, Oversized, StoredRecord, as_read_back, is_value
from schedcore.jobstores._recovery import judge
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, StoreHost
from schedcore.run import LIVE_STATES, Finish, Run, RunRecord, RunState, skip_record
from schedcore.serializers.base import Serializer
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = [
    "Change",
    "Doc",
    "DocumentStore",
    "LiveRun",
    "Past",
    "pack_record",
    "read_doc",
    "read_record",
    "to_json",
    "unpack_doc",
    "unpack_record",
]

# Jobs whose definition, and whose document, are kept in memory, so that a due job costs no second look at them.
_CACHE = 10_000
# Attempts at a write that others get in the way of. Each of them means that somebody else succeeded.
_TRIES = 100
# Documents that are asked for or written at once.
_CHUNK = 500

# Microseconds between two looks for records that are too old, and how many are deleted in one.
_AGE_CHECK_US = 60_000_000
_AGED_ROWS = 1000

# The values of a document, in the order of ``Doc.pack``. The first is the version of this form.
_FIELDS = ("v", "uid", "version", "state", "elapsed", "fire_us", "due_us", "reason", "last_us", "live", "past")
# ``json.dumps`` would make an encoder for each call. What it is given contains nothing twice, nor itself.
to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_STATES = {str(state): state for state in JobState}
_RUN_STATES = {str(state): state for state in RunState}
_DAMAGED = "its place in the schedule is damaged; give it a trigger or a next run time"


T = TypeVar("T")
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor
_SUBMITTED, _RUNNING = RunState.SUBMITTED, RunState.RUNNING  # each look at a member of an enumeration is a call


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

    def fields(self) -> dict[str, Any]:
        """All but id, revision and payload, for a database that has fields."""
        fields = dict(zip(_FIELDS, self._values(), strict=True))
        return {**fields, "state": str(self.state), "live": _pack_live(self.live)}

    def pack(self) -> str:
        """The same as JSON text: a list of the values, which is half as long."""
        return to_json(self._values())

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


class _Claimed(NamedTuple):
    """A document about which is being decided, as our own writes about runs have left it since."""

    revision: int  #: when it was claimed; by which the claim is known
    doc: Doc


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
    """A document of what ``fields`` gave. Raises nothing: what nobody of us wrote becomes a broken job."""
    try:
        if type(data) is not dict or data.get("v") != 1:
            raise ValueError("not a document of this version")
        uid, version, state = data["uid"], data["version"], _STATES[data["state"]]
        fire_us, due_us, last_us = data["fire_us"], data["due_us"], data["last_us"]
        reason, elapsed = data["reason"], data["elapsed"]
        past = tuple(
            Past(_typed(one, str), None if hexed is None else bytes.fromhex(hexed), _unpack_live(live))
            for one, hexed, live in data["past"]
        )
        doc = Doc(
            job_id,
            revision,
            _typed(uid, str),
            _typed(version, int),
            state,
            _typed(elapsed, bool),
            _instant(fire_us),
            _instant(due_us),
            None if reason is None else str(reason),
            _typed(last_us, int),
            payload,
            _unpack_live(data["live"]),
            past,
        )
        if doc.fire_us == fire_us and doc.due_us == due_us:
            return doc
        return doc._replace(state=JobState.BROKEN, due_us=None, reason=_DAMAGED)
    # Whatever an altered document provokes.
    except Exception:  # noqa: BLE001
        return Doc(job_id, revision, "damaged", 0, JobState.BROKEN, reason=_DAMAGED, payload=payload)


def _unpack_live(rows: Any) -> tuple[LiveRun, ...]:
    return tuple(
        LiveRun(_typed(fire_us, int), _typed(attempt, int), _RUN_STATES[state], _instant(submitted), _instant(started))
        for fire_us, attempt, state, submitted, started in rows
        if _instant(fire_us) is not None and state in LIVE_STATES
    )


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


def _instant(value: Any) -> int | None:
    """An instant as triggers give them; None for anything else."""
    return value if type(value) is int and FIRST_US <= value <= LAST_US else None


def pack_record(record: RunRecord) -> str:
    """A run record as JSON text."""
    return to_json(record)


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
        if _instant(fire_us) is None:
            return None
        error, traceback, result, output = map(_text, texts)
        return RunRecord(
            str(job_id),
            fire_us,
            _typed(attempt, int),
            _RUN_STATES[state],
            _text(reason),
            times if type(times) is int else 1,
            _instant(until),
            _instant(submitted),
            _instant(started),
            _instant(finished),
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


class DocumentStore(JobStore):
    """See the module's docstring. The arguments are those of every store; ``history``: finished runs kept for each job;
    ``history_age``: seconds that they are kept, or None; ``read_only``: only look, also while a scheduler has the store open:
    nothing is taken, made or changed, and no function is imported.
    """

    #: Whether ``_write`` writes a document and its records in one step. If not, a run may have a record and be live still.
    _writes_at_once: ClassVar[bool]
    #: Whether ``_write`` of jobs that are added together either writes all or nothing, in one step; else it has to be known
    #: beforehand that nothing is there.
    _refuses_in_one_step: ClassVar[bool] = False
    #: How many changes ``_write`` is given at a time, unless they are together.
    _written_at_once: ClassVar[int] = _CHUNK
    #: What the server is called, and bytes of the longest payload that it can hold, or None: it can hold any.
    _keeper: ClassVar[str]
    _payload_limit: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        serializer: str | Serializer = "json",
        pickle_protocol: int | None = None,
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
        history: int = 100,
        history_age: float | None = 30 * 86400.0,
        read_only: bool = False,
    ) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigurationError(f"history must be a number of run records from 1 up, not {history!r}")
        number = isinstance(history_age, int | float) and not isinstance(history_age, bool)
        if history_age is not None and not (number and history_age > 0):
            raise ConfigurationError(f"history_age must be a number of seconds above 0, or None, not {history_age!r}")
        self.codec = Codec(
            serializer, pickle_protocol=pickle_protocol, signing_key=signing_key, allowed_refs=allowed_refs
        )
        self._history_limit = history
        self._history_age_us = None if history_age is None else int(history_age * 1e6)
        self._aged_us = 0
        self._read_only = bool(read_only)
        # One writes at a time, and the claims belong to whoever does.
        self._lock = threading.RLock()
        self._opened = False
        self._reset()

    def _reset(self) -> None:
        self._records: dict[str, StoredRecord] = {}  # definitions, by uid
        self._docs: dict[str, Doc] = {}  # as they were last seen; a write of one that has changed since is refused
        self._claimed: dict[str, _Claimed] = {}
        self._take_over()

    def _take_over(self) -> None:
        """What is live on record is another scheduler's."""
        # The runs of which it is not known whether they began; None: any that is not known to have.
        self._in_doubt: set[tuple[tuple[str, str], int, int]] | None = None
        # What a recovery has submitted that was not finished: no executor has it.
        self._submitted: set[tuple[tuple[str, str], int, int]] = set()

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def start(self, scheduler: StoreHost, alias: str) -> None:
        """Connect, keep others off, and take back broken jobs whose code is there again.

        Raises ``JobStoreInUseError`` while another scheduler has it open, and ``JobStoreError``.
        """
        with self._lock:
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
        with self._lock:
            if self._opened:
                self._opened = False
                self._close()
            self._reset()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """What the driver raises becomes a ``JobStoreError`` with it as the cause."""
        try:
            yield
        except JobStoreInUseError:
            self._take_over()  # what it leaves is not ours
            raise
        except JobStoreError:
            raise
        except Exception as error:
            said = self._explain(error)
            if said is None:
                raise
            message, transient = said
            raise JobStoreError(self._alias, f"it failed to {doing}: {message}", transient=transient) from error

    @contextmanager
    def _using(self, doing: str) -> Iterator[None]:
        with self._lock, self._errors(doing):
            if not self._opened:
                raise JobStoreError(self._alias, "it is not open; start() opens it, shutdown() closes it")
            yield

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        if self._read_only:
            raise JobStoreError(self._alias, "it was opened for reading only")
        with self._using(doing):
            yield

    def _nothing_there(self, where: str) -> JobStoreError:
        return JobStoreError(self._alias, f"there is nothing of schedcore's {where}; is it the right place?")

    def _mend(self) -> None:
        """Jobs that were set aside and can be loaded again go on where they stood."""
        with self._writing("look for jobs that were set aside"):
            docs = [doc for doc in self._fetch_broken() if doc.uid and doc.fire_us is not None]
            loaded = self._load(docs)
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
        _check_id(job.id)
        self._encode(job)

    def _encode(self, job: JobRecord) -> bytes:
        payload = self.codec.encode(job)
        limit = self._payload_limit
        if limit is not None and len(payload) > limit:
            raise SerializationError(
                f"job {job.id!r} cannot be stored: its record has {len(payload):,} bytes, and {self._keeper} takes "
                f"{limit:,}; keep the data elsewhere, and give the job the place where it is"
            )
        return payload

    def add_entries(self, entries: Sequence[JobEntry]) -> None:
        fresh: dict[str, tuple[JobEntry, bytes]] = {}
        for entry in entries:
            job_id = entry.job.id
            _check_id(job_id)
            if job_id in fresh:
                raise ConflictingIdError(job_id)
            fresh[job_id] = entry, self._encode(entry.job)
        with self._writing("add jobs"):
            # Mostly nobody has these ids. Where somebody has, nothing was written.
            changes = self._added(fresh, {}) if self._refuses_in_one_step else []
            if not changes or not all(self._put(changes, together=True)):
                changes = self._added(fresh, self._read(list(fresh)))
                written = self._put(changes, together=True)
                for change, done in zip(changes, written, strict=True):
                    if not done:
                        raise ConflictingIdError(change.doc.id)
            self._keep(fresh, changes)

    def _keep(self, fresh: Mapping[str, tuple[JobEntry, bytes]], changes: Sequence[Change]) -> None:
        """Of jobs that were just added, and are due soon, most definitions need not be read back."""
        kept = self._records
        refs: dict[int, str] = {}
        assert self._scheduler is not None
        soon_us = self._scheduler.clock.wall_us() + SOON_US
        for change in changes:
            doc = change.doc
            if doc.due_us is not None and doc.due_us <= soon_us and len(kept) < _CACHE:
                job = fresh[doc.id][0].job
                if is_value(job):
                    kept[doc.uid] = as_read_back(job, doc.uid, refs)

    def _added(self, fresh: Mapping[str, tuple[JobEntry, bytes]], there: Mapping[str, Doc]) -> list[Change]:
        """What adds jobs, beside what is there of their ids. Raises ``ConflictingIdError``."""
        changes = []
        for job_id, (entry, payload) in fresh.items():
            old = there.get(job_id) or Doc(job_id, 0)
            if old.uid:
                raise ConflictingIdError(job_id)
            _, state, fire_us, due_us, reason = entry
            doc = Doc(
                job_id,
                old.revision + 1,
                os.urandom(16).hex(),
                1,
                state,
                entry.job.trigger.elapsed,
                fire_us,
                due_us if state is JobState.ACTIVE else None,
                reason,
                payload=payload,
                past=old.past,
            )
            changes.append(Change(old.revision, doc))
        return changes

    def get_entry(self, job_id: str) -> JobEntry | None:
        if not _is_text(job_id):
            return None
        with self._using("look a job up"):
            doc = self._read([job_id]).get(job_id)
            return None if doc is None or not doc.uid else self._entry(doc, self._load([doc])[job_id])

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        place = None if after is None else (after.due_us, after.job.id)
        with self._using("list jobs"):
            docs = [doc for doc in self._fetch_page(place, limit) if doc.uid]
            if self._read_only:
                # One that its owner moved on while they were read may be found in two places.
                docs = list({doc.id: doc for doc in docs}.values())
            loaded = self._load(docs)
            return [self._entry(doc, loaded[doc.id]) for doc in docs]

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
        self._records.pop(doc.uid, None)
        self._claimed.pop(doc.id, None)

    def remove_job(self, job_id: str) -> None:
        if not _is_text(job_id):
            raise JobLookupError(job_id)
        with self._writing("remove a job"):
            self._remove([job_id], missing=True)

    def remove_all_jobs(self) -> None:
        with self._writing("remove all jobs"):
            while True:
                page = [doc.id for doc in self._fetch_page(None, _CHUNK) if doc.uid]
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

    # -- the way of a run -----------------------------------------------------------------------------------------------

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        with self._writing("look for due jobs"):
            claimed = self._claimed
            count = limit + len(claimed)
            docs = [
                doc
                for elapsed, upto_us in ((True, now.steady_us), (False, now.wall_us))
                for doc in self._fetch_due(elapsed, upto_us, count)
                if doc.id not in claimed or claimed[doc.id].doc.revision != doc.revision
            ]
            docs.sort(key=_due_order)
            del docs[limit:]
            loaded = self._load(docs)
            claims: list[Claim] = []
            for doc in docs:
                record, reason = loaded[doc.id]
                if doc.fire_us is None or doc.due_us is None:
                    reason = _DAMAGED
                token = doc.id, doc.uid, doc.revision
                live = len(doc.live) + sum([len(one.live) for one in doc.past])
                claims.append(_new(Claim, (record, doc.fire_us or 0, doc.due_us or 0, live, token, reason)))
                claimed[doc.id] = _new(_Claimed, (doc.revision, doc))
            return claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        with self._writing("record runs"):
            changes: list[Change] = []
            planned: list[tuple[Decision, list[Run]]] = []
            dropped: list[Decision] = []
            on_record = self._on_record(decisions)
            for decision in decisions:
                job_id, uid, revision = decision.claim.token
                claimed = self._claimed.get(job_id)
                if claimed is None or claimed.revision != revision or claimed.doc.uid != uid:
                    dropped.append(decision)
                    continue
                fires = [fire_us for fire_us in decision.fires if (uid, fire_us) not in on_record]
                changes.append(self._decided(claimed.doc, decision, fires, now_us))
                job = decision.claim.job
                runs = [_new(Run, (job, self._alias, fire_us, 1, (job_id, uid))) for fire_us in fires]
                planned.append((decision, runs))
            written = self._put(changes)
            for decision in decisions:
                job_id, _, revision = decision.claim.token
                claimed = self._claimed.get(job_id)
                if claimed is not None and claimed.revision == revision:
                    del self._claimed[job_id]
            made: list[Run] = []
            plain = not dropped
            for (decision, runs), done in zip(planned, written, strict=True):
                if not done:
                    dropped.append(decision)
                    plain = False
                    continue
                made += runs
                if len(runs) != 1 or decision.skips or decision.next_us is None:
                    plain = False
            return Committed(made, dropped, plain)

    def _on_record(self, decisions: Sequence[Decision]) -> set[tuple[str, int]]:
        """The fire times of decisions that have a run already: only those that are not later than all before can."""
        suspects: dict[str, list[tuple[str, int]]] = {}
        found: set[tuple[str, int]] = set()
        for decision in decisions:
            job_id, uid, _ = decision.claim.token
            claimed = self._claimed.get(job_id)
            if claimed is None:
                continue
            doc = claimed.doc
            for fire_us in decision.fires:
                if fire_us <= doc.last_us:
                    if any(run.fire_us == fire_us for run in doc.live):
                        found.add((uid, fire_us))
                    else:
                        suspects.setdefault(job_id, []).append((uid, fire_us))
        for job_id, keys in suspects.items():
            found |= self._recorded(job_id, keys)
        return found

    def _decided(self, doc: Doc, decision: Decision, fires: Sequence[int], now_us: int) -> Change:
        claim, all_fires, skips, next_us, next_due_us, broken, _ = decision
        job_id, revision, uid, version, state, elapsed, fire_us, due_us, reason, last_us, payload, live, past = doc
        live += tuple([_new(LiveRun, (at_us, 1, _SUBMITTED, now_us, None)) for at_us in fires])
        last_us = max((last_us, *all_fires, *[skip.last_us for skip in skips]))
        records = tuple([(uid, skip_record(job_id, skip, now_us)) for skip in skips])
        if broken is not None:
            # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
            fire_us = None if all_fires or skips else _instant(claim.fire_us)
            state, due_us, reason = JobState.BROKEN, None, broken
        elif next_us is not None:
            fire_us, due_us = next_us, next_due_us
        elif live and payload is None:
            payload = self._read([job_id])[job_id].payload
        values = (uid, version, state, elapsed, fire_us, due_us, reason, last_us, payload, live, past)
        changed: Doc = _new(Doc, (job_id, revision + 1, *values))
        if broken is None and next_us is None:
            return Change(revision, changed.without_job(keep=True), records)
        return _new(Change, (revision, changed, records, True))

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        begun: dict[str, dict[tuple[str, int, int], int]] = {}
        for run, at_us in runs:
            job_id, uid = run.token
            begun.setdefault(job_id, {})[uid, run.fire_us, run.attempt] = at_us

        def start(doc: Doc) -> Change | None:
            mine = begun[doc.id]

            def each(uid: str, run: LiveRun) -> LiveRun:
                at_us = mine.get((uid, run.fire_us, run.attempt))
                return run if at_us is None else run._replace(state=RunState.RUNNING, started_us=at_us)

            return _with_live(doc, each)

        with self._writing("record that runs began"):
            self._change(list(begun), start, cached=True)

    def finish(self, finishes: Sequence[Finish]) -> None:
        over: dict[str, dict[tuple[str, int, int], Finish]] = {}
        for finish in finishes:
            job_id, uid = finish.run.token
            over.setdefault(job_id, {})[uid, finish.run.fire_us, finish.run.attempt] = finish

        def end(doc: Doc) -> Change | None:
            mine = over[doc.id]
            records: list[tuple[str, RunRecord]] = []

            def each(uid: str, run: LiveRun) -> LiveRun | None:
                found = mine.get((uid, run.fire_us, run.attempt))
                if found is None:
                    return run
                records.append((uid, _finished(doc.id, run, found)))
                return None

            return _with_live(doc, each, records)

        with self._writing("record how runs ended"):
            self._change(list(over), end, cached=True)
            self._forget_old(max((finish.finished_us for finish in finishes), default=0))

    def withdraw(self, runs: Sequence[Run]) -> None:
        withdrawn = {(run.token, run.fire_us, run.attempt) for run in runs}

        def withdraw(doc: Doc) -> Change | None:
            def each(uid: str, run: LiveRun) -> LiveRun:
                mine = ((doc.id, uid), run.fire_us, run.attempt) in withdrawn
                return run._replace(submitted_us=None) if mine and run.state is RunState.SUBMITTED else run

            return _with_live(doc, each)

        with self._writing("record that runs were taken back"):
            self._change(list(dict.fromkeys(run.token[0] for run in runs)), withdraw, cached=True)

    def _forget_old(self, now_us: int) -> None:
        if self._history_age_us is None or now_us - self._aged_us < _AGE_CHECK_US:
            return
        if self._delete_records(now_us - self._history_age_us, _AGED_ROWS) < _AGED_ROWS:
            self._aged_us = now_us

    def next_due(self) -> Due:
        with self._using("look for the next job"):
            return Due(self._next_due(False), self._next_due(True))

    def _next_due(self, elapsed: bool) -> int | None:
        claimed = self._claimed
        earliest = self._fetch_earliest(elapsed, len(claimed) + 1)
        return next((due_us for due_us, job_id in earliest if job_id not in claimed), None)

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
            definitions: dict[str, Loaded | None] = {past.uid: self._load_past(doc.id, past) for past in doc.past}
            if doc.uid:
                definitions[doc.uid] = self._load([doc])[doc.id]

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

            change = _with_live(doc, each, records)
            self._submitted.update((run.token, run.fire_us, run.attempt) for run in runs[doc.id])
            return change

        with self._writing("recover runs"):
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

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        if job_id is not None and not _is_text(job_id):
            return []
        with self._using("list runs"):
            records = self._fetch_history(job_id, failed, limit)
            if not failed:
                if job_id is None:
                    docs: Iterable[Doc] = self._fetch_live()
                else:
                    docs = self._read([job_id]).values()
                records += [
                    RunRecord(doc.id, *run[:3], submitted_us=run.submitted_us, started_us=run.started_us)
                    for doc in docs
                    for live in (doc.live, *(past.live for past in doc.past))
                    for run in live
                ]
        records.sort(key=lambda record: (record.fire_us, record.job_id, record.attempt), reverse=True)
        return records[:limit]

    def get_note(self, name: str) -> str | None:
        with self._using("read a note"):
            return self._fetch_note(name)

    def put_note(self, name: str, value: str) -> None:
        with self._writing("write a note"):
            self._write_note(name, value)

    # -- documents --------------------------------------------------------------------------------------------------------

    def _read(self, ids: Sequence[str]) -> dict[str, Doc]:
        """Documents by id, with their payloads."""
        found: dict[str, Doc] = {}
        for first in range(0, len(ids), _CHUNK):
            found.update(self._fetch(ids[first : first + _CHUNK]))
        for doc in found.values():
            self._remember(doc)
        return found

    def _remember(self, doc: Doc) -> None:
        docs = self._docs
        while len(docs) >= _CACHE:
            del docs[next(iter(docs))]
        docs[doc.id] = doc

    def _put(self, changes: Sequence[Change], *, together: bool = False) -> list[bool]:
        """Write; whether each was. ``together``: all or none."""
        written: list[bool] = []
        size = len(changes) if together else self._written_at_once
        for first in range(0, len(changes), max(1, size)):
            some = changes[first : first + size]
            written += self._write(some, together)
        kept = not together or all(written)
        for change, done in zip(changes, written, strict=True):
            if done and kept and not change.doc.empty:
                self._remember(change.doc)
            else:
                self._docs.pop(change.doc.id, None)
        return written

    def _known(self, job_id: str, revision: int) -> Doc | None:
        """A document with a revision, as far as it is in memory."""
        claimed = self._claimed.get(job_id)
        for doc in (None if claimed is None else claimed.doc, self._docs.get(job_id)):
            if doc is not None and doc.revision == revision:
                return doc
        return None

    def _change(self, ids: Sequence[str], change: Callable[[Doc], Change | None], *, cached: bool = False) -> None:
        """Change documents, each from what it says now. ``cached``: what it said last is worth a try."""
        docs = {job_id: self._docs[job_id] for job_id in ids if job_id in self._docs} if cached else {}
        left = list(ids)
        for _ in range(_TRIES):
            docs.update(self._read([job_id for job_id in left if job_id not in docs]))
            changes = [made for job_id in left for made in (change(docs.get(job_id) or Doc(job_id, 0)),) if made]
            written = self._put(changes)
            for made, done in zip(changes, written, strict=True):
                claimed = self._claimed.get(made.doc.id)
                # Runs that went on or ended meanwhile leave a decision about later ones as it is.
                if (
                    done
                    and claimed is not None
                    and claimed.doc.revision == made.old
                    and made.doc.uid == claimed.doc.uid
                ):
                    self._claimed[made.doc.id] = claimed._replace(doc=made.doc)
            left = [made.doc.id for made, done in zip(changes, written, strict=True) if not done]
            if not left:
                return
            docs = {}
        raise JobStoreError(
            self._alias, f"{len(left)} jobs were changed by somebody else {_TRIES} times", transient=True
        )

    def _load(self, docs: Sequence[Doc]) -> dict[str, Loaded]:
        """The definitions of documents, from memory or from their payloads."""
        found: dict[str, Loaded] = {}
        missing: list[Doc] = []
        for doc in docs:
            record = self._records.get(doc.uid)
            if record is not None and record.version == doc.version:
                found[doc.id] = _new(Loaded, (record, None))
            else:
                missing.append(doc)
        bare = [doc for doc in missing if doc.payload is None]
        payloads = self._fetch_payloads(bare) if bare else {}
        for doc in missing:
            payload = payloads.get(doc.id) if doc.payload is None else doc.payload
            loaded = self.codec.decode(doc.id, payload, import_func=not self._read_only)
            loaded.record.uid, loaded.record.version = doc.uid, doc.version
            found[doc.id] = loaded
            if loaded.reason is None:
                while len(self._records) >= _CACHE:
                    del self._records[next(iter(self._records))]
                self._records[doc.uid] = loaded.record
        return found

    def _fetch_payloads(self, docs: Sequence[Doc]) -> Mapping[str, bytes | Oversized | None]:
        """The payloads of documents that were fetched without, by id."""
        return {doc.id: doc.payload for doc in self._read([doc.id for doc in docs]).values()}

    def _load_past(self, job_id: str, past: Past) -> Loaded | None:
        return None if past.payload is None else self.codec.decode(job_id, past.payload)

    def _entry(self, doc: Doc, loaded: Loaded) -> JobEntry:
        if loaded.reason is not None and doc.state is not JobState.BROKEN:
            return JobEntry(loaded.record, JobState.BROKEN, doc.fire_us, doc.due_us, loaded.reason)
        return JobEntry(loaded.record, doc.state, doc.fire_us, doc.due_us, doc.reason)

    # -- what a backend supplies. Each may raise what its driver raises, and is called with the lock held -------------------

    @abstractmethod
    def _open(self) -> None:
        """Connect, keep a second scheduler off (``JobStoreInUseError``), and check the version of what is there."""

    def _open_to_read(self) -> None:
        """Connect and check the version of what is there, taking and changing nothing. Where nothing is, it is a
        ``JobStoreError`` (``_nothing_there``).
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be opened for reading only")

    @abstractmethod
    def _close(self) -> None:
        """Let go of what ``_open`` took. Raises nothing; called once for each ``_open``, also one that failed."""

    @abstractmethod
    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        """What an error of the driver's means, and whether trying again may help; None: it is not one of the driver's."""

    @abstractmethod
    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        """Documents by id, with payload; those that are not there are left out."""

    @abstractmethod
    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        """The earliest documents of a timeline that are due up to an instant, from an index; payloads may be left out."""

    @abstractmethod
    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        """The earliest due times of a timeline, with the ids, from an index."""

    @abstractmethod
    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        """Documents by (due time, id), those without one last, that come after a place; payloads may be left out."""

    @abstractmethod
    def _fetch_live(self) -> Sequence[Doc]:
        """Documents with live runs, earlier jobs' included; from an index."""

    @abstractmethod
    def _fetch_broken(self) -> Sequence[Doc]:
        """Documents in the state ``broken``; from an index."""

    @abstractmethod
    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        """Write each document, with its records, if its revision is the old one; whether each was. ``together``: all or none.

        Where document and records cannot be written in one step, the records come first. A record whose key (uid, fire time,
        attempt) is there already is left as it is. Beyond ``_history_limit`` the oldest records of a job go.
        """

    @abstractmethod
    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        """Which of these (uid, fire time) have a record with this attempt."""

    @abstractmethod
    def _delete_records(self, before_us: int, limit: int) -> int:
        """Delete the oldest records whose fire time is earlier than an instant, so many at most; how many were."""

    @abstractmethod
    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        """Records, latest fire time first. ``failed``: of runs that failed or were lost."""

    @abstractmethod
    def _fetch_note(self, name: str) -> str | None:
        """A note, or None."""

    @abstractmethod
    def _write_note(self, name: str, value: str) -> None:
        """Keep a note."""


def _with_live(
    doc: Doc, each: Callable[[str, LiveRun], LiveRun | None], records: list[tuple[str, RunRecord]] | None = None
) -> Change | None:
    """A document with its live runs changed; None when none was."""
    live = _kept(doc.uid, doc.live, each)
    past = doc.past
    if past:
        past = tuple([one._replace(live=left) for one in past for left in (_kept(one.uid, one.live, each),) if left])
    if live == doc.live and past == doc.past:
        return None
    return _new(Change, (doc.revision, doc.after(live, past), tuple(records or ()), True))


def _kept(uid: str, live: tuple[LiveRun, ...], each: Callable[[str, LiveRun], LiveRun | None]) -> tuple[LiveRun, ...]:
    return tuple([new for run in live for new in (each(uid, run),) if new is not None])


def _finished(job_id: str, run: LiveRun, finish: Finish) -> RunRecord:
    fire_us, attempt, _, submitted_us, begun_us = run
    _, state, started_us, finished_us, *_ = finish
    reason, *texts_and_code = outcome(finish)
    times = 1, None, submitted_us, begun_us if started_us is None else started_us, finished_us
    return _new(RunRecord, (job_id, fire_us, attempt, state, reason, *times, *texts_and_code))


def _due_order(doc: Doc) -> tuple[int, str]:
    return doc.due_us or 0, doc.id


def _is_text(job_id: str) -> bool:
    """Whether a database can hold it; what it cannot hold is nobody's id."""
    return isinstance(job_id, str) and (job_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in job_id))


def _check_id(job_id: str) -> None:
    if not _is_text(job_id) or "\0" in job_id:
        raise SerializationError(f"the job id {job_id!r} has characters that a database cannot hold", path="id")
