"""Sets of small numbers as the bits of an integer, and the one question about lattices that is not a remainder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, reduce

__all__ = ["bits_at", "every", "first_multiple", "lowest", "runs", "set_bits", "widened"]

# Bytes that have a bit, where one begins, and the places of the bits of each.
_SOME = re.compile(rb"[^\0]")
_START = re.Match.start
_PLACES = [[place for place in range(8) if byte >> place & 1] for byte in range(256)]


def lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def set_bits(mask: int) -> list[int]:
    """The places of the bits of a mask, in order."""
    text = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
    return [8 * at + place for at in map(_START, _SOME.finditer(text)) for place in _PLACES[text[at]]]


def bits_at(places: Sequence[int]) -> int:
    """The bits at some places of a mask, in order."""
    if len(places) < 16:
        return reduce(lambda mask, place: mask | 1 << place, places, 0)
    found = bytearray((places[-1] >> 3) + 1)
    for place in places:
        found[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(found, "little")


def runs(mask: int) -> list[tuple[int, int]]:
    """The runs of ones in a mask, from (inclusive) and to (exclusive)."""
    edges = set_bits(mask ^ mask << 1)
    return list(zip(edges[::2], edges[1::2], strict=True))


def widened(mask: int, by: int) -> int:
    """The bits of a mask, and all that are up to so many places higher."""
    done = 0
    while done < by:  # each turn widens by what is there already, at the most
        step = min(done + 1, by - done)
        mask |= mask << step
        done += step
    return mask


@lru_cache(maxsize=512)
def every(step: int, first: int, whole: int) -> int:
    """Every so many places of a mask."""
    mask = 1 << first % step
    while step < whole:
        mask |= mask << step
        step *= 2
    return mask & (1 << whole) - 1


def first_multiple(step: int, modulus: int, low: int, high: int) -> int | None:
    """The least n >= 0 for which ``low`` <= n * ``step`` mod ``modulus`` <= ``high``, or None; 0 <= low <= high < modulus.

    As in Euclid's algorithm each turn halves the numbers: to come to the window after some turns round the modulus is the same
    question about the remainder of the modulus by the step.
    """
    if low == 0:
        return 0
    step %= modulus
    if not step:
        return None
    if 2 * step > modulus:
        return first_multiple(modulus - step, modulus, modulus - high, modulus - low)
    times = -(-low // step)
    if times * step <= high:
        return times
    turns = first_multiple(modulus % step, step, -high % step, -low % step)
    return None if turns is None else -(-(low + modulus * turns) // step)
