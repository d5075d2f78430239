"""The classes that an application registers with a serializer of data: members of an Enum, dataclasses, paths."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, Flag
from pathlib import PurePath
from typing import Any, NamedTuple

from schedcore.errors import ConfigurationError, SerializationError
from schedcore.serializers._leaves import need_text
from schedcore.serializers.base import Refused, show

__all__ = ["Registered", "kind_of", "register", "type_name"]


class Registered(NamedTuple):
    """How the values of one registered class are stored: as a name and simpler data."""

    name: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


def type_name(cls: type) -> str:
    """The name under which a class is stored that was given none."""
    if not isinstance(cls, type):
        raise ConfigurationError(f"types: {show(cls)} is not a class")
    # The module in which pathlib keeps its classes differs between versions of Python.
    module = "pathlib" if cls.__module__.startswith("pathlib.") else cls.__module__
    return f"{module}:{cls.__qualname__}"


def register(name: str, cls: type) -> Registered:
    """How the values of a class are stored. Raises ``ConfigurationError`` for a class of another kind."""
    if not isinstance(cls, type):
        raise ConfigurationError(f"types: {show(cls)} is not a class")
    if issubclass(cls, Enum):
        return Registered(name, _enum_packer(cls), _enum_unpacker(cls))
    if issubclass(cls, PurePath):
        return Registered(name, str, lambda payload: cls(need_text(payload)))
    if hasattr(cls, "__dataclass_fields__"):
        return _dataclass(name, cls)
    raise ConfigurationError(f"types: {cls.__qualname__} is not an Enum, a dataclass or a path class")


def kind_of(cls: type) -> type:
    """The class by which its values are recognised: ``Path()`` makes an object of the platform's."""
    if not issubclass(cls, PurePath):
        return cls
    try:
        return type(cls())
    except NotImplementedError as error:
        raise ConfigurationError(
            f"types: {error}; give Path, or Pure{cls.__name__} for paths of another system"
        ) from error


def _enum_packer(cls: type[Enum]) -> Callable[[Any], Any]:
    members = cls.__members__

    def pack(value: Any) -> Any:
        # Combined flags are no members of their own; only their number tells them.
        name: Any = value._name_
        return name if members.get(name) is value else value._value_

    return pack


def _enum_unpacker(cls: type[Enum]) -> Callable[[Any], Any]:
    def unpack(payload: Any) -> Any:
        if type(payload) is int and issubclass(cls, Flag):
            return cls(payload)
        try:
            return cls.__members__[need_text(payload)]
        except KeyError:
            raise SerializationError(f"{cls.__qualname__} has no member {show(payload)}") from None

    return unpack


def _dataclass(name: str, cls: type) -> Registered:
    """Fields are stored by name. Loading goes through the class's own ``__init__``, which checks them and
    fills in those that the class has gained since; fields that are not its arguments are set afterwards."""
    import dataclasses

    fields = {field.name: field.init for field in dataclasses.fields(cls)}
    for pseudo in cls.__dataclass_fields__.values():  # type: ignore[attr-defined]
        if pseudo.name not in fields and repr(pseudo._field_type) == "_FIELD_INITVAR":
            raise ConfigurationError(
                f"types: {cls.__qualname__} cannot be stored, because its {pseudo.name} (an InitVar) is not kept"
            )

    def pack(value: Any) -> dict[str, Any]:
        try:
            return {field: getattr(value, field) for field in fields}
        except AttributeError as error:
            raise Refused(f"{cls.__qualname__} is incomplete: {error}") from error

    def unpack(payload: Any) -> Any:
        if type(payload) is not dict:
            raise TypeError("the fields are needed")
        unknown = payload.keys() - fields.keys()
        if unknown:
            raise SerializationError(
                f"{cls.__qualname__} has no field {', '.join(map(show, sorted(unknown, key=repr)))}"
            )
        value = cls(**{field: item for field, item in payload.items() if fields[field]})
        for field, item in payload.items():
            if not fields[field]:
                object.__setattr__(value, field, item)
        return value

    return Registered(name, pack, unpack)
