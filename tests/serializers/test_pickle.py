from __future__ import annotations

import pickle
from typing import Any

import pytest

from schedcore.errors import ConfigurationError, SerializationError
from schedcore.serializers.pickle import PickleSerializer


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class Unloadable:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


@pytest.mark.parametrize("value", [None, {"a": (1, {2}), 3: 1j}, ZeroDivisionError])
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_round_trip(value: object, protocol: int) -> None:
    serializer = PickleSerializer(protocol)
    assert serializer.loads(serializer.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "root", "path", "words"),
    [
        ({"kwargs": {"f": [1, lambda: None]}}, "", "kwargs['f'][1]", "pickle"),
        ((1, Unpicklable()), "args", "args[1]", "RuntimeError: not me"),
        (Unpicklable(), "", "", "RuntimeError: not me"),
        ({Unpicklable(): 1}, "args", "args", "RuntimeError: not me"),
    ],
)
def test_what_cannot_be_pickled_says_where_it_sits(value: object, root: str, path: str, words: str) -> None:
    with pytest.raises(SerializationError, match=words) as caught:
        PickleSerializer().dumps(value, root)
    assert caught.value.path == path
    assert str(caught.value).startswith(path)
    assert caught.value.__cause__ is not None


def test_nested_too_deeply() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SerializationError, match="nested too deeply"):
        PickleSerializer().dumps(value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"{}",
        pickle.dumps(1)[:-1],
        b"cno_such_module\nname\n.",
        b"cos\nno_such_name\n.",
        pickle.dumps(Unloadable()),
    ],
)
def test_damaged_bytes(payload: bytes) -> None:
    with pytest.raises(SerializationError, match="not a pickle that can be loaded here"):
        PickleSerializer().loads(payload)


@pytest.mark.parametrize("protocol", [pickle.HIGHEST_PROTOCOL + 1, "2", None])
def test_a_protocol_that_is_none(protocol: Any) -> None:
    with pytest.raises(ConfigurationError, match="the pickle protocol must be a whole number up to"):
        PickleSerializer(protocol)
