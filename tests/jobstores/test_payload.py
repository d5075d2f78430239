"""Jobs as data: what is refused, and what is made of records that nobody should have written."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from time import process_time
from types import ModuleType
from typing import Any

import pytest

from schedcore import plugins
from schedcore.engine import Claim, decide
from schedcore.errors import BrokenJobError, ReferenceNotAllowedError, SerializationError, TransientJobError
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.jobstores import _payload
from schedcore.jobstores._payload import Codec, UnknownTrigger, decode, encode
from schedcore.serializers import PickleSerializer
from schedcore.serializers.json import JSONSerializer
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.calendars import Dates
from schedcore.triggers.combining import OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.foreign import ForeignTrigger, as_grid
from schedcore.triggers.interval import IntervalTrigger
from tests.jobstores.every.material import triggers
from tests.same_everywhere.neighbour import slowness

JSON = JSONSerializer()
PICKLE = PickleSerializer()
LARGE = CronTrigger(minute=",".join(["5"] * 1000), timezone="UTC")
THIS = __name__
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def task(*args: Any, **kwargs: Any) -> str:
    return "done"


class Service:
    def method(self, *args: Any) -> tuple[Any, ...]:
        return args

    @classmethod
    def made(cls) -> None: ...


service = Service()


@dataclass
class Quitting:
    """An argument whose class has code that runs when it is loaded."""

    number: int

    def __post_init__(self) -> None:
        pass

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class EveryHour(BaseTrigger):
    """A third party's trigger, of the kind that 3.x has: attributes, and no more."""

    def __init__(self, minute: int) -> None:
        self.minute = minute

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EveryHour) and other.minute == self.minute

    def __hash__(self) -> int:
        return hash(self.minute)


class Slotted(EveryHour):
    __slots__ = ("zone",)

    def __init__(self, minute: int, zone: str) -> None:
        super().__init__(minute)
        self.zone = zone


@pytest.fixture(autouse=True)
def _this_module_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, THIS, sys.modules.get(THIS) or _module())


def _module() -> ModuleType:
    module = ModuleType(THIS)
    module.__dict__.update(globals())
    return module


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two triggers above, as an installed package would announce them."""
    found = {EveryHour: "hourly", Slotted: "slotted"}
    monkeypatch.setattr(
        plugins, "alias_of", lambda group, cls, real=plugins.alias_of: found.get(cls) or real(group, cls)
    )
    classes = {alias: cls for cls, alias in found.items()}
    monkeypatch.setattr(
        plugins, "load", lambda group, alias, real=plugins.load: classes.get(alias) or real(group, alias)
    )


def record(func: Any = task, ref: str | None = None, trigger: BaseTrigger | None = None, **parts: Any) -> JobRecord:
    grid = as_grid(trigger or IntervalTrigger(hours=1, start_date="2026-01-01", timezone="UTC"))
    plain = JobRecord("job", "name", func, ref, (), NO_KWARGS, grid, JobPolicy().intern())
    return plain._replace(**parts)


def data(**changes: Any) -> dict[str, Any]:
    """What a payload says, with changes."""
    return {**JSON.loads(encode(JSON, record())), **changes}


class TestCallables:
    def test_by_reference(self) -> None:
        loaded = decode(JSON, "job", encode(JSON, record()))
        assert loaded.reason is None
        assert loaded.record.func_ref == f"{THIS}:task"
        assert loaded.record.func is task

    def test_the_text_that_the_user_gave_is_kept(self) -> None:
        loaded = decode(JSON, "job", encode(JSON, record(service.method, f"{THIS}:service.method")))
        assert loaded.record.func_ref == f"{THIS}:service.method"
        assert loaded.record.func == service.method

    def test_class_methods(self) -> None:
        assert decode(JSON, "job", encode(JSON, record(Service.made))).record.func == Service.made

    @pytest.mark.parametrize(
        ("func", "reason"),
        [
            (lambda: None, "a lambda has no name"),
            (functools.partial(task, 1), "is a partial"),
            (service.method, r"Service\.method is a method of an object, and that object cannot be stored"),
        ],
        ids=["lambda", "partial", "method"],
    )
    def test_without_a_name(self, func: Any, reason: str) -> None:
        with pytest.raises(
            TransientJobError, match=f"job 'job' cannot be added to this job store: .*{reason}.*; use a function"
        ):
            encode(JSON, record(func))

    def test_a_method_of_an_object_that_the_serializer_can_keep(self) -> None:
        loaded = decode(PICKLE, "job", encode(PICKLE, record([1, 2].append)))
        assert loaded.reason is None
        func: Any = loaded.record.func
        func(3)
        assert func.__self__ == [1, 2, 3]

    def test_a_job_without_function(self) -> None:
        with pytest.raises(BrokenJobError, match="job 'job' is set aside: its function is not known; give it one"):
            encode(JSON, record(None))
        assert b"a:b" in encode(JSON, record(None, "a:b"))


class TestArguments:
    def test_what_cannot_be_stored_is_named_with_its_place(self) -> None:
        with pytest.raises(
            SerializationError, match=r"job 'job' cannot be stored: kwargs\['when'\]\[2\]: .*object"
        ) as caught:
            encode(JSON, record(kwargs={"when": [1, 2, object()]}))
        assert caught.value.path == "kwargs['when'][2]"
        with pytest.raises(SerializationError) as caught:
            encode(JSON, record(args=(1, {"a": task})))
        assert caught.value.path == "args[1]['a']"


class TestTriggers:
    @pytest.mark.usefixtures("registered")
    @pytest.mark.parametrize("trigger", [EveryHour(7), Slotted(7, "UTC")], ids=["dictionary", "slots"])
    def test_a_third_partys(self, trigger: EveryHour) -> None:
        loaded = decode(JSON, "job", encode(JSON, record(trigger=trigger)))
        assert loaded.reason is None
        kept = loaded.record.trigger
        assert isinstance(kept, ForeignTrigger)
        assert type(kept.inner) is type(trigger)
        assert kept.inner == trigger
        assert getattr(kept.inner, "zone", None) == getattr(trigger, "zone", None)

    @pytest.mark.usefixtures("registered")
    def test_a_state_that_is_no_data(self) -> None:
        trigger = EveryHour(7)
        trigger.minute = object()  # type: ignore[assignment]
        with pytest.raises(SerializationError) as caught:
            encode(JSON, record(trigger=trigger))
        assert caught.value.path == "trigger['state']['minute']"

    def test_one_that_is_not_registered(self) -> None:
        with pytest.raises(
            SerializationError, match=r"the trigger class .*EveryHour is not registered.*'schedcore\.triggers'"
        ) as caught:
            encode(JSON, record(trigger=EveryHour(7)))
        assert caught.value.path == "trigger"
        loaded = decode(PICKLE, "job", encode(PICKLE, record(trigger=EveryHour(7))))
        assert loaded.record.trigger == as_grid(EveryHour(7))

    def test_one_that_could_not_be_loaded(self) -> None:
        with pytest.raises(BrokenJobError, match="its trigger is not known"):
            encode(JSON, record(trigger=UnknownTrigger()))


class Reversed(JSONSerializer):
    """A user's own, made from ours."""

    __slots__ = ()

    def dumps(self, data: object, root: str = "") -> bytes:
        return super().dumps(data, root)[::-1]

    def loads(self, payload: bytes | bytearray | memoryview) -> Any:
        return super().loads(bytes(payload)[::-1])


class TestTogether:
    """Jobs that are stored in one step, with parts that several of them have."""

    @pytest.mark.parametrize("serializer", [JSON, PICKLE, Reversed()], ids=["json", "pickle", "a subclass of json"])
    @pytest.mark.parametrize("signing_key", [None, b"sixteen bytes of" * 2], ids=["plain", "signed"])
    def test_each_is_as_if_it_were_alone(self, serializer: Any, signing_key: bytes | None) -> None:
        codec = Codec(serializer, signing_key=signing_key)
        hourly = IntervalTrigger(hours=1, start_date="2026-01-01", timezone="UTC")
        often = JobPolicy(max_instances=3).intern()
        jobs = [
            record(
                trigger=trigger, policy=policy, id=f"{number}", args=(number, "é"), kwargs={"a": [number]}, func=func
            )
            for number, (trigger, policy, func) in enumerate(
                (as_grid(trigger), policy, func)
                for trigger in (hourly, *triggers().values())
                for policy in (JobPolicy().intern(), often)
                for func in (task, Service.made, task)
            )
        ]
        jobs.append(record(ref=f"{THIS}:service.method", func=service.method, id="by its text", name="other"))
        jobs += [
            record(id="without arguments"),
            record(id="by name", kwargs={"a": 1}),
            record(id="by place", args=(1,)),
        ]
        payloads = codec.encode_all(jobs)
        assert payloads == [codec.encode(job) for job in jobs]
        for job, payload in zip(jobs, payloads, strict=True):
            loaded = codec.decode(job.id, payload)
            assert loaded.reason is None
            assert loaded.record == job._replace(func_ref=loaded.record.func_ref)

    def test_methods_of_two_objects(self) -> None:
        one, other = [1], [2]
        jobs = [record(func.append) for func in (one, other, one)]
        loaded = [decode(PICKLE, "job", payload).record.func for payload in Codec(PICKLE).encode_all(jobs)]
        assert [func.__self__ for func in loaded if func is not None] == [[1], [2], [1]]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize(
        ("parts", "error", "told"),
        [
            ({"args": ({"a": object()},)}, SerializationError, r"'bad' cannot be stored: args\[0\]\['a'\]: .*object"),
            ({"kwargs": {"a": "\ud800"}}, SerializationError, r"'bad' cannot be stored: kwargs\['a'\]: .*surrogate"),
            (
                {"kwargs": {"a": "x" * 5000}},
                SerializationError,
                "'bad' cannot be stored: .* at most 4,000 may be stored",
            ),
            (
                {"kwargs": {"a": [1] * 500, "b": 1}},
                SerializationError,
                r"'bad' cannot be stored: the value holds more than 400 values, most of them in kwargs\['a'\], and",
            ),
            (
                {"trigger": LARGE},
                SerializationError,
                "'bad' cannot be stored: the schedule takes more than 1,000 characters",
            ),
            ({"trigger": as_grid(EveryHour(7))}, SerializationError, "'bad' .*EveryHour is not registered"),
            ({"trigger": UnknownTrigger()}, BrokenJobError, "'bad' is set aside: its trigger is not known"),
            ({"func": lambda: None}, TransientJobError, "'bad' .*lambda"),
            ({"func": service.method}, TransientJobError, "'bad' .*is a method of an object, and that object"),
            ({"func": print}, ReferenceNotAllowedError, "builtins:print"),
        ],
        ids=[
            "argument",
            "half a character",
            "size",
            "values",
            "size of trigger",
            "class of trigger",
            "no trigger",
            "lambda",
            "method",
            "not allowed",
        ],
    )
    def test_one_that_is_refused(
        self,
        place: int,
        parts: dict[str, Any],
        error: type[Exception],
        told: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(_payload, "_MOST_OF_TRIGGER", 1000)
        codec = Codec(JSONSerializer(max_bytes=4000, max_values=400), allowed_refs=[f"{THIS}:*"])
        jobs = [record(id="a"), record(id="b")]
        jobs.insert(place, record(**{"id": "bad", **parts}))
        with pytest.raises(error, match=told):
            codec.encode_all(jobs)


def test_a_schedule_that_is_as_large_as_it_may_be() -> None:
    dates = IntervalTrigger(hours=1, timezone="UTC").excluding(
        Dates(*(date(2026, 1, 1) + timedelta(n) for n in range(0, 9000, 2)))
    )
    jobs = [record(trigger=dates), record(id="other", trigger=dates)]
    for payload in [encode(JSON, jobs[0]), *Codec(JSON).encode_all(jobs)]:
        assert decode(JSON, "", payload).record.trigger == dates


def test_what_was_stored_together_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in parts is weighed as a whole: a schedule that takes no more room than it may is no heavier then."""
    several = OrTrigger([CronTrigger(hour=hour, minute="5,6", timezone="UTC") for hour in range(24)])
    for job in (record(trigger=several, args=("x" * 9000,)), record(trigger=several, args=())):
        payload = encode(JSON, job)
        room = len(JSON.dumps(JSON.loads(payload)["trigger"]))
        monkeypatch.setattr(_payload, "_MOST_OF_TRIGGER", room)
        for one in Codec(JSON).encode_all([job, job]):
            assert decode(JSON, "", one).reason is None


def test_a_schedule_that_takes_long_to_read() -> None:
    times = ",".join(["5"] * 200_000)
    payload = JSON.loads(encode(JSON, record(trigger=CronTrigger(minute=5, timezone="UTC"))))
    payload["trigger"]["state"]["fields"] = {"minute": times}
    before = process_time()
    reason = decode(JSON, "", JSON.dumps(payload)).reason
    assert reason == "its trigger cannot be loaded: the schedule takes more than 250,000 characters"
    assert process_time() - before < 0.3 * slowness()
    job = record(trigger=CronTrigger(minute=times, timezone="UTC"))
    for add in (lambda: encode(JSON, job), lambda: Codec(JSON).encode_all([job, job])):
        with pytest.raises(SerializationError, match="the schedule takes more than 250,000 characters"):
            add()


class TestOptions:
    def test_each_is_checked_when_it_is_read(self) -> None:
        assert set(_payload._POLICY_CHECKS) == set(JobPolicy._fields)

    def test_round_trip(self) -> None:
        policy = JobPolicy("x", 1, False, 2, 3, "lost").intern()
        assert decode(JSON, "job", encode(JSON, record(policy=policy))).record.policy is policy


HOSTILE: dict[str, Any] = {
    "no dictionary": [1],
    "nothing": {},
    "another version": data(v=2),
    "a version of another type": data(v=[1]),
    "no name": data(name=None),
    "an empty name": data(name=""),
    "no function": data(func=None),
    "a function of another type": data(func=["os:system"]),
    "no reference": data(func="os.system"),
    "a module that is not there": data(func="schedcore_nowhere:f"),
    "no callable": data(func="sys:path"),
    "arguments of another type": data(args="abc"),
    "keywords of another type": data(kwargs=[]),
    "keywords that are no text": data(kwargs={1: 2}),
    "an option that is not known": data(policy={**JobPolicy()._asdict(), "run_as": "root"}),
    "no options": data(policy=None),
    **{
        f"{name}={value!r}": data(policy={**JobPolicy()._asdict(), name: value})
        for name, value in [
            ("executor", 1),
            ("misfire_grace_us", "1"),
            ("misfire_grace_us", -1),
            ("misfire_grace_us", 2**80),
            ("coalesce", 1),
            ("max_instances", 0),
            ("max_instances", True),
            ("max_catchup", 2**70),
            ("recovery", "always"),
            ("recovery", []),
        ]
    },
    "no trigger": data(trigger=None),
    "a trigger by its class": data(trigger={"type": "os:system", "state": {}}),
    "a trigger of another type": data(trigger={"type": ["interval"], "state": {}}),
    "a trigger without state": data(trigger={"type": "interval"}),
    "a trigger's state of another version": data(trigger={"type": "interval", "state": {"version": 99}}),
    "a trigger's state that is incomplete": data(trigger={"type": "interval", "state": {"version": 3}}),
    "a trigger's state that is no dictionary": data(trigger={"type": "cron", "state": [1, 2]}),
}


class TestHostileRecords:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_is_set_aside(self, name: str) -> None:
        loaded = decode(JSON, "job", JSON.dumps(HOSTILE[name]))
        assert loaded.reason
        assert loaded.record.func is None
        assert loaded.record.id == "job"
        assert loaded.record.trigger.next_us(0) is None or isinstance(loaded.record.trigger, IntervalTrigger)

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            b"",
            b"\x80\x04\x95",
            b"\xff\xfe",
            b"{" * 100_000,
            b'{"v":1,"d":' + b"[" * 100_000,
            PICKLE.dumps(print),
            b'{"v":1,"d":"' + b"x" * (17 * 1024 * 1024) + b'"}',
            b'{"v":1,"d":NaN}',
            b'{"v":2,"d":{}}',
        ],
        ids=lambda payload: repr(payload)[:20],
    )
    def test_bytes(self, payload: bytes | None) -> None:
        loaded = decode(JSON, "job", payload)
        assert loaded.reason
        assert loaded.record.func is None

    def test_nothing_is_imported_but_the_function(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        monkeypatch.setattr(_payload, "resolve", lambda ref: [task, asked.append(ref)][0])  # type: ignore[func-returns-value]
        text = json.dumps(
            data(func="a.b:c", args=["os:system"], trigger={"type": "evil:Trigger", "state": {"func": "x:y"}})
        )
        assert decode(JSON, "job", f'{{"v":1,"d":{text}}}'.encode()).reason
        assert asked == []
        assert decode(JSON, "job", JSON.dumps(data(func="a.b:c", args=["os:system"]))).reason is None
        assert asked == ["a.b:c"]

    def test_a_module_that_fails_in_any_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Strange(ModuleType):
            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("no")

        monkeypatch.setitem(sys.modules, "schedcore_strange", Strange("schedcore_strange"))
        loaded = decode(JSON, "job", JSON.dumps(data(func="schedcore_strange:f")))
        assert "RuntimeError: no" in str(loaded.reason)

    @pytest.mark.parametrize("serializer", [JSONSerializer([Quitting]), PICKLE], ids=["json", "pickle"])
    def test_a_class_that_fails_in_any_way(self, serializer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        payload = serializer.dumps(data(args=[Quitting(1)]))

        def fail(self: Quitting, *state: Any) -> None:
            raise GeneratorExit("enough")

        monkeypatch.setattr(Quitting, "__post_init__", fail)
        monkeypatch.setattr(Quitting, "__setstate__", fail)
        assert "it raised GeneratorExit: enough" in str(decode(serializer, "job", payload).reason)

    def test_a_damaged_pickle(self) -> None:
        assert decode(PICKLE, "job", b"\x80\x04").reason


def test_who_only_looks_imports_no_function() -> None:
    loaded = decode(JSON, "job", JSON.dumps(data(func="schedcore_nowhere:f", args=[1])), import_func=False)
    assert loaded.reason is None
    assert (loaded.record.func, loaded.record.func_ref, loaded.record.args) == (None, "schedcore_nowhere:f", (1,))


def test_a_changed_record_is_not_the_stored_one_any_more() -> None:
    stored = decode(JSON, "job", encode(JSON, record())).record
    stored.uid, stored.version = 7, 3
    changed = stored._replace(name="other")
    assert (changed.uid, changed.version) == (0, 0)
    assert (stored.uid, stored.version) == (7, 3)


# --- records that were altered at random --------------------------------------------------------------------------------

# In the place of anything.
STRANGE: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1,
        2**31,
        2**53,
        2**62,
        2**64,
        10**18,
        10**30,
        -(10**18),
        1.5,
        float("nan"),
        float("inf"),
        1e308,
    ),
    *(
        "",
        "x",
        "0",
        "*",
        "*/0",
        "99999999999",
        "UTC",
        "os:system",
        "H",
        "L",
        "1-1000000000",
        "*/1-",
        "\0",
        "🚀",
        "x" * 10_000,
    ),
    *([], {}, [[]], [1] * 1000, {"a": 1}, {"type": "or", "state": {}}, b"\0", (1,)),
    *("2026-01-01", "9999-12-31", "0001-01-01", "24:00", "FREQ=SECONDLY", "0 0 30 2 *", "@reboot"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways into a value."""
    parts = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


def with_(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("seed", range(4))
def test_records_that_were_altered_at_random(seed: int) -> None:
    """Each is a job that can be asked and shown, or it says why not. (One that hangs is found by the time that a test has.)"""
    random = Random(seed)
    jobs = [as_grid(trigger).anchored(START_US).seeded("job") for trigger in triggers().values()]
    records = [JSON.loads(encode(JSON, record(trigger=trigger))) for trigger in jobs]
    usable = 0
    for _ in range(400):
        altered = random.choice(records)
        for _ in range(random.choice((1, 1, 2, 3))):
            ways = [path for path in places(altered) if path[0] == "trigger" or random.random() < 0.2]
            altered = with_(altered, random.choice(ways), random.choice(STRANGE))
        loaded = decode(JSON, "job", JSON.dumps(altered))
        if loaded.reason is not None:
            assert len(loaded.reason) <= 1000
            assert loaded.record.func is None
            continue
        usable += 1
        job = loaded.record
        assert str(job.trigger)
        assert repr(job.trigger)
        assert job.trigger.timezone is not None
        encode(JSON, job)
        decision = decide(Claim(job, START_US, START_US, 0, None, None), START_US + 3_600_000_000, random.random)
        assert decision.broken is None or len(decision.broken) < 2000
    assert usable > 20
