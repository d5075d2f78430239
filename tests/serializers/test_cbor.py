"""What is CBOR's own: the bytes, and those that are none of ours. The data model is tested in ``test_json``."""

from __future__ import annotations

import tracemalloc
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.errors import SerializationError

cbor2 = pytest.importorskip("cbor2", reason="CBOR needs cbor2, which the extra 'cbor' brings")

from schedcore.serializers.cbor import CBORSerializer  # noqa: E402
from schedcore.serializers.json import MAX_DEPTH, JSONSerializer  # noqa: E402

PLAIN = CBORSerializer()


def record(value: bytes) -> bytes:
    return b"\xa2\x61v\x01\x61d" + value


def test_the_format() -> None:
    assert PLAIN.dumps([1, "é", b"\xff", 1.5]) == record(b"\x84\x01\x62\xc3\xa9\x41\xff\xfb\x3f\xf8" + b"\x00" * 6)
    assert cbor2.loads(PLAIN.dumps((1,))) == {"v": 1, "d": {"$tuple": [1]}}


def test_it_takes_less_room_than_json() -> None:
    data = {"name": "nightly", "args": [1, 2, 3], "blob": bytes(1000)}
    assert len(PLAIN.dumps(data)) < 0.8 * len(JSONSerializer().dumps(data))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "that can be read"),
        (b"\x80\x04K\x01.", "no version"),  # a pickle
        (b'{"v":1,"d":1}', "that can be read"),
        (record(b"\xc1\x1a\x51\x4b\x67\xb0"), "CBOR tag"),  # a date
        (record(b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01"), "CBOR tag"),  # a bigfloat as large as the memory
        (record(b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01"), "CBOR tag"),  # a decimal likewise
        (record(b"\xd8\x1c\x81\xd8\x1d\x00"), "CBOR tag"),  # a list that holds itself
        (record(b"\xd8\x23\x64(a+)"), "CBOR tag"),  # a regular expression
        (record(b"\xd9\x01\x02\x81\x01"), "CBOR tag"),  # a set
        (record(b"\xd9\x03\xe7\x01"), "CBOR tag"),  # one that nobody knows
        (record(b"\xa1\x01\x02"), "that can be read"),  # a key that is not text
        (record(b"\xa1\x41a\x02"), "not text"),
        (record(b"\xa2\x61a\x01\x61a\x02"), "that can be read"),  # a key that stands twice
        (record(b"\x9f\x01\xff"), "that can be read"),  # without a length
        (record(b"\x62\xff\xff"), "that can be read"),  # no UTF-8
        (record(b"\x9b" + b"\x7f" * 8), "that can be read"),  # a list longer than all memories
        (record(b"\x5b" + b"\x7f" * 8), "that can be read"),  # bytes likewise
        (record(b"\x81" * 100_000 + b"\x01"), "that can be read"),  # deep
        (record(b"\xf7"), None),  # undefined
        (record(b"\xe5"), None),  # a simple value without meaning
    ],
)
def test_hostile_bytes(payload: bytes, message: str | None) -> None:
    tracemalloc.start()
    try:
        if message is None:
            value = PLAIN.loads(payload)
            with pytest.raises(SerializationError):
                PLAIN.dumps(value)
        else:
            with pytest.raises(SerializationError, match=message):
                PLAIN.loads(payload)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(SerializationError, match="at most 100 are read"):
        CBORSerializer(max_bytes=100).loads(PLAIN.dumps("x" * 200))
    with pytest.raises(SerializationError, match="at most 100 may be stored"):
        CBORSerializer(max_bytes=100).dumps("x" * 200)


@pytest.mark.parametrize(
    "value",
    [
        b"\x9a\x00\x98\x96\x80" + b"\x80" * 10_000_000,
        b"\x99\xff\xff" + b"\x83\x80\x80\x80" * 65_535,
        b"\xba\x00\x98\x96\x80" + b"\x60\x80" * 1_000_000,
        b"\xd9\x01\x02\x9a\x00\x98\x96\x80" + b"\x01" * 1_000_000,
        b"\xc1" * 1_000_000,
    ],
)
def test_many_values_are_counted_before_any_is_made(value: bytes) -> None:
    payload = record(value)
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError, match="the record holds more than 250,000 values"):
            PLAIN.loads(payload)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_depth_is_limited_both_ways() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert PLAIN.loads(PLAIN.dumps(deep)) == deep
    with pytest.raises(SerializationError, match="levels deep"):
        PLAIN.dumps([deep])


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for payload in (noise, record(noise)):
        try:
            PLAIN.loads(payload)
        except SerializationError:
            pass


def test_what_is_not_registered_is_to_be_given_to_it() -> None:
    with pytest.raises(SerializationError, match=r"x: PurePosixPath is not registered: give it to CBORSerializer\("):
        PLAIN.dumps({"x": PurePosixPath("x")})
