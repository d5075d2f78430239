"""The single values of ``_tagged`` as simpler data, and back: instants, dates, numbers that the bytes have no word for, sets."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from schedcore.serializers.base import Refused, show

__all__ = ["MAX_INT_BITS", "PACKERS", "UNPACKERS", "check_hashes", "late_packer", "need_list", "need_text"]

# Bits of an integer: 6,000 decimal digits. To compare one with a Decimal of the same hash takes time that grows with the square.
MAX_INT_BITS = 20_000
# Elements of a set, or keys of a dictionary, that have one hash: each is compared with those before it. By chance a few have,
# as (-1, 5) and (-2, 5) do, and numbers may be chosen so that all have the same.
_MAX_SHARING = 20
# Bits of an integer that shares its hash with a Decimal: to compare them takes some microseconds, and with 20,000 bits a
# millisecond.
_MAX_COMPARED_BITS = 1000
# Values in elements that share a hash, or keys, in all: more of them are refused unseen.
_MAX_LOOKS = 50_000
# Characters. The longest name of a zone has 32.
_MAX_ZONE = 100

_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_HEX = re.compile(r"-?0x[0-9a-f]+")


# --- data -> simpler data ---


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
    if zone.key is None or len(zone.key) > _MAX_ZONE or not _ZONE_KEY.fullmatch(zone.key):
        raise Refused(f"its zone {show(zone)} has no key by which it could be found again")
    return zone.key


PACKERS: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: _pack_moment(value, "$datetime"),
    time: lambda value: _pack_moment(value, "$time"),
    date: lambda value: {"$date": value.isoformat()},
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    bytes: lambda value: {"$bytes": b2a_base64(value, newline=False).decode("ascii")},
}


def late_packer(kind: type) -> Callable[[Any], Any] | None:
    """The packers of classes whose modules take long to import: a value of such a class has brought the
    module along."""
    if kind.__name__ == "Decimal" and kind.__module__ == "decimal":
        from decimal import Decimal

        if kind is Decimal:
            PACKERS[kind] = lambda value: {"$decimal": str(value)}
    elif kind.__name__ == "UUID" and kind.__module__ == "uuid":
        from uuid import UUID

        if kind is UUID:
            PACKERS[kind] = lambda value: {"$uuid": str(value)}
    return PACKERS.get(kind)


# --- simpler data -> data: they may raise anything, of which the caller makes one error ---


def need_text(payload: Any) -> str:
    """The payload, if it is text. Raises ``TypeError``."""
    if type(payload) is not str:
        raise TypeError("text is needed")
    return payload


def _need_whole(payload: Any) -> int:
    if type(payload) is not int:
        raise TypeError("a whole number is needed")
    return payload


def need_list(payload: Any, length: int | None = None) -> list[Any]:
    """The payload, if it is a list, and of this length. Raises ``TypeError``."""
    if type(payload) is not list or (length is not None and len(payload) != length):
        raise TypeError("a list is needed" if length is None else f"a list of {length} is needed")
    return payload


def _unpack_moment(payload: Any, read: Callable[[str], Any]) -> Any:
    if type(payload) is str:
        return read(payload)
    text, name, fold = need_list(payload, 3)
    value = read(need_text(text))
    if _need_whole(fold) not in (0, 1):
        raise ValueError("fold is 0 or 1")
    if name is None:
        return value.replace(fold=fold)
    if value.tzinfo is not None:
        return value.replace(fold=fold, tzinfo=timezone(value.tzinfo.utcoffset(None), need_text(name)))
    if len(need_text(name)) > _MAX_ZONE or not _ZONE_KEY.fullmatch(name):
        raise ValueError("not the name of a zone")
    from zoneinfo import ZoneInfo

    return value.replace(fold=fold, tzinfo=ZoneInfo(name))


def check_hashes(items: Collection[Any]) -> None:
    """Raise ``ValueError`` for elements of a set that would take long to tell apart, and ``TypeError`` for what has no hash."""
    hashes = list(map(hash, items))
    if len(hashes) == len(set(hashes)):
        return
    counts = Counter(hashes)
    if max(counts.values()) > _MAX_SHARING:
        raise ValueError(f"more than {_MAX_SHARING} elements or keys have the same hash")
    sharing = [item for item, its in zip(items, hashes, strict=True) if counts[its] > 1]
    if _has_decimal_and_large_int(sharing):
        raise ValueError(
            "elements or keys that have the same hash take too long to compare: a Decimal with an integer of more than "
            f"{_MAX_COMPARED_BITS:,} bits, or more than {_MAX_LOOKS:,} values in them"
        )


def _has_decimal_and_large_int(items: list[Any]) -> bool:
    """Whether there are both, at any depth of what has a hash; also where that is too much to look through."""
    decimals = large = False
    left, looks = items, 0
    while left:
        value = left.pop()
        looks += 1
        kind = type(value)
        if kind is int:
            large = large or value.bit_length() > _MAX_COMPARED_BITS
        elif kind is tuple or kind is frozenset:
            left.extend(value)
        elif kind.__name__ == "Decimal":
            decimals = True
        elif hasattr(kind, "__dataclass_fields__"):
            left.extend(getattr(value, name) for name in kind.__dataclass_fields__)
        if (decimals and large) or looks > _MAX_LOOKS:
            return True
    return False


def _unpack_int(payload: Any) -> int:
    if len(need_text(payload)) > MAX_INT_BITS // 4 + 3:
        raise ValueError(f"more than {MAX_INT_BITS:,} bits")
    if not _HEX.fullmatch(payload):
        raise ValueError("hexadecimal text is needed")
    return int(payload, 16)


def _unpack_float(payload: Any) -> float:
    if payload not in ("nan", "inf", "-inf"):
        raise ValueError("nan, inf or -inf is needed")
    # Each NaN is one of its own, as it was: a set may hold several.
    return float(payload)


def _unpack_decimal(payload: Any) -> Any:
    from decimal import Decimal

    value = Decimal(need_text(payload))
    if str(value).lower() != payload.lower():  # a lenient context makes NaN of what it cannot read
        raise ValueError("not a decimal number")
    return value


def _unpack_uuid(payload: Any) -> Any:
    from uuid import UUID

    value = UUID(need_text(payload))
    if str(value) != payload:
        raise ValueError("not in the usual form")
    return value


def _unpack_bytes(payload: Any) -> bytes:
    return a2b_base64(need_text(payload), strict_mode=True)


def _unpack_set(payload: Any) -> set[Any]:
    check_hashes(need_list(payload))
    items = set(payload)
    if len(items) != len(payload):
        raise ValueError("an element stands twice")
    return items


def _unpack_dict(payload: Any) -> dict[Any, Any]:
    pairs = [need_list(pair, 2) for pair in need_list(payload)]
    check_hashes([key for key, _ in pairs])
    found: dict[Any, Any] = dict(pairs)
    if len(found) != len(payload):
        raise ValueError("a key stands twice")
    return found


UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "$int": _unpack_int,
    "$float": _unpack_float,
    "$datetime": lambda payload: _unpack_moment(payload, datetime.fromisoformat),
    "$time": lambda payload: _unpack_moment(payload, time.fromisoformat),
    "$date": lambda payload: date.fromisoformat(need_text(payload)),
    "$timedelta": lambda payload: timedelta(*map(_need_whole, need_list(payload, 3))),
    "$decimal": _unpack_decimal,
    "$uuid": _unpack_uuid,
    "$bytes": _unpack_bytes,
    "$tuple": lambda payload: tuple(need_list(payload)),
    "$set": _unpack_set,
    "$frozenset": lambda payload: frozenset(_unpack_set(payload)),
    "$dict": _unpack_dict,
}
