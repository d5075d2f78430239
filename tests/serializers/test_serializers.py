from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from schedcore import serializers
from schedcore.errors import ConfigurationError
from schedcore.serializers import JSONSerializer, PickleSerializer, Serializer, load
from schedcore.serializers.base import place


class Own:
    name = "own"

    def dumps(self, data: object, root: str = "") -> bytes:
        return b""

    def loads(self, payload: bytes) -> Any:
        return None


class Nameless(Own):
    name = None  # type: ignore[assignment]


@pytest.mark.parametrize(("name", "kind"), [("json", JSONSerializer), ("pickle", PickleSerializer)])
def test_load_by_name(name: str, kind: type) -> None:
    serializer = load(name)
    assert type(serializer) is kind
    assert serializer.name == name
    assert serializer.loads(serializer.dumps({"a": (1,)})) == {"a": (1,)}


def test_load_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Serializer = Own()
    assert load(own) is own
    module = ModuleType("module_of_mine")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.serializer = own  # type: ignore[attr-defined]
    assert load("module_of_mine:serializer") is own, "as a file of settings says it"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("jsom", "serializer='jsom': there is no such serializer; did you mean 'json'?"),
        ("xml", "there is no such serializer; known: cbor, json, pickle"),
        (None, 'serializer=None: must be "json", "cbor", "pickle" or an object with dumps() and loads()'),
        (Own, "must be an instance, not a class: Own()"),
        ("json:dumps", 'must be "json", "cbor", "pickle" or an object with dumps() and loads()'),
        ("json:dump_it", "module 'json' has no attribute 'dump_it'"),
        (Nameless(), "its attribute name must be text"),
    ],
)
def test_what_is_no_serializer(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(value)
    assert message in str(caught.value)


def test_names_are_loaded_on_first_use() -> None:
    for name in serializers.__all__:
        assert getattr(serializers, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'YAMLSerializer'"):
        serializers.YAMLSerializer  # noqa: B018


@pytest.mark.parametrize(
    ("steps", "root", "path"),
    [
        ([], "", ""),
        ([], "args", "args"),
        (["['a']", "[1]"], "", "a[1]"),
        (["['a']", "[1]"], "x", "x['a'][1]"),
        (["['a b']"], "", "['a b']"),
        (["[1]", "['a']"], "", "[1]['a']"),
        (["[0]"] * 100, "x", "x" + "[0]" * 8 + "[...]" + "[0]" * 8),
    ],
)
def test_paths(steps: list[str], root: str, path: str) -> None:
    assert place(steps, root) == path
