"""Serializers: how records become bytes in a store, and records again."""

from __future__ import annotations

from typing import Any

from schedcore.errors import ConfigurationError, ReferenceLookupError, did_you_mean
from schedcore.serializers.base import Serializer

__all__ = ["JSONSerializer", "PickleSerializer", "Serializer", "load"]

_NAMES = ("json", "cbor", "pickle")


def load(name: str | Serializer) -> Serializer:
    """The serializer called *name* ("json", "cbor" or "pickle"), the one that text such as ``"module:name"`` leads to, or *name*
    itself when it is one. Raises ``ConfigurationError``, and ``MissingExtraError`` for one whose library is not installed."""
    if name == "json":
        from schedcore.serializers.json import JSONSerializer

        return JSONSerializer()
    if name == "cbor":
        from schedcore.serializers.cbor import CBORSerializer

        return CBORSerializer()
    if name == "pickle":
        from schedcore.serializers.pickle import PickleSerializer

        return PickleSerializer()
    if isinstance(name, str) and ":" in name:
        from schedcore.references import resolve

        try:
            name = resolve(name)
        except ReferenceLookupError as error:
            raise ConfigurationError(f"serializer: {error}") from error
    if isinstance(name, str):
        raise ConfigurationError(f"serializer={name!r}: there is no such serializer{did_you_mean(name, _NAMES)}")
    if isinstance(name, type):
        raise ConfigurationError(f"serializer={name!r}: must be an instance, not a class: {name.__name__}()")
    if not (callable(getattr(name, "dumps", None)) and callable(getattr(name, "loads", None))):
        raise ConfigurationError(
            f'serializer={name!r}: must be "json", "cbor", "pickle" or an object with dumps() and loads()'
        )
    if not isinstance(getattr(name, "name", None), str):
        raise ConfigurationError(f"serializer={name!r}: its attribute name must be text")
    return name


def __getattr__(name: str) -> Any:
    # The classes load on first use, because json brings modules that a scheduler with a memory store does not
    # need.
    if name == "JSONSerializer":
        from schedcore.serializers.json import JSONSerializer

        return JSONSerializer
    if name == "PickleSerializer":
        from schedcore.serializers.pickle import PickleSerializer

        return PickleSerializer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
