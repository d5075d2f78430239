from __future__ import annotations

import dataclasses
import enum
import importlib.util
import json
import math
import os
import subprocess
import sys
import textwrap
import threading
import time as clock
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.errors import ConfigurationError, SerializationError
from schedcore.serializers._tagged import TaggedSerializer
from schedcore.serializers.json import MAX_DEPTH, JSONSerializer, _make_encode
from tests.same_everywhere.neighbour import slowness

BERLIN = ZoneInfo("Europe/Berlin")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    ALSO_RED = "red"  # noqa: PIE796


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    HELLO = "hello"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


@dataclasses.dataclass
class Point:
    x: int
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Spot:
    x: Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    name: str
    colors: tuple[Color, ...] = ()
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError("a name is text")
        object.__setattr__(self, "total", len(self.colors))


@dataclasses.dataclass
class Transient:
    a: int
    seed: dataclasses.InitVar[int] = 0


class Other(enum.Enum):
    A = 1


class Plain:
    def __repr__(self) -> str:
        return "<Plain>"


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Text(str):
    __slots__ = ()


class OwnZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "OWN"


Pair = namedtuple("Pair", "a b")

PLAIN = JSONSerializer()
TYPES = [Color, Level, Word, Rights, Point, Frozen, Path, PurePosixPath, PureWindowsPath]
RICH = JSONSerializer(TYPES)

# Those that share the data model.
KINDS: dict[str, type[TaggedSerializer]] = {"json": JSONSerializer}
if importlib.util.find_spec("cbor2") is not None:
    from schedcore.serializers.cbor import CBORSerializer

    KINDS["cbor"] = CBORSerializer
of_each_kind = pytest.mark.parametrize("kind", KINDS)


def same(one: object, other: object) -> bool:
    """Equality that tells apart what ``==`` does not: types, nan, the sign of zero, zones, folds, the order of dictionaries."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset) and isinstance(other, set | frozenset):
        return len(one) == len(other) and all(any(same(item, found) for found in other) for item in one)
    if isinstance(one, datetime | time) and isinstance(other, datetime | time):
        return repr(one) == repr(other) and one.fold == other.fold and one.tzname() == other.tzname()
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, Point) and isinstance(other, Point):
        return same([one.x, one.y], [other.x, other.y])
    return one == other


def round_trip(value: object, serializer: TaggedSerializer = RICH) -> Any:
    payload = serializer.dumps(value)
    assert type(payload) is bytes
    loaded = serializer.loads(payload)
    assert serializer.dumps(loaded) == payload
    return loaded


# --- what comes back as it was ---

VALUES: list[object] = [
    *(None, True, False, "", "x", "é😀\x00\x1f\u2028", "$", "$int", 'a"\\b', "\\ud800"),
    *(0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**5000, -(10**5000)),
    *(0.0, -0.0, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan),
    *([], {}, (), set(), frozenset(), [[]], [()], ((),), {"a": []}),
    *({1, 2, 3}, {"a", None, 1.5}, {(1, 2), frozenset({3})}),
    *({"$int": "0x1"}, {"$": 1}, {"a": 1, "$b": 2}, {"$dict": []}, {"a$": 1}),
    *({1: "a", "1": "b", None: "c", (1, 2): "d"}, {True: 1}, {1.5: 2}, {b"x": 1}, {date(2024, 1, 1): 2}),
    *(b"", b"\x00\xff", bytes(range(256))),
    *(Decimal("1.10"), Decimal("-0"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+999999")),
    UUID("12345678-1234-5678-1234-567812345678"),
    *(date.min, date.max, time.min, time.max, time(1, fold=1), time(1, 2, 3, 4, UTC), time(1, tzinfo=BERLIN)),
    *(datetime.min, datetime.max, datetime(2024, 1, 1, fold=1), datetime(2024, 1, 1, 2, 3, 4, 5)),  # noqa: DTZ001, DTZ901
    *(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3, seconds=1)))),
    *(datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")), datetime(2024, 1, 1, tzinfo=UTC)),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "Zulu")),
    *(datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
    *(
        datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
        datetime(1, 1, 1, tzinfo=BERLIN),
        datetime.max.replace(tzinfo=BERLIN),
    ),
    *(datetime(2024, 1, 1, tzinfo=ZoneInfo("Etc/GMT+5")), datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
    *(timedelta.min, timedelta.max, timedelta(microseconds=-1), timedelta(0)),
    *(
        Color.RED,
        Color.ALSO_RED,
        Level.LOW,
        Word.HELLO,
        Rights.READ,
        Rights.READ | Rights.WRITE,
        Rights(0),
        ~Rights.READ,
    ),
    *(Point(1, [Point(2, {"a": (3,)})]), Frozen(name="x", colors=(Color.RED,)), {Frozen(name="k"): {Color.RED: 1}}),
    *(Path("/a/b"), Path(), PureWindowsPath("c:\\x"), {Path("a")}, PurePosixPath("/a")),
]


@of_each_kind
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value: object, kind: str) -> None:
    serializer = KINDS[kind]([Color, Level, Word, Rights, Point, Frozen, Path, PureWindowsPath])
    if isinstance(value, PurePosixPath) and not isinstance(value, Path):
        serializer = KINDS[kind]([PurePosixPath])
    for wrapped in (value, [value], {"key": value}, (value,), {1: value}):
        assert same(round_trip(wrapped, serializer), wrapped)


def test_a_path_class_and_its_base_may_both_be_registered() -> None:
    for value in (Path("a"), PurePosixPath("a"), PureWindowsPath("a")):
        assert same(round_trip(value), value)


def test_an_interpreter_without_the_fast_encoder_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data: dict[str, Any] = {
        'é\u2028"': [1, -(2**62), 1.5, 1e300, None, True, {}, [], "\0\x1f\\/"],
        "": {"a": {"b": [[]]}},
    }
    written = _make_encode()(data)
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert _make_encode()(data) == written
    assert json.loads(written) == data
    with pytest.raises(TypeError):
        _make_encode()(object())


def test_the_format() -> None:
    data = {"id": "a", "args": (1, b"x"), "when": datetime(2024, 1, 1, tzinfo=BERLIN), "n": {1: None}}
    assert PLAIN.dumps(data).decode() == (
        '{"v":1,"d":{"id":"a","args":{"$tuple":[1,{"$bytes":"eA=="}]},'
        '"when":{"$datetime":["2024-01-01T00:00:00","Europe/Berlin",0]},"n":{"$dict":[[1,null]]}}}'
    )
    assert b'"$of":["color",' in JSONSerializer({"color": Color}).dumps(Color.RED)
    assert b'"$of":["pathlib:Path","a"]' in RICH.dumps(Path("a"))
    assert PLAIN.dumps("é") == '{"v":1,"d":"é"}'.encode()


def test_equal_sets_give_equal_bytes() -> None:
    forward: set[int] = set()
    backward: set[int] = set()
    for number in range(0, 128, 8):
        forward.add(number)
        backward.add(120 - number)
    assert list(forward) != list(backward)
    assert PLAIN.dumps(forward) == PLAIN.dumps(backward)


def test_bytes_of_database_drivers() -> None:
    payload = PLAIN.dumps([1])
    assert PLAIN.loads(bytearray(payload)) == PLAIN.loads(memoryview(payload)) == [1]


def test_what_it_is_given_stays_as_it_is() -> None:
    value = {"a": [1, (2,)], "b": {1: 2}}
    PLAIN.dumps(value)
    assert value == {"a": [1, (2,)], "b": {1: 2}}


def test_a_name_of_the_applications_own_survives_a_move() -> None:
    payload = JSONSerializer({"point": Point}).dumps(Point(1))
    moved = dataclasses.make_dataclass("Moved", [("x", int), ("y", Any, 5), ("z", int, 7)])
    assert JSONSerializer({"point": moved}).loads(payload) == moved(1, 0, 7)


# --- properties ---

zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]).map(
        ZoneInfo
    ),
    st.integers(-86_340, 86_340).map(lambda seconds: timezone(timedelta(seconds=seconds))),
    st.builds(
        lambda seconds, name: timezone(timedelta(seconds=seconds), name),
        st.integers(-82_800, 82_800),
        st.text(st.characters(codec="utf-8")),
    ),
)
text = st.text(st.characters(codec="utf-8"))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    text,
    st.sampled_from(["$", "$int", "$dict", "$of", "v", "d"]),
    st.binary(),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.times(timezones=zones),
    st.datetimes(timezones=zones),
    st.timedeltas(),
    st.sampled_from([*Color, *Level, *Word, *Rights, Rights.READ | Rights.RUN]),
    st.builds(PurePosixPath, text.filter(lambda word: "\0" not in word)),
)
# nan is left out: it is not equal to itself.
hashable = st.recursive(
    leaves.filter(
        lambda value: value == value if not isinstance(value, Decimal) else not value.is_snan() and value == value
    ),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(text | st.sampled_from(["$", "$int"]), inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.builds(Point, st.integers(), inner),
    ),
    max_leaves=20,
)


@of_each_kind
@settings(derandomize=True, deadline=None, max_examples=200)
@given(value=values)
def test_everything_comes_back_as_it_was(value: object, kind: str) -> None:
    assert same(round_trip(value, KINDS[kind](TYPES)), value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["Europe/Berlin", "2024-01-01"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(
            st.sampled_from([f"${tag}" for tag in [*"a", "int", "float", "datetime", "time", "date", "timedelta"]])
            | st.sampled_from(["$decimal", "$uuid", "$bytes", "$tuple", "$set", "$frozenset", "$dict", "$of"]),
            inner,
            min_size=1,
            max_size=2,
        ),
    ),
    max_leaves=15,
)


def reads_or_refuses(payload: bytes) -> None:
    try:
        value = RICH.loads(payload)
    except SerializationError:
        return
    # What was read can be written: nothing got in that would not get out.
    RICH.dumps(value)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    reads_or_refuses(b'{"v":1,"d":' + json.dumps(value).encode() + b"}")
    reads_or_refuses(json.dumps(value).encode())


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary())
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    reads_or_refuses(payload)
    reads_or_refuses(b'{"v":1,"d":' + payload + b"}")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(values, st.data())
def test_damaged_bytes_are_read_or_refused(value: object, data: st.DataObject) -> None:
    payload = bytearray(RICH.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    reads_or_refuses(bytes(payload))


# --- what is refused ---


def short(value: object) -> str:
    return value[:50] if isinstance(value, str) else type(value).__name__


def nested(levels: int, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = wrap(value)
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "root", "message"),
    [
        (
            {"kwargs": {"when": [1, 2, Plain()]}},
            "",
            "kwargs['when'][2]: Plain is not plain data (<Plain>): pass data that",
        ),
        ({"when": [1, 2, Plain()]}, "kwargs", "kwargs['when'][2]: Plain is not"),
        ((1, (Plain(),)), "args", "args[1][0]: Plain is not"),
        (Plain(), "", "Plain is not plain data"),
        (Plain(), "args", "args: Plain is not plain data"),
        ([Plain()], "", "[0]: Plain is not"),
        ({"a b": Plain()}, "", "['a b']: Plain is not"),
        ({1: {"x": Plain()}}, "args", "args[1]['x']: Plain"),
        ({"a": {Plain(): 1}}, "", "a: the key <Plain>: Plain is not"),
        ({"a": {(1, Plain()): 1}}, "", "a: the key (1, <Plain>): Plain is not"),
        ({"$a": [Plain()]}, "args", "args['$a'][0]: Plain"),
        ({"a": {Plain()}}, "", "a{<Plain>}: Plain is not"),
        (Point(1, [Plain()]), "args", "args['y'][0]: Plain is not"),
        ({"x": BadRepr()}, "", "x: BadRepr is not plain data (<BadRepr whose repr raises RuntimeError>)"),
        (1j, "x", "x: complex is not plain data (1j)"),
        (bytearray(b"x"), "x", "x: bytearray is not plain data"),
        (object(), "x", "x: object is not plain data"),
        (Transient(1), "x", "x: Transient is not registered: give it to JSONSerializer(types=[Transient])"),
        (Other.A, "x", "x: Other is not registered: give it to JSONSerializer(types=[Other])"),
        (
            PureWindowsPath("x"),
            "x",
            "x: PureWindowsPath is not registered: give it to JSONSerializer(types=[PureWindowsPath])",
        ),
        (Text("x"), "x", "x: Text is a subclass of str and would come back as a plain one: convert it first"),
        (Pair(1, 2), "x", "x: Pair is a subclass of tuple"),
        (OrderedDict(a=1), "x", "x: OrderedDict is a subclass of dict"),
        (print, "x", "x: <built-in function print> is code, not data: pass a reference"),
        (int, "x", "x: <class 'int'> is code, not data"),
        (datetime(2024, 1, 1, tzinfo=OwnZone()), "x", "OwnZone: use zoneinfo.ZoneInfo instead"),
        ("\ud800", "x", "x: text with a lone surrogate (half of a character) cannot be stored"),
        ({"a": [1, {"b": "\udfff"}]}, "", "a[1]['b']: text with a lone surrogate"),
        ({"a": {"\ud800": 1}}, "", "a['\\ud800']: text with a lone surrogate"),
        ({"a": ({"\ud800"}, 1)}, "", "a[0]{'\\ud800'}: text with a lone surrogate"),
        (Point(1, "\ud800"), "p", "p['y']: text with a lone surrogate"),
        (Path("a\udc80"), "p", "p: text with a lone surrogate"),
        (nested(MAX_DEPTH + 1), "x", "nested more than 100 levels deep, or containing itself"),
        (nested(MAX_DEPTH + 1, lambda inner: {"a": inner}), "", "nested more than 100 levels deep"),
        (nested(MAX_DEPTH + 1, lambda inner: {1: inner}), "", "nested more than 100 levels deep"),
        (nested(MAX_DEPTH + 1, lambda inner: (inner,)), "", "nested more than 100 levels deep"),
        (nested(MAX_DEPTH + 1, lambda inner: frozenset([inner])), "", "nested more than 100 levels deep"),
        (nested(MAX_DEPTH + 1, lambda inner: Point(1, inner)), "", "nested more than 100 levels deep"),
        (nested(100_000), "x", "nested more than 100 levels deep"),
        (CYCLE, "x", "x[0][0][0][0][0][0][0][0][...][0]"),
        (
            {n * sys.hash_info.modulus for n in range(30)},
            "x",
            "x: more than 20 elements or keys have the same hash",
        ),
        ([{n * sys.hash_info.modulus: 1 for n in range(30)}], "x", "x[0]: more than 20 elements or keys have the same"),
        ({Decimal(1), 1 << 61 * 17}, "x", "x: elements or keys that have the same hash take too long to compare"),
        (
            [{(1, (Decimal(1),)): 1, (1, (1 << 61 * 17,)): 2}],
            "x",
            "x[0]: elements or keys that have the same hash take",
        ),
        ({Spot(Decimal(1)), Spot(1 << 61 * 17)}, "x", "x: elements or keys that have the same hash take"),
        ([1 << 20_000], "x", "x[0]: an integer of 20,001 bits; at most 20,000 may be stored"),
        ("x" * 17_000_000, "args", "args takes 17,000,014 bytes, and at most 16,777,216 may be stored (max_bytes=)"),
    ],
    ids=short,
)
def test_what_cannot_be_stored_says_where_it_sits(value: object, root: str, message: str) -> None:
    serializer = JSONSerializer([Point, Spot, Path])
    with pytest.raises(SerializationError) as caught:
        serializer.dumps(value, root)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert str(caught.value).startswith((caught.value.path, "Plain"))
    assert isinstance(caught.value, ValueError)


def test_the_path_is_an_attribute() -> None:
    with pytest.raises(SerializationError) as caught:
        PLAIN.dumps({"kwargs": {"when": [1, 2, Plain()]}})
    assert caught.value.path == "kwargs['when'][2]"


def test_types_that_are_not_registered_are_refused() -> None:
    for value in (Color.RED, Level.LOW, Word.HELLO, Rights.READ, Point(1), Path("a")):
        with pytest.raises(SerializationError, match=r"is not registered: give it to JSONSerializer\(types=\["):
            PLAIN.dumps(value)
        with pytest.raises(SerializationError, match="is not registered here; give it to JSONSerializer"):
            PLAIN.loads(RICH.dumps(value))


def test_a_zone_without_a_key() -> None:
    import io
    import zoneinfo
    from importlib import resources

    data = resources.files("tzdata.zoneinfo.Europe").joinpath("Berlin").read_bytes()
    zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(data))
    with pytest.raises(SerializationError, match="has no key"):
        PLAIN.dumps(datetime(2024, 1, 1, tzinfo=zone))


def test_the_deepest_values_come_back() -> None:
    wraps: list[Callable[[Any], Any]] = [
        lambda inner: [inner],
        lambda inner: (inner,),
        lambda inner: {"a": inner},
        lambda inner: {1: inner},
        lambda inner: {"$a": inner},
        lambda inner: frozenset([inner]),
    ]
    for wrap in wraps:
        value = nested(MAX_DEPTH, wrap)
        assert same(round_trip(value), value)
    value = nested(MAX_DEPTH // 2, lambda inner: Point(1, inner))
    assert round_trip(value) == value
    # As deep, and followed by so many brackets that they have to be counted one by one.
    value = [nested(MAX_DEPTH - 1), [[f'[{{\\"{index}'] for index in range(1000)]]
    assert same(round_trip(value), value)


def test_no_room_on_the_stack() -> None:
    def deep(levels: int, call: Callable[[], object]) -> object:
        return call() if levels <= 0 else deep(levels - 1, call)

    value = nested(80)
    payload = PLAIN.dumps(value)
    errors: list[Exception] = []
    for levels in range(0, sys.getrecursionlimit(), 10):
        for call in (lambda: PLAIN.dumps(value), lambda: PLAIN.loads(payload)):
            try:
                deep(levels, call)
            except SerializationError as error:
                errors.append(error)
            except RecursionError:  # deep() itself did not get there
                break
    assert any("the call stack has no room left" in str(error) for error in errors)


def test_a_value_that_changes_meanwhile() -> None:
    shared: dict[str, Any] = {str(index): [index] for index in range(500)}
    stop = threading.Event()

    def change() -> None:
        index = 0
        while not stop.is_set():
            index += 1
            shared[f"x{index}"] = [1]
            if index % 50 == 0:
                for key in [key for key in shared if key[0] == "x"]:
                    del shared[key]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            try:
                PLAIN.loads(PLAIN.dumps(shared))
            except SerializationError as error:
                assert "was changed while it was stored" in str(error)  # noqa: PT017
    finally:
        stop.set()
        thread.join()


# --- hostile bytes ---


def record(data: str) -> bytes:
    return f'{{"v":1,"d":{data}}}'.encode()


def number(n: int) -> str:
    """One of any number of integers that have the same hash, as it is stored."""
    return f'{{"$int":"{n * sys.hash_info.modulus:#x}"}}'


def decimal(n: int) -> str:
    """A Decimal that has the same hash as these."""
    return f'{{"$decimal":"{n * sys.hash_info.modulus}"}}'


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "not a record that can be read: JSONDecodeError"),
        (b"null", "there is no version"),
        (b"[]", "there is no version"),
        (b"{}", "there is no version"),
        (b'{"v":1}', "there is no version"),
        (b'{"v":1,"d":1,"e":1}', "there is no version"),
        (b'{"v":2,"d":1}', "the record has the format version 2; this program reads version 1"),
        (b'{"v":true,"d":1}', "the format version True"),
        (b'{"v":"1","d":1}', "the format version '1'"),
        (b'{"v":{"$decimal":"sNaN"},"d":1}', "the format version Decimal"),
        (b'{"v":1,"d":1} x', "JSONDecodeError"),
        (b'{"v":1,"d":1', "JSONDecodeError"),
        (b'\xef\xbb\xbf{"v":1,"d":1}', "JSONDecodeError"),
        (b'{"v":1,"d":"\xff"}', "UnicodeDecodeError"),
        (b'{"v":1,"d":"\xed\xa0\x80"}', "UnicodeDecodeError"),
        (b'{"v":1,"d":"a\x00b"}', "Invalid control character"),
        (b"\x00", "JSONDecodeError"),
        (b"\x80\x04\x95\x10", "UnicodeDecodeError"),
        (record('"\\ud800"'), "surrogates not allowed"),
        (record('{"\\uDFFF":1}'), "surrogates not allowed"),
        (record("NaN"), "NaN is not JSON"),
        (record("-Infinity"), "-Infinity is not JSON"),
        (record("9" * 5000), "ValueError"),
        (record('{"$eval":"1"}'), "unknown tag '$eval'"),
        (record('{"$":1}'), "unknown tag '$'"),
        (record('{"$date":"2024-01-01","a":1}'), "$date stands beside other keys"),
        (record('{"a":1,"$date":"2024-01-01"}'), "$date stands beside other keys"),
        (record('{"$date":1}'), "$date: 1 cannot be read: TypeError: text is needed"),
        (record('{"$date":"yesterday"}'), "$date: 'yesterday' cannot be read: ValueError"),
        (record('{"$datetime":null}'), "TypeError: a list of 3 is needed"),
        (record('{"$datetime":["2024-01-01T00:00:00","Europe/Nowhere",0]}'), "No time zone found"),
        (record('{"$datetime":["2024-01-01T00:00:00","../../etc/passwd",0]}'), "not the name of a zone"),
        (record('{"$datetime":["2024-01-01T00:00:00","/etc/passwd",0]}'), "not the name of a zone"),
        (record('{"$datetime":["2024-01-01T00:00:00","Europe",0]}'), "$datetime: "),
        (record('{"$datetime":["2024-01-01T00:00:00","a\\u0000b",0]}'), "not the name of a zone"),
        (record('{"$datetime":["2024-01-01T00:00:00",1,0]}'), "text is needed"),
        (record('{"$datetime":["2024-01-01T00:00:00",null,2]}'), "fold is 0 or 1"),
        (record('{"$datetime":["2024-01-01T00:00:00",null,true]}'), "a whole number is needed"),
        (record('{"$time":"25:00"}'), "$time: '25:00' cannot be read"),
        (record('{"$timedelta":[1,2]}'), "a list of 3 is needed"),
        (record('{"$timedelta":[1,2,true]}'), "a whole number is needed"),
        (record('{"$timedelta":[1,2,0.5]}'), "a whole number is needed"),
        (record('{"$timedelta":[99999999999,0,0]}'), "OverflowError"),
        (record('{"$decimal":1}'), "text is needed"),
        (record('{"$decimal":"one"}'), "InvalidOperation"),
        (record('{"$decimal":" 1 "}'), "not a decimal number"),
        (record('{"$uuid":"1234"}'), "badly formed"),
        (record('{"$uuid":"{12345678-1234-5678-1234-567812345678}"}'), "not in the usual form"),
        (record('{"$bytes":"???"}'), "$bytes: '???' cannot be read"),
        (record('{"$bytes":0}'), "text is needed"),
        (record('{"$int":"10"}'), "hexadecimal text is needed"),
        (record('{"$int":"0x1_0"}'), "hexadecimal text is needed"),
        (record('{"$int":16}'), "text is needed"),
        (record(f'{{"$int":"0x{"f" * 10_000_000}"}}'), "more than 20,000 bits"),
        (record("[" + "[]," * 3_000_000 + "[]]"), "the record holds more than 250,000 values, and no more are read"),
        (record("[" + '"\\ud83d\\ude00",' + "{}," * 3_000_000 + "[]]"), "holds more than 250,000 values"),
        (record("[" + "1," * 5_000_000 + "1]"), "holds more than 250,000 values"),
        (record("[" * 400 + '""' * 4_000_000), "nested more than 100 levels"),
        (record('{"$set":[' + ",".join(map(number, range(40_000))) + "]}"), "have the same hash"),
        (
            record('{"$set":[' + ",".join(f"{number(n << 19_000)},{decimal(n)}" for n in range(1, 11)) + "]}"),
            "take too long to compare",
        ),
        (record('{"$frozenset":[' + ",".join(map(number, range(40_000))) + "]}"), "have the same hash"),
        (
            record('{"$dict":[' + ",".join(f"[{number(n)},1]" for n in range(40_000)) + "]}"),
            "have the same hash",
        ),
        (record(f'{{"$datetime":["2024-01-01T00:00:00","{"a/" * 1_000_000}a",0]}}'), "not the name of a zone"),
        (record('{"$float":"1.5"}'), "nan, inf or -inf is needed"),
        (record('{"$tuple":"ab"}'), "a list is needed"),
        (record('{"$set":{"a":1}}'), "a list is needed"),
        (record('{"$set":[[1]]}'), "unhashable"),
        (record('{"$set":[1,1]}'), "an element stands twice"),
        (record('{"$frozenset":[{"a":1}]}'), "unhashable"),
        (record('{"$dict":[[1]]}'), "a list of 2 is needed"),
        (record('{"$dict":[[[],1]]}'), "unhashable"),
        (record('{"$dict":[[1,2],[true,3]]}'), "a key stands twice"),
        (record('{"$dict":{"a":1}}'), "a list is needed"),
        (record('{"$of":["os:system","id"]}'), "the type 'os:system' is not registered here"),
        (record('{"$of":["a"]}'), "a list of 2 is needed"),
        (record('{"$of":[["a"],1]}'), "text is needed"),
        (record('{"$of":["color","BLUE"]}'), "Color has no member 'BLUE'"),
        (record('{"$of":["color","__class__"]}'), "Color has no member '__class__'"),
        (record('{"$of":["color",1]}'), "text is needed"),
        (record('{"$of":["rights",64]}'), "ValueError"),
        (record('{"$of":["rights",true]}'), "text is needed"),
        (record('{"$of":["path",1]}'), "text is needed"),
        (record('{"$of":["point",[1]]}'), "the fields are needed"),
        (record('{"$of":["point",{"x":1,"__class__":2}]}'), "Point has no field '__class__'"),
        (record('{"$of":["point",{"$dict":[[1,2]]}]}'), "Point has no field 1"),
        (record('{"$of":["point",{}]}'), "missing 1 required positional argument: 'x'"),
        (record('{"$of":["frozen",{"name":1}]}'), "a name is text"),
        (record("[" * 1000 + "]" * 1000), "nested more than 100 levels"),
        (b"[" * 200_000, "nested more than 100 levels"),
        (b'{"a":' * 200_000, "nested more than 100 levels"),
        (b"[" * 1_000_000, "holds more than 250,000 values"),
        (b'"' + b"[" * 1000, "JSONDecodeError"),
        (b'"\\' * 5_000_000, "JSONDecodeError"),
        (b'[["\\"' * 1_000_000, "JSONDecodeError"),
        (b'"\\u' * 5_000_000, "JSONDecodeError"),
        (b"\\" * 10_000_000 + b"\\ud8", "JSONDecodeError"),
        (
            record(f'"{"x" * 17_000_000}"'),
            "the record has 17,000,014 bytes, and at most 16,777,216 are read (max_bytes=)",
        ),
        (5, "TypeError"),
        ('{"v":1,"d":1}', "TypeError"),
        (None, "TypeError"),
    ],
    ids=short,
)
def test_hostile_bytes(payload: Any, message: str) -> None:
    serializer = JSONSerializer({"color": Color, "rights": Rights, "path": Path, "point": Point, "frozen": Frozen})
    before = clock.process_time()
    with pytest.raises(SerializationError) as caught:
        serializer.loads(payload)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert clock.process_time() - before < 5 * slowness()


def test_surrogate_pairs_of_other_writers_are_read() -> None:
    assert PLAIN.loads(record('"\\ud83d\\ude00"')) == "😀"
    assert PLAIN.loads(record('"\\\\ud83d"')) == "\\ud83d"


def test_the_limit_of_size() -> None:
    small = JSONSerializer(max_bytes=20)
    assert small.loads(small.dumps("x" * 5)) == "xxxxx"
    with pytest.raises(SerializationError, match="the value takes 24 bytes, and at most 20 may be stored"):
        small.dumps("x" * 10)
    with pytest.raises(SerializationError, match="the record has 24 bytes, and at most 20 are read"):
        small.loads(PLAIN.dumps("x" * 10))


@pytest.mark.parametrize("text", [",[{" * 200_000, '\\",' * 200_000])
def test_what_stands_in_text_is_no_value(text: str) -> None:
    assert PLAIN.loads(PLAIN.dumps([text])) == [text]


@of_each_kind
def test_the_limit_of_values(kind: str) -> None:
    """The same both ways, and the argument is named that has most of them."""
    many, plenty = KINDS[kind](max_values=20), KINDS[kind]()
    refused = "holds more than 20 values"
    for least, most in (([1] * 12, [1] * 30), ({str(n): n for n in range(12)}, {str(n): n for n in range(30)})):
        assert many.loads(many.dumps({"args": least})) == {"args": least}
        with pytest.raises(SerializationError, match=f"the record {refused}, and no more are read .max_values=.$"):
            many.loads(plenty.dumps({"args": most}))
        with pytest.raises(SerializationError, match=rf"the value {refused}, most of them in args\[1\], and") as caught:
            many.dumps({"args": [1, most]})
        assert caught.value.path == "args[1]"
    with pytest.raises(SerializationError, match=rf"root {refused}, and no more may be stored \(max_values=\)"):
        many.dumps([[1, 2]] * 30, "root")


def test_the_argument_that_takes_most_is_named() -> None:
    with pytest.raises(
        SerializationError, match=r"the value takes \d+ bytes, most of them in kwargs\['a'\], and at most"
    ):
        JSONSerializer(max_bytes=100).dumps({"args": [1, 2], "kwargs": {"a": "x" * 500}})


@of_each_kind
def test_elements_that_share_a_hash_by_chance(kind: str) -> None:
    """-1 and -2 do, and so does what they are in; and so do powers of two."""
    places = {(x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)}
    for value in (
        places,
        dict.fromkeys(places, 1),
        {1 << bit for bit in range(1200)},
        {Decimal(1), 1 << 61, 1 << 16 * 61},
        {2.0**n for n in range(-200, 200)},
    ):
        assert KINDS[kind]().loads(KINDS[kind]().dumps(value)) == value


def test_several_nans_in_one_set_and_as_keys() -> None:
    """What a set takes, it has to take again when it is read back: a job that was accepted would be broken."""
    values = [math.nan, float("nan"), float("nan")]
    assert len(JSONSerializer().loads(JSONSerializer().dumps(set(values)))) == 3
    assert list(JSONSerializer().loads(JSONSerializer().dumps(dict.fromkeys(values, 1))).values()) == [1, 1, 1]


def test_paths_of_another_system() -> None:
    foreign = PosixPath if os.name == "nt" else WindowsPath
    with pytest.raises(ConfigurationError, match=rf"types: .*; give Path, or Pure{foreign.__name__} for paths of"):
        JSONSerializer([foreign])


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([Plain], "types: Plain is not an Enum, a dataclass or a path class"),
        ([3], "types: 3 is not a class"),
        (Point, "types must be a list of classes, or a mapping of names to them, not <class"),
        (Other, "types must be a list of classes, or a mapping of names to them, not <enum"),
        ("Point", "types must be a list of classes, or a mapping of names to them, not 'Point'"),
        ({"x": 3}, "types: 3 is not a class"),
        ([Point(1)], "is not a class"),
        ([Point, Point], "Point' is registered twice"),
        ({"a": Point, "b": Point}, "'b' is registered twice"),
        ([Transient], "types: Transient cannot be stored, because its seed (an InitVar) is not kept"),
    ],
)
def test_types_that_cannot_be_registered(types: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JSONSerializer(types)
    assert message in str(caught.value)


def test_an_incomplete_dataclass() -> None:
    point = Point(1)
    del point.x
    with pytest.raises(SerializationError, match="a: Point is incomplete"):
        RICH.dumps({"a": point})


def test_it_imports_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys
        from schedcore.serializers import load
        before = set(sys.modules)
        serializer = load("json")
        serializer.loads(serializer.dumps({"a": (1, b"x")}))
        heavy = {"inspect", "dataclasses", "asyncio", "importlib.metadata", "multiprocessing", "decimal", "uuid", "zoneinfo"}
        print(*sorted(heavy & set(sys.modules)), *sorted({"json", "pickle"} & before))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("value", [time(1, 2), datetime(2024, 1, 1)])  # noqa: DTZ001
def test_an_offset_with_a_fraction_of_a_second_is_refused(value: Any) -> None:
    value = value.replace(tzinfo=timezone(timedelta(microseconds=1)))
    with pytest.raises(
        SerializationError, match=r"its offset from UTC, 0:00:00.000001, is not a whole number of seconds"
    ):
        JSONSerializer().dumps(value)
