from __future__ import annotations

from typing import Any

import pytest

from schedcore.errors import ConfigurationError, SerializationError
from schedcore.serializers.json import JSONSerializer
from schedcore.serializers.pickle import PickleSerializer
from schedcore.serializers.signed import SignedSerializer, is_signed

OLD = b"an old key of enough bytes"
NEW = "a new key of enough characters"


class Watched(JSONSerializer):
    """Notes what it is given to decode."""

    seen: list[bytes]

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def loads(self, payload: Any) -> Any:
        self.seen.append(bytes(payload))
        return super().loads(payload)


def test_round_trip() -> None:
    serializer = SignedSerializer(JSONSerializer(), OLD)
    payload = serializer.dumps({"a": (1,)})
    assert is_signed(payload)
    assert serializer.loads(payload) == {"a": (1,)}
    assert serializer.name == "json"


def test_keys_are_changed_one_after_the_other() -> None:
    old = SignedSerializer(JSONSerializer(), OLD)
    both = SignedSerializer(JSONSerializer(), [NEW, OLD])
    new = SignedSerializer(JSONSerializer(), [NEW])
    assert both.loads(old.dumps(1)) == 1
    assert new.loads(both.dumps(2)) == 2
    with pytest.raises(SerializationError, match="a key that is not given here"):
        new.loads(old.dumps(1))


@pytest.mark.parametrize("place", [0, 1, 8, 9, 40, 41, -1])
def test_nothing_is_decoded_that_was_changed(place: int) -> None:
    inner = Watched()
    serializer = SignedSerializer(inner, OLD)
    payload = bytearray(serializer.dumps("x"))
    payload[place] ^= 1
    with pytest.raises(SerializationError, match="sign"):
        serializer.loads(bytes(payload))
    assert inner.seen == []


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01" * 40, JSONSerializer().dumps(1), b"\x80\x04K\x01."])
def test_nothing_is_decoded_that_is_not_signed(payload: bytes) -> None:
    inner = Watched()
    with pytest.raises(SerializationError, match="not signed"):
        SignedSerializer(inner, OLD).loads(payload)
    assert inner.seen == []


def test_a_signature_holds_for_one_serializer_only() -> None:
    payload = SignedSerializer(PickleSerializer(), OLD).dumps(1)
    with pytest.raises(SerializationError, match="signature is wrong"):
        SignedSerializer(JSONSerializer(), OLD).loads(payload)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (b"short", "at least 16 bytes .* not one of 5"),
        ("short", "not one of 5"),
        ([OLD, "short"], "not one of 5"),
        ([OLD, 5], "not a int"),
        (5, "not a int"),
        (bytearray(OLD), "not a bytearray"),
        ([], "give at least one key"),
    ],
)
def test_keys_that_are_none(keys: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SignedSerializer(JSONSerializer(), keys)


def test_no_serializer_of_ours_begins_like_a_signature() -> None:
    for serializer in (JSONSerializer(), PickleSerializer()):
        assert not is_signed(serializer.dumps("x" * 100))
