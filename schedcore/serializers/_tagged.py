"""Data with typed extras as simpler data, and back: what the serializers of data share, whatever bytes they make.

Text, booleans, None, finite floats, integers of up to 64 bits, lists, and dictionaries with text keys stay
as they are. Everything else is a dictionary with a single key that starts with ``$``:

* ``$int``: hexadecimal text, for integers beyond 64 bits (decimal text has a length limit in Python, and is slow).
* ``$float``: ``"nan"``, ``"inf"``, ``"-inf"``.
* ``$datetime``: ISO text (naive or with its offset), or ``[ISO text, zone, fold]``, where the zone is an IANA key when the
  text has no offset, the name of a fixed offset when it has one, or null. Wall time and zone are kept, not the instant.
* ``$time``: the same for ``time``.
* ``$date``, ``$decimal``, ``$uuid``: text; ``$bytes``: base64; ``$timedelta``: ``[days, seconds, microseconds]``.
* ``$tuple``, ``$set``, ``$frozenset``: a list (sets in a fixed order, so that equal sets give equal bytes).
* ``$dict``: a list of ``[key, value]``, for dictionaries with keys that are not text, or that start with ``$``.
* ``$of``: ``[type, value]``, for a member of a registered Enum (its name; the number of combined flags), a registered
  dataclass (its fields) and a registered path class (text).

The whole is ``{"v": 1, "d": value}``. Types are matched exactly: what is stored as a ``str`` or ``dict``
would not come back as the subclass that it was, so subclasses are refused with advice instead of being
changed silently.

Loading is safe for any bytes: it looks tags up in a table, builds only the types above, and calls no code but
that of the classes which the application registered itself. Size and depth are limited before a parser goes
down into the bytes.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum, Flag
from pathlib import Path, PurePath
from typing import Any, ClassVar, NamedTuple, NoReturn

from schedcore.errors import ConfigurationError, SerializationError, contained, error_text
from schedcore.serializers.base import MAX_BYTES, Refused, refuse, refuse_size

__all__ = ["ATOMS", "MAX_BYTES", "MAX_DEPTH", "VERSION", "TaggedSerializer", "show"]

# Levels of containers, the same in both directions. Far below the interpreter's own limit, and far above what
# arguments need.
MAX_DEPTH = 100
VERSION = 1
# What every form has as it is.
ATOMS: frozenset[type] = frozenset({str, bool, type(None)})

_INT_LIMIT = 1 << 63
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_HEX = re.compile(r"-?0x[0-9a-f]+")


class _Registered(NamedTuple):
    """How the values of one registered class are stored: as a name and simpler data."""

    name: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


class TaggedSerializer(ABC):
    """Stores data, and nothing but data.

    ``types``: the Enum, dataclass and path classes that may be stored besides plain data, each under the name
    ``"module:qualname"``; or a mapping of names of your own to classes, which stay readable when a class
    moves. ``max_bytes``: the size of one record, at most, in both directions.

    Raises ``ConfigurationError`` for a class of another kind and for two classes with the same name.
    """

    __slots__ = ("_by_name", "_by_type", "_unpackers", "max_bytes")

    #: Types that the bytes hold as they are, without loss.
    _atoms: ClassVar[frozenset[type]] = ATOMS

    def __init__(self, types: Iterable[type] | Mapping[str, type] = (), *, max_bytes: int = MAX_BYTES) -> None:
        self._by_name: dict[str, _Registered] = {}
        self._by_type: dict[type, _Registered] = {}
        self.max_bytes = max_bytes
        if not isinstance(types, Iterable) or isinstance(types, type | str):  # an Enum can be iterated over, too
            raise ConfigurationError(
                f"types must be a list of classes, or a mapping of names to them, not {show(types)}"
            )
        named = types.items() if isinstance(types, Mapping) else [(_type_name(cls), cls) for cls in types]
        for name, cls in named:
            registered = _register(name, cls)
            kind = _kind(cls)
            if self._by_name.setdefault(name, registered) is not registered or kind in self._by_type:
                raise ConfigurationError(f"types: {name!r} is registered twice")
            self._by_type[kind] = registered
        self._unpackers = {**_UNPACKERS, "$of": self._unpack_registered}

    @abstractmethod
    def _write(self, packed: Any) -> bytes:
        """The bytes of ``{"v": VERSION, "d": packed}``. Raises ``UnicodeEncodeError`` for half a character."""

    @abstractmethod
    def _read(self, payload: bytes) -> Any:
        """What the bytes say, with ``_unpack`` applied to each object from the inside out. May raise anything, within bounds."""

    @abstractmethod
    def _sort_key(self, packed: Any) -> Any:
        """An order for the elements of a set."""

    def dumps(self, data: object, root: str = "") -> bytes:
        """The bytes for *data*; equal data gives equal bytes. ``root`` names the whole value in error
        messages.

        Raises ``SerializationError`` for what cannot be held without loss, text with lone surrogates, more
        than ``MAX_DEPTH`` levels (a value that contains itself has no end of them), and more than
        ``max_bytes`` bytes.
        """
        payload = self._written(self._write, data, root)
        refuse_size(payload, root, self.max_bytes)
        return payload

    def _written(self, write: Callable[[Any], bytes], data: object, root: str) -> bytes:
        """The bytes that ``write`` makes of *data* as simpler data. Raises what ``dumps`` does, but for the size."""
        try:
            return write(self._pack(data, MAX_DEPTH))
        except Refused as error:
            refuse(error, root)
        except UnicodeEncodeError:
            self._refuse_surrogates(data, root)
        except RecursionError as error:
            raise SerializationError("the call stack has no room left to store the value", path=root) from error
        except RuntimeError as error:
            raise SerializationError(f"the value was changed while it was stored: {error}", path=root) from error

    def loads(self, payload: bytes | bytearray | memoryview) -> Any:
        """The data of which ``dumps`` made these bytes.

        Raises ``SerializationError``, and nothing else, for any other bytes.
        """
        try:
            if isinstance(payload, bytearray | memoryview):
                payload = bytes(payload)  # as some database drivers give them
            if len(payload) > self.max_bytes:
                raise SerializationError(
                    f"the record has {len(payload):,} bytes, and at most {self.max_bytes:,} are read"
                )
            record = self._read(payload)
            if type(record) is not dict or record.keys() != {"v", "d"}:
                raise SerializationError("not a record of this serializer: there is no version")
            if type(record["v"]) is not int or record["v"] != VERSION:
                raise SerializationError(
                    f"the record has the format version {show(record['v'])}; this program reads version {VERSION}"
                )
            return record["d"]
        except SerializationError:
            raise
        # Whatever the bytes provoke: the parser's errors, the constructors', those of registered classes.
        except BaseException as error:
            raise SerializationError(f"not a record that can be read: {error_text(contained(error))}") from error

    # --- data -> simpler data ---

    def _pack(self, value: Any, depth: int) -> Any:
        """The simpler form of *value*, which may go ``depth`` levels down. It tries what is frequent first."""
        kind = type(value)
        atoms = self._atoms
        if kind in atoms:
            return value
        if kind is int:
            return value if -_INT_LIMIT <= value < _INT_LIMIT else {"$int": hex(value)}
        if kind is dict:
            if depth <= 0:
                _too_deep()
            packed: dict[str, Any] = {}
            key: Any = None
            try:
                for key, item in value.items():
                    if type(key) is not str or key[:1] == "$":
                        break
                    its = type(item)
                    if its in atoms or (its is int and -_INT_LIMIT <= item < _INT_LIMIT):
                        packed[key] = item
                    else:
                        packed[key] = self._pack_items(item, depth - 1) if its is list else self._pack(item, depth - 1)
                else:
                    return packed
            except Refused as error:
                error.steps.append(_step(key))
                raise
            return self._pack_pairs(value, depth)
        if kind is list:
            return self._pack_items(value, depth)
        if kind is tuple:
            return {"$tuple": self._pack_items(value, depth)}
        if kind is float:
            if value - value == 0.0:
                return value
            return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}
        packer = _PACKERS.get(kind)
        if packer is not None:
            return packer(value)
        if kind is set or kind is frozenset:
            return self._pack_set(value, depth, f"${kind.__name__}")
        registered = self._by_type.get(kind)
        if registered is not None:
            if depth <= 0:
                _too_deep()
            return {"$of": [registered.name, self._pack(registered.pack(value), depth - 1)]}
        packer = _late_packer(kind)
        if packer is not None:
            return packer(value)
        raise Refused(_advice(value, kind, type(self).__name__))

    def _pack_items(self, items: Iterable[Any], depth: int) -> list[Any]:
        if depth <= 0:
            _too_deep()
        packed: list[Any] = []
        atoms = self._atoms
        try:
            for item in items:
                packed.append(item if type(item) in atoms else self._pack(item, depth - 1))
        except Refused as error:
            error.steps.append(f"[{len(packed)}]")
            raise
        return packed

    def _pack_set(self, items: Iterable[Any], depth: int, tag: str) -> dict[str, Any]:
        if depth <= 0:
            _too_deep()
        packed = []
        for item in items:
            try:
                packed.append(self._pack(item, depth - 1))
            except Refused as error:
                error.steps.append(f"{{{show(item)}}}")
                raise
        return {tag: sorted(packed, key=self._sort_key)}

    def _pack_pairs(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        pairs = []
        for key, item in value.items():
            try:
                packed_key = self._pack(key, depth - 1)
            except Refused as error:
                error.reason = f"the key {show(key)}: {error.reason}"
                error.steps.clear()
                raise
            try:
                pairs.append([packed_key, self._pack(item, depth - 1)])
            except Refused as error:
                error.steps.append(_step(key))
                raise
        return {"$dict": pairs}

    def _refuse_surrogates(self, data: object, root: str) -> NoReturn:
        error = Refused("text with a lone surrogate (half of a character) cannot be stored")
        error.steps = self._steps_to_surrogate(data) or []
        refuse(error, root)

    def _steps_to_surrogate(self, value: Any) -> list[str] | None:
        """The steps to such text in a value that ``_pack`` accepted, innermost first; None when there is none."""
        registered = self._by_type.get(type(value))
        if registered is not None:
            value = registered.pack(value)
        if isinstance(value, str):
            return [] if any("\ud800" <= character <= "\udfff" for character in value) else None
        parts: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            parts = [(_step(key), part) for key, item in value.items() for part in (key, item)]
        elif isinstance(value, list | tuple):
            parts = [(f"[{index}]", item) for index, item in enumerate(value)]
        elif isinstance(value, set | frozenset):
            parts = [(f"{{{show(item)}}}", item) for item in value]
        for step, part in parts:
            steps = self._steps_to_surrogate(part)
            if steps is not None:
                return [*steps, step]
        return None

    # --- simpler data -> data ---

    def _unpack(self, obj: dict[str, Any]) -> Any:
        """The value of an object whose parts are values already (the parser calls it from the inside out)."""
        if "$" in "".join(obj):
            for tag in obj:
                if tag[:1] == "$":
                    unpacker = self._unpackers.get(tag)
                    if unpacker is None:
                        raise SerializationError(f"unknown tag {show(tag)}")
                    if len(obj) != 1:
                        raise SerializationError(f"{tag} stands beside other keys")
                    try:
                        return unpacker(obj[tag])
                    except SerializationError:
                        raise
                    except Exception as error:
                        raise SerializationError(
                            f"{tag}: {show(obj[tag])} cannot be read: {error_text(error)}"
                        ) from error
        return obj

    def _unpack_registered(self, payload: Any) -> Any:
        name, value = _list(payload, 2)
        registered = self._by_name.get(_text(name))
        if registered is None:
            raise SerializationError(
                f"the type {show(name)} is not registered here; give it to {type(self).__name__}(types=[...])"
            )
        return registered.unpack(value)


def _too_deep() -> NoReturn:
    raise Refused(f"nested more than {MAX_DEPTH} levels deep, or containing itself")


def _step(key: object) -> str:
    return f"[{show(key)}]"


def show(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 (the value's own code)
        text = f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _advice(value: Any, kind: type, serializer: str) -> str:
    name = kind.__qualname__
    if issubclass(kind, Enum | PurePath) or hasattr(kind, "__dataclass_fields__"):
        known = "Path" if kind is type(Path()) else name
        return f"{name} is not registered: give it to {serializer}(types=[{known}])"
    for base in (str, bool, int, float, dict, list, tuple, set, frozenset, datetime, date, time, timedelta, bytes):
        if issubclass(kind, base):
            return f"{name} is a subclass of {base.__name__} and would come back as a plain one: convert it first"
    if isinstance(value, type) or callable(value):
        return f'{show(value)} is code, not data: pass a reference such as "package.module:name"'
    return f'{name} is not plain data ({show(value)}): pass data that it can be made of, or use serializer="pickle"'


# --- leaves: Python -> JSON ---


def _pack_moment(value: Any, tag: str) -> dict[str, Any]:
    """A ``datetime`` or ``time``: text when that says it all, else text, zone and fold."""
    zone: tzinfo | None = value.tzinfo
    if zone is UTC or zone is None:
        name = None
    elif type(zone) is timezone:
        if zone.utcoffset(None).microseconds:
            # Python itself does not read its own text of these back (time.fromisoformat drops the fraction).
            raise Refused(f"its offset from UTC, {zone.utcoffset(None)}, is not a whole number of seconds")
        name = zone.tzname(None)
        if name == timezone(zone.utcoffset(None)).tzname(None):
            name = None
    else:
        name = _zone_key(zone)
        value = value.replace(tzinfo=None)
    if name is None and not value.fold:
        return {tag: value.isoformat()}
    return {tag: [value.isoformat(), name, value.fold]}


def _zone_key(zone: tzinfo) -> str:
    from zoneinfo import ZoneInfo

    if type(zone) is not ZoneInfo:
        raise Refused(f"its zone is a {type(zone).__module__}.{type(zone).__qualname__}: use zoneinfo.ZoneInfo instead")
    if zone.key is None or not _ZONE_KEY.fullmatch(zone.key):
        raise Refused(f"its zone {show(zone)} has no key by which it could be found again")
    return zone.key


_PACKERS: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: _pack_moment(value, "$datetime"),
    time: lambda value: _pack_moment(value, "$time"),
    date: lambda value: {"$date": value.isoformat()},
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    bytes: lambda value: {"$bytes": b2a_base64(value, newline=False).decode("ascii")},
}


def _late_packer(kind: type) -> Callable[[Any], Any] | None:
    """The packers of classes whose modules take long to import: a value of such a class has brought the
    module along."""
    if kind.__name__ == "Decimal" and kind.__module__ == "decimal":
        from decimal import Decimal

        if kind is Decimal:
            _PACKERS[kind] = lambda value: {"$decimal": str(value)}
    elif kind.__name__ == "UUID" and kind.__module__ == "uuid":
        from uuid import UUID

        if kind is UUID:
            _PACKERS[kind] = lambda value: {"$uuid": str(value)}
    return _PACKERS.get(kind)


# --- leaves: JSON -> Python. They may raise anything: the caller makes one error of it ---


def _text(payload: Any) -> str:
    if type(payload) is not str:
        raise TypeError("text is needed")
    return payload


def _whole(payload: Any) -> int:
    if type(payload) is not int:
        raise TypeError("a whole number is needed")
    return payload


def _list(payload: Any, length: int | None = None) -> list[Any]:
    if type(payload) is not list or (length is not None and len(payload) != length):
        raise TypeError("a list is needed" if length is None else f"a list of {length} is needed")
    return payload


def _unpack_moment(payload: Any, read: Callable[[str], Any]) -> Any:
    if type(payload) is str:
        return read(payload)
    text, name, fold = _list(payload, 3)
    value = read(_text(text))
    if _whole(fold) not in (0, 1):
        raise ValueError("fold is 0 or 1")
    if name is None:
        return value.replace(fold=fold)
    if value.tzinfo is not None:
        return value.replace(fold=fold, tzinfo=timezone(value.tzinfo.utcoffset(None), _text(name)))
    if not _ZONE_KEY.fullmatch(_text(name)):
        raise ValueError("not the name of a zone")
    from zoneinfo import ZoneInfo

    return value.replace(fold=fold, tzinfo=ZoneInfo(name))


def _unpack_int(payload: Any) -> int:
    if not _HEX.fullmatch(_text(payload)):
        raise ValueError("hexadecimal text is needed")
    return int(payload, 16)


def _unpack_float(payload: Any) -> float:
    if payload not in ("nan", "inf", "-inf"):
        raise ValueError("nan, inf or -inf is needed")
    # Each NaN is one of its own, as it was: a set may hold several.
    return float(payload)


def _unpack_decimal(payload: Any) -> Any:
    from decimal import Decimal

    value = Decimal(_text(payload))
    if str(value).lower() != payload.lower():  # a lenient context makes NaN of what it cannot read
        raise ValueError("not a decimal number")
    return value


def _unpack_uuid(payload: Any) -> Any:
    from uuid import UUID

    value = UUID(_text(payload))
    if str(value) != payload:
        raise ValueError("not in the usual form")
    return value


def _unpack_bytes(payload: Any) -> bytes:
    return a2b_base64(_text(payload), strict_mode=True)


def _unpack_set(payload: Any) -> set[Any]:
    items = set(_list(payload))
    if len(items) != len(payload):
        raise ValueError("an element stands twice")
    return items


def _unpack_dict(payload: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = dict(_list(pair, 2) for pair in _list(payload))
    if len(found) != len(payload):
        raise ValueError("a key stands twice")
    return found


_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "$int": _unpack_int,
    "$float": _unpack_float,
    "$datetime": lambda payload: _unpack_moment(payload, datetime.fromisoformat),
    "$time": lambda payload: _unpack_moment(payload, time.fromisoformat),
    "$date": lambda payload: date.fromisoformat(_text(payload)),
    "$timedelta": lambda payload: timedelta(*map(_whole, _list(payload, 3))),
    "$decimal": _unpack_decimal,
    "$uuid": _unpack_uuid,
    "$bytes": _unpack_bytes,
    "$tuple": lambda payload: tuple(_list(payload)),
    "$set": _unpack_set,
    "$frozenset": lambda payload: frozenset(_unpack_set(payload)),
    "$dict": _unpack_dict,
}


# --- registered classes ---


def _type_name(cls: type) -> str:
    if not isinstance(cls, type):
        raise ConfigurationError(f"types: {show(cls)} is not a class")
    # The module in which pathlib keeps its classes differs between versions of Python.
    module = "pathlib" if cls.__module__.startswith("pathlib.") else cls.__module__
    return f"{module}:{cls.__qualname__}"


def _register(name: str, cls: type) -> _Registered:
    if not isinstance(cls, type):
        raise ConfigurationError(f"types: {show(cls)} is not a class")
    if issubclass(cls, Enum):
        return _Registered(name, _enum_packer(cls), _enum_unpacker(cls))
    if issubclass(cls, PurePath):
        return _Registered(name, str, lambda payload: cls(_text(payload)))
    if hasattr(cls, "__dataclass_fields__"):
        return _dataclass(name, cls)
    raise ConfigurationError(f"types: {cls.__qualname__} is not an Enum, a dataclass or a path class")


def _kind(cls: type) -> type:
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
            return cls.__members__[_text(payload)]
        except KeyError:
            raise SerializationError(f"{cls.__qualname__} has no member {show(payload)}") from None

    return unpack


def _dataclass(name: str, cls: type) -> _Registered:
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

    return _Registered(name, pack, unpack)
