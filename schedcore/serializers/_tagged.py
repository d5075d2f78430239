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
that of the classes which the application registered itself. Size, depth and the number of values are limited before a parser
goes down into the bytes; so are integers, and elements of a set that share a hash, whose cost grows with the square.

The single values are in ``_leaves``, registered classes in ``_registered``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, ClassVar, NoReturn

from schedcore.errors import ConfigurationError, SerializationError, contained, error_text
from schedcore.serializers._leaves import (
    MAX_INT_BITS,
    PACKERS,
    UNPACKERS,
    check_hashes,
    late_packer,
    need_list,
    need_text,
)
from schedcore.serializers._registered import Registered, kind_of, register, type_name
from schedcore.serializers.base import MAX_BYTES, MAX_VALUES, Refused, place, refuse, refuse_size, show

__all__ = ["ATOMS", "MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "VERSION", "TaggedSerializer"]

# Levels of containers, the same in both directions. Far below the interpreter's own limit, and far above what
# arguments need.
MAX_DEPTH = 100
VERSION = 1
# What every form has as it is.
ATOMS: frozenset[type] = frozenset({str, bool, type(None)})

_INT_LIMIT = 1 << 63


class TaggedSerializer(ABC):
    """Stores data, and nothing but data.

    ``types``: the Enum, dataclass and path classes that may be stored besides plain data, each under the name
    ``"module:qualname"``; or a mapping of names of your own to classes, which stay readable when a class
    moves. ``max_bytes``: the size of one record, at most, in both directions. ``max_values``: how many lists, dictionaries
    and things in them it has at most, likewise.

    Raises ``ConfigurationError`` for a class of another kind and for two classes with the same name.
    """

    __slots__ = ("_by_name", "_by_type", "_unpackers", "max_bytes", "max_values")

    #: Types that the bytes hold as they are, without loss.
    _atoms: ClassVar[frozenset[type]] = ATOMS

    def __init__(
        self,
        types: Iterable[type] | Mapping[str, type] = (),
        *,
        max_bytes: int = MAX_BYTES,
        max_values: int = MAX_VALUES,
    ) -> None:
        self._by_name: dict[str, Registered] = {}
        self._by_type: dict[type, Registered] = {}
        self.max_bytes = max_bytes
        self.max_values = max_values
        if not isinstance(types, Iterable) or isinstance(types, type | str):  # an Enum can be iterated over, too
            raise ConfigurationError(
                f"types must be a list of classes, or a mapping of names to them, not {show(types)}"
            )
        named = types.items() if isinstance(types, Mapping) else [(type_name(cls), cls) for cls in types]
        for name, cls in named:
            registered = register(name, cls)
            kind = kind_of(cls)
            if self._by_name.setdefault(name, registered) is not registered or kind in self._by_type:
                raise ConfigurationError(f"types: {name!r} is registered twice")
            self._by_type[kind] = registered
        self._unpackers = {**UNPACKERS, "$of": self._unpack_registered}

    @abstractmethod
    def _write(self, packed: Any) -> bytes:
        """The bytes of ``{"v": VERSION, "d": packed}``. Raises ``UnicodeEncodeError`` for half a character."""

    @abstractmethod
    def _read(self, payload: bytes) -> Any:
        """What the bytes say, with ``_unpack`` applied to each object from the inside out. May raise anything, within bounds."""

    @abstractmethod
    def _has_more_values(self, payload: bytes) -> bool:
        """Whether the bytes hold more than ``max_values`` values, without making any of them."""

    @abstractmethod
    def _sort_key(self, packed: Any) -> Any:
        """An order for the elements of a set."""

    def dumps(self, data: object, root: str = "") -> bytes:
        """The bytes for *data*; equal data gives equal bytes. ``root`` names the whole value in error
        messages.

        Raises ``SerializationError`` for what cannot be held without loss, text with lone surrogates, more
        than ``MAX_DEPTH`` levels (a value that contains itself has no end of them), and more than
        ``max_bytes`` bytes or ``max_values`` values.
        """
        payload = self._written(self._write, data, root)
        if self._is_too_much(payload):
            self._refuse_too_much(payload, data, root)
        return payload

    def _is_too_much(self, payload: bytes) -> bool:
        # No value takes less than a byte.
        size = len(payload)
        return size > self.max_bytes or (size > self.max_values and self._has_more_values(payload))

    def _refuse_too_much(self, payload: bytes, data: object, root: str) -> NoReturn:
        """Raise ``SerializationError`` that says which part of the data takes most."""
        refuse_size(payload, root, self.max_bytes, self._heaviest(data, root, lambda packed: len(self._write(packed))))
        where = self._heaviest(data, root, _count)
        most = f", most of them in {where}," if where else ","
        raise SerializationError(
            f"{root or 'the value'} holds more than {self.max_values:,} values{most} and no more may be stored "
            "(max_values=); store them elsewhere and pass where they are",
            path=where or root,
        )

    def _heaviest(self, data: object, root: str, weigh: Callable[[Any], int]) -> str:
        """The path to the part that weighs more than the rest together, two steps down at most; ``""`` if there is none."""
        steps: list[str] = []
        while len(steps) < 2:
            parts: list[tuple[str, Any]] = []
            if isinstance(data, dict):
                parts = [(_step(key), item) for key, item in data.items()]
            elif isinstance(data, list | tuple):
                parts = [(f"[{index}]", item) for index, item in enumerate(data)]
            weights = [weigh(self._pack(item, MAX_DEPTH)) for _, item in parts]
            if not parts or 2 * max(weights) <= sum(weights):
                break
            step, data = parts[weights.index(max(weights))]
            steps.append(step)
        return place(steps, root) if steps else ""

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
                    f"the record has {len(payload):,} bytes, and at most {self.max_bytes:,} are read (max_bytes=)"
                )
            if self._is_too_much(payload):
                raise SerializationError(
                    f"the record holds more than {self.max_values:,} values, and no more are read (max_values=)"
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
            if -_INT_LIMIT <= value < _INT_LIMIT:
                return value
            if value.bit_length() > MAX_INT_BITS:
                raise Refused(f"an integer of {value.bit_length():,} bits; at most {MAX_INT_BITS:,} may be stored")
            return {"$int": hex(value)}
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
        packer = PACKERS.get(kind)
        if packer is not None:
            return packer(value)
        if kind is set or kind is frozenset:
            return self._pack_set(value, depth, f"${kind.__name__}")
        registered = self._by_type.get(kind)
        if registered is not None:
            if depth <= 0:
                _too_deep()
            return {"$of": [registered.name, self._pack(registered.pack(value), depth - 1)]}
        packer = late_packer(kind)
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

    def _pack_set(self, items: Collection[Any], depth: int, tag: str) -> dict[str, Any]:
        if depth <= 0:
            _too_deep()
        packed = []
        _check_hashes(items)
        for item in items:
            try:
                packed.append(self._pack(item, depth - 1))
            except Refused as error:
                error.steps.append(f"{{{show(item)}}}")
                raise
        return {tag: sorted(packed, key=self._sort_key)}

    def _pack_pairs(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        pairs = []
        _check_hashes(value)
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
        name, value = need_list(payload, 2)
        registered = self._by_name.get(need_text(name))
        if registered is None:
            raise SerializationError(
                f"the type {show(name)} is not registered here; give it to {type(self).__name__}(types=[...])"
            )
        return registered.unpack(value)


def _count(packed: Any) -> int:
    """How many values simpler data is."""
    if type(packed) is dict:
        return 1 + sum(map(_count, packed.values()))
    return 1 + sum(map(_count, packed)) if type(packed) is list else 1


def _check_hashes(items: Collection[Any]) -> None:
    try:
        check_hashes(items)
    except ValueError as error:
        raise Refused(str(error)) from None


def _too_deep() -> NoReturn:
    raise Refused(f"nested more than {MAX_DEPTH} levels deep, or containing itself")


def _step(key: object) -> str:
    return f"[{show(key)}]"


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
