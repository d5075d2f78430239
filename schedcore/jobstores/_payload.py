"""What is stored of a job: its definition as data, and back.

A payload is what a serializer makes of this (version 1)::

    {"v": 1, "id": …, "name": …, "func": "module:qualname", "args": […], "kwargs": {…},
     "trigger": {"type": plug-in alias, "state": what its __getstate__ gave}, "policy": {field: value}}

(and ``"self"``, the instance, where the callable is a bound method and the serializer can keep objects). The policy has the
fields that differ from ``_USUAL``, which belongs to this version of payloads and stays what it is when a default changes. The id
and the place in the schedule have columns of their own.

A payload is data, whoever wrote it. Reading one imports the module of the function that it names and the trigger that is
registered under its alias, as far as ``allowed_refs`` lets it, and nothing else; it never raises for what it finds. What cannot
be loaded becomes a record without function, and a reason: the job is set aside, and its payload stays as it is until its code
is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from types import FunctionType, MethodType
from typing import Any, NamedTuple, cast

from schedcore import plugins
from schedcore.allowed import AllowedRefs, limited, limits
from schedcore.errors import (
    BrokenJobError,
    ConfigurationError,
    SerializationError,
    TransientJobError,
    contained,
    error_text,
)
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.references import UnnameableCallableError, callable_name, ref_of, resolve, unbind
from schedcore.serializers import PickleSerializer
from schedcore.serializers import load as load_serializer
from schedcore.serializers.base import Serializer, SerializerOfParts, show
from schedcore.serializers.signed import SignedSerializer, is_signed
from schedcore.triggers.base import Backlog, EngineTrigger
from schedcore.triggers.foreign import ForeignTrigger, as_grid

__all__ = [
    "SOON_US",
    "Codec",
    "Loaded",
    "Oversized",
    "StoredRecord",
    "UnknownTrigger",
    "as_read_back",
    "decode",
    "encode",
    "is_value",
    "reference",
]

_VERSION = 1


# Characters, and two for each value, which is no more than it takes in JSON. What a record says of a trigger is read as a
# schedule, which takes much longer than to read it as data: a list of times of a megabyte takes seconds.
_MOST_OF_TRIGGER = 250_000


class StoredRecord(JobRecord):
    """A record as a store gave it out, which knows its row. A changed copy (``_replace``) knows none: its version is 0."""

    uid: int | str = 0
    version: int = 0
    oversized: bool = False  #: its payload is too large to be read
    size: int = 0  #: bytes of its payload, as far as that is of interest


class Oversized(NamedTuple):
    """In the place of a payload that has so many bytes that it was not fetched."""

    size: int


class Loaded(NamedTuple):
    """What a payload was turned into; ``reason``: why the job cannot run, and then its ``func`` is None."""

    record: StoredRecord
    reason: str | None


class Codec:
    """How a job store turns definitions into bytes and back: its options ``serializer``, ``pickle_protocol``, ``signing_key`` and
    ``allowed_refs``, which are the same for all stores. Raises ``ConfigurationError`` for what they cannot be.
    """

    __slots__ = ("allowed", "serializer")

    def __init__(
        self,
        serializer: str | Serializer = "json",
        *,
        pickle_protocol: int | None = None,
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
    ) -> None:
        if pickle_protocol is not None and serializer != "pickle":
            raise ConfigurationError('pickle_protocol goes with serializer="pickle"')
        made: Serializer = load_serializer(serializer) if pickle_protocol is None else PickleSerializer(pickle_protocol)
        self.serializer = made if signing_key is None else SignedSerializer(made, signing_key)
        self.allowed = AllowedRefs(allowed_refs)

    @property
    def max_bytes(self) -> int | None:
        """How many bytes a payload may have. Stores fetch no larger one (``Oversized``). None: the serializer does not say."""
        found: int | None = getattr(self.serializer, "max_bytes", None)
        return found

    def encode(self, job: JobRecord) -> bytes:
        """See ``encode``."""
        return encode(self.serializer, job, self.allowed)

    def encode_all(self, jobs: Sequence[JobRecord]) -> list[bytes]:
        """The payloads of jobs that are stored together. What many of them have in common is checked and encoded once."""
        serializer = self.serializer
        plain = serializer.inner if isinstance(serializer, SignedSerializer) else serializer
        with limited(self.allowed):
            if len(jobs) > 1 and "dumps_part" in vars(type(plain)):
                return _encode_in_parts(cast(SerializerOfParts, serializer), jobs)
            return [_encode(serializer, job) for job in jobs]

    def decode(self, job_id: str, payload: object, *, import_func: bool = True) -> Loaded:
        """See ``decode``."""
        if isinstance(payload, Oversized):
            loaded = _unreadable(
                job_id,
                f"its record has {payload.size:,} bytes, and at most {self.max_bytes or 0:,} are read (max_bytes=)",
            )
            loaded.record.oversized = True
            return loaded
        if isinstance(payload, bytes) and is_signed(payload) and not isinstance(self.serializer, SignedSerializer):
            return _unreadable(job_id, "its record is signed, and the job store has no signing_key to verify it with")
        return decode(self.serializer, job_id, payload, import_func=import_func, allowed=self.allowed)


class UnknownTrigger(EngineTrigger):
    """Stands for a trigger that cannot be loaded. It never fires."""

    __slots__ = ()

    timezone = UTC

    def next_us(self, after_us: int) -> int | None:
        return None

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        return Backlog(0, None, None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnknownTrigger)

    def __hash__(self) -> int:
        return hash(UnknownTrigger)

    def __repr__(self) -> str:
        return "<unknown trigger>"

    def __str__(self) -> str:
        return "unknown"


# --- record -> payload ---


def reference(job: JobRecord) -> str:
    """The text that names the job's callable. Raises ``TransientJobError`` when there is none."""
    if job.func_ref is not None:
        limit = limits()
        if limit is not None:
            limit.check_text(job.func_ref)
            if job.func is not None:
                resolve(job.func_ref)  # as it will be done to load it: the text alone does not say where it leads
        return job.func_ref
    if job.func is None:
        raise BrokenJobError(job.id, "its function is not known; give it one")
    try:
        return ref_of(job.func)
    except UnnameableCallableError as error:
        raise TransientJobError(job.id, error.reason) from error


def encode(serializer: Serializer, job: JobRecord, allowed: AllowedRefs | None = None) -> bytes:
    """The payload of a job. ``allowed``: what it may name.

    Raises ``TransientJobError`` for a callable that text cannot name, ``SerializationError`` for what the serializer refuses,
    with the path to it, ``ReferenceNotAllowedError``, and ``BrokenJobError`` for a job whose function is not known.
    """
    with limited(allowed):
        return _encode(serializer, job)


def _encode(serializer: Serializer, job: JobRecord) -> bytes:
    try:
        fields = _trigger_fields(job)
        payload = serializer.dumps({**_call_fields(job), **_own_fields(job), **fields})
        if len(payload) > _MOST_OF_TRIGGER:
            _check_trigger(fields["trigger"])
        return payload
    except SerializationError as error:
        raise _refused(job, error) from error


def _encode_in_parts(serializer: SerializerOfParts, jobs: Sequence[JobRecord]) -> list[bytes]:
    """The same for jobs that are added by the thousand, with a handful of functions and triggers: each is encoded once."""
    dumps_part, join_parts = serializer.dumps_part, serializer.join_parts
    # By identity, which nothing else takes as long as the jobs are there.
    calls: dict[tuple[int, str | None, int, bool], bytes] = {}
    triggers: dict[int, bytes] = {}
    payloads = []
    for job in jobs:
        _, _, func, func_ref, args, kwargs, trigger, policy = job
        key = id(func), func_ref, id(policy), bool(args or kwargs)
        try:
            call = calls.get(key)
            if call is None:
                call = calls[key] = dumps_part(_call_fields(job))
            own = dumps_part(_own_fields(job))
            when = triggers.get(id(trigger))
            if when is None:
                fields = _trigger_fields(job)
                when = triggers[id(trigger)] = dumps_part(fields)
                if len(when) > _MOST_OF_TRIGGER:
                    _check_trigger(fields["trigger"])
            payloads.append(join_parts(call, own, when))
        except SerializationError as error:
            raise _refused(job, error) from error
    return payloads


def _call_fields(job: JobRecord) -> dict[str, Any]:
    """What many jobs have in common: the call, also that it has no arguments."""
    fields = {"v": _VERSION, "func": reference(job), "policy": _pack_policy(job.policy)}
    func = job.func
    if job.func_ref is None and func is not None and type(func) is not FunctionType:
        _, first = unbind(func)
        if first:
            fields["self"] = first[0]
    if not (job.args or job.kwargs):
        fields["args"], fields["kwargs"] = [], {}
    return fields


def _own_fields(job: JobRecord) -> dict[str, Any]:
    job_id, name, _, _, args, kwargs, _, _ = job
    if args or kwargs:
        return {"id": job_id, "name": name, "args": list(args), "kwargs": dict(kwargs)}
    return {"id": job_id, "name": name}


def _trigger_fields(job: JobRecord) -> dict[str, Any]:
    trigger = job.trigger
    if type(trigger) is UnknownTrigger:
        raise BrokenJobError(job.id, "its trigger is not known; give it one")
    inner: Any = trigger.inner if isinstance(trigger, ForeignTrigger) else trigger
    alias = plugins.alias_of(plugins.TRIGGERS, type(inner))
    # A class that is not registered goes as it is, for a serializer that keeps objects; the others refuse it.
    return {"trigger": inner if alias is None else {"type": alias, "state": inner.__getstate__()}}


def _check_trigger(packed: Any) -> None:
    if _weight(packed) > _MOST_OF_TRIGGER:
        raise SerializationError(
            f"the schedule takes more than {_MOST_OF_TRIGGER:,} characters", path="trigger['state']"
        )


def _weight(packed: Any) -> int:
    """The characters of the texts in a trigger's record, and some for each value."""
    weight, left = 0, [packed]
    while left and weight <= _MOST_OF_TRIGGER:
        value = left.pop()
        weight += 2
        if type(value) is str:
            weight += len(value)
        elif type(value) is dict:
            left += value.keys()
            left += value.values()
        elif type(value) is list or type(value) is tuple:
            left += value
    return weight


def _refused(job: JobRecord, error: SerializationError) -> Exception:
    """What is raised for a job with something in it that a serializer refuses."""
    path = error.path
    if path.startswith("self") and job.func is not None:
        return TransientJobError(
            job.id, f"{callable_name(job.func)} is a method of an object, and that object cannot be stored"
        )
    if path == "trigger":
        kind = type(_trigger_fields(job)["trigger"])
        return SerializationError(
            f"job {job.id!r} cannot be stored: the trigger class {kind.__module__}.{kind.__qualname__} is not registered, so "
            f"that no store could find it again; announce it in the entry-point group {plugins.TRIGGERS!r}, or use "
            f'serializer="pickle"',
            path=path,
        )
    return SerializationError(f"job {job.id!r} cannot be stored: {error}", path=path)


# What most jobs have: a third of a payload, were it said of each.
_USUAL = JobPolicy(
    executor="default", misfire_grace_us=None, coalesce=True, max_instances=1, max_catchup=1000, recovery="rerun"
)


def _pack_policy(policy: JobPolicy) -> dict[str, Any]:
    if policy == _USUAL:
        return {}
    pairs = zip(JobPolicy._fields, policy, _USUAL, strict=True)
    return {name: value for name, value, usual in pairs if value != usual}


# --- record -> record: without the way through the bytes ---

# Microseconds. The definition of a new job that is not due within that is not kept in memory: it has no use for it yet.
SOON_US = 3_600_000_000

_VALUES = frozenset({str, bytes, int, float, bool, type(None)})
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor


def is_value(job: JobRecord) -> bool:
    """Whether the record is the same as if it were read back: nothing in it can change behind the store's back."""
    return (
        job.func is not None
        and type(job.func) is not MethodType
        and not isinstance(job.trigger, ForeignTrigger)
        and all(type(value) in _VALUES for value in job.args)
        and all(type(value) in _VALUES for value in job.kwargs.values())
    )


def as_read_back(job: JobRecord, uid: int | str, refs: dict[int, str]) -> StoredRecord:
    """A new job (``is_value``) as it would be read back, once it is stored. ``refs``: an empty dictionary for all of a batch."""
    job_id, name, func, func_ref, args, kwargs, trigger, policy = job
    if func_ref is None:
        # Many jobs have one function, whose name takes a search.
        func_ref = refs.get(id(func))
        if func_ref is None:
            func_ref = refs[id(func)] = reference(job)
    record = _new(StoredRecord, (job_id, name, func, func_ref, args, kwargs, trigger, policy))
    record.uid, record.version = uid, 1
    return record


# --- payload -> record ---


# Characters. What a record says of itself may be of any length; what is said of it is not.
_LONGEST_REASON = 1000


class _Unusable(Exception):
    """Part of a payload is not what it has to be."""


def decode(
    serializer: Serializer,
    job_id: str,
    payload: object,
    *,
    import_func: bool = True,
    allowed: AllowedRefs | None = None,
) -> Loaded:
    """The job that a payload describes. Raises nothing.

    ``import_func=False``: leave the function alone, for who only looks. ``allowed``: what it may name.
    """
    with limited(allowed):
        record, reason = _decode(serializer, job_id, payload, import_func)
    if reason is not None and len(reason) > _LONGEST_REASON:
        reason = f"{reason[: _LONGEST_REASON - 1]}…"
    return Loaded(record, reason)


def _decode(serializer: Serializer, job_id: str, payload: object, import_func: bool) -> Loaded:
    if not isinstance(payload, bytes | bytearray | memoryview):
        return _unreadable(job_id, "its record cannot be read: there are no bytes")
    try:
        data = serializer.loads(bytes(payload))
    except SerializationError as error:
        return _unreadable(job_id, f"its record cannot be read: {error}")
    if type(data) is not dict or "v" not in data:
        return _unreadable(job_id, "its record is not that of a job")
    if data["v"] != _VERSION:
        return _unreadable(
            job_id,
            f"its record has version {show(data['v'])}, and this release reads {_VERSION}; was it made by a newer one?",
        )
    if job_id and data.get("id", job_id) != job_id:
        # A signed record says what it says under its own id only.
        return _unreadable(job_id, f"its record is that of another job, {show(data['id'])}")
    try:
        name = _text(data, "name")
        ref = _text(data, "func")
        args, kwargs = data.get("args"), data.get("kwargs")
        if type(args) is not list or type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            raise _Unusable("its arguments are not a list and a dictionary")
        policy = _unpack_policy(data.get("policy"))
    except _Unusable as error:
        return _unreadable(job_id, f"its record cannot be used: {error}")
    reason: str | None = None
    trigger: EngineTrigger
    try:
        packed = data.get("trigger")
        if len(payload) > _MOST_OF_TRIGGER:
            _check_trigger(packed)
        trigger = _unpack_trigger(packed)
    # Whatever a third party's class raises, and whatever an altered state provokes.
    except BaseException as error:  # noqa: BLE001
        trigger = UnknownTrigger()
        reason = f"its trigger cannot be loaded: {contained(error)}"
    func: Any = None
    if import_func and reason is None:
        try:
            func = resolve(ref)
            if not callable(func):
                reason, func = f"{ref!r} leads to {type(func).__name__!r}, which cannot be called", None
            elif "self" in data:
                func = MethodType(func, data["self"])
        except LookupError as error:
            reason = str(error)
        # A module's own __getattr__ may do anything.
        except Exception as error:  # noqa: BLE001
            reason = f"{ref!r} cannot be resolved: {error_text(error)}"
    return Loaded(StoredRecord(job_id, name, func, ref, tuple(args), kwargs or NO_KWARGS, trigger, policy), reason)


def _unreadable(job_id: str, reason: str) -> Loaded:
    return Loaded(
        StoredRecord(job_id, job_id, None, None, (), NO_KWARGS, UnknownTrigger(), JobPolicy().intern()), reason
    )


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if type(value) is not str or not value:
        raise _Unusable(f"{key} is not text")
    return value


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 1 << 62


_POLICY_CHECKS = {
    "executor": lambda value: type(value) is str,
    "misfire_grace_us": lambda value: value is None or _whole(value, 0),
    "coalesce": lambda value: type(value) is bool,
    "max_instances": lambda value: _whole(value, 1),
    "max_catchup": lambda value: _whole(value, 1),
    "recovery": lambda value: value in ("rerun", "lost"),
}


# Policies by what their records say. Many jobs have the same, and a hostile record can add to it only what is valid.
_policies: dict[tuple[Any, ...], JobPolicy] = {}
_POLICIES_LIMIT = 1000


def _unpack_policy(fields: Any) -> JobPolicy:
    if type(fields) is not dict:
        raise _Unusable("policy is not a dictionary")
    try:
        key = tuple([(name, type(value), value) for name, value in fields.items()])
        known = _policies.get(key)
    except TypeError:
        key, known = (), None
    if known is not None:
        return known
    for name, value in fields.items():
        check = _POLICY_CHECKS.get(name)
        if check is None:
            # A rule that is not known cannot be kept, and the job must not run without it.
            raise _Unusable(f"this release does not know the job option {show(name)}")
        if not check(value):
            raise _Unusable(f"the job option {name} cannot be {show(value)}")
    policy = _USUAL._replace(**fields).intern()
    if key and len(_policies) < _POLICIES_LIMIT:
        _policies[key] = policy
    return policy


def _unpack_trigger(packed: Any) -> EngineTrigger:
    # One of a class that is not registered, kept by a serializer that keeps objects. Its class need not be one of ours.
    if callable(getattr(packed, "get_next_fire_time", None)):
        return as_grid(packed)
    if type(packed) is not dict or type(packed.get("type")) is not str:
        raise _Unusable("its record is not that of a trigger")
    cls: Any = plugins.load(plugins.TRIGGERS, packed["type"])
    trigger = cls.__new__(cls)
    state = packed.get("state")
    ours = cls.__module__.startswith("schedcore.triggers.")
    setstate = getattr(trigger, "__setstate__", None)
    if setstate is not None:
        setstate(state)
    else:
        # As pickle does it for a class without a method of its own: attributes, or a pair of those and the slots.
        attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
        for part in (attributes, slots):
            for name, value in (part or {}).items():
                setattr(trigger, name, value)
    if ours:
        str(trigger)  # lists of jobs show it: one that cannot be shown would keep all the others from being listed
    return as_grid(trigger)
