"""The transitions of a zone, read from the file that ``zoneinfo`` takes for it (RFC 9636).

``zoneinfo`` answers for one instant at a time. To learn all transitions of a zone from its answers takes tens of thousands of
questions; its file has them as a table. Whoever uses the table compares it with the answers, so that a file that is not the
one that ``zoneinfo`` has read does no harm.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise

__all__ = ["read_transitions"]

# Magic, version, and how many there are: UT flags, standard flags, leap seconds, transitions, types, characters.
_HEADER = struct.Struct(">4sc15x6l")
_TYPE = struct.Struct(">lBB")


def read_transitions(key: str) -> list[tuple[int, int]] | None:
    """The transitions of a zone that its file lists: instants (seconds), and the offsets from then on, where these change.

    After the last one the zone does the same each year. None where there is no such file.
    """
    data = _read(key)
    if data is None or len(data) < _HEADER.size:
        return None
    try:
        return _parse(data)
    except (struct.error, IndexError):
        return None


def _read(key: str) -> bytes | None:
    from zoneinfo import TZPATH

    parts = key.split("/")
    for folder in TZPATH:
        try:
            with open(os.path.join(folder, *parts), "rb") as file:
                return file.read()
        except OSError:
            continue
    try:
        from importlib.resources import files

        return files("tzdata.zoneinfo").joinpath(*parts).read_bytes()
    except (ImportError, OSError):
        return None


def _parse(data: bytes) -> list[tuple[int, int]] | None:
    magic, version, ut, standard, leap, times, types, characters = _HEADER.unpack_from(data)
    if magic != b"TZif" or version < b"2":
        return None
    # The first block is for readers of 32 bits.
    at = _HEADER.size + 5 * times + 6 * types + characters + 8 * leap + standard + ut
    *_, times, types, _ = _HEADER.unpack_from(data, at)
    at += _HEADER.size
    instants = struct.unpack_from(f">{times}q", data, at)
    at += 8 * times
    numbers = data[at : at + times]
    offsets = [_TYPE.unpack_from(data, at + times + _TYPE.size * number)[0] for number in range(types)]
    found = [(instant_s, offsets[number]) for instant_s, number in zip(instants, numbers, strict=True)]
    return found[:1] + [after for before, after in pairwise(found) if after[1] != before[1]]
