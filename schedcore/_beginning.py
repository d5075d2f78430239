"""What the beginning of a long value's ``repr`` is made of.

Of what a job returns a record keeps the first characters alone. The whole ``repr`` of a list of a million rows takes a second of
whoever writes the record, which may be an event loop; so plain data is cut first. The ``repr`` of other classes is called,
however long that takes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["beginning"]

_TEXTS = (str, bytes, bytearray)
_GROUPS = (list, tuple, set, frozenset)
_DATA = frozenset({*_TEXTS, *_GROUPS, dict})
# Levels of what is in each other, beyond which it is left out.
_DEPTH = 20


def beginning(value: Any, limit: int) -> Any:
    """The value, or, if its ``repr`` has certainly more than ``limit`` characters, one whose ``repr`` begins like that.

    No more than ``limit`` parts of it are looked at. Raises what going through data raises that another thread changes.
    """
    if type(value) not in _DATA or not _is_long(value, limit):
        return value
    left = limit

    def cut(part: Any, depth: int) -> Any:
        nonlocal left
        kind = type(part)
        if kind in _TEXTS:
            part = part[:left]
            left -= len(part)
            return part
        if kind not in _GROUPS and kind is not dict:
            return part
        if depth == _DEPTH:
            return ...
        made = []
        for item in part.items() if kind is dict else part:
            if left <= 0:
                break
            left -= 1
            made.append((cut(item[0], depth + 1), cut(item[1], depth + 1)) if kind is dict else cut(item, depth + 1))
        return kind(made)

    return cut(value, 0)


def _is_long(value: Any, limit: int) -> bool:
    """Whether its texts have more than ``limit`` characters, together with one for each element."""
    left = limit
    parts = [value]
    while parts:
        part = parts.pop()
        kind = type(part)
        if kind in _TEXTS:
            left -= len(part)
        elif kind in _GROUPS or kind is dict:
            left -= len(part)
            if left >= 0:
                parts += part
                if kind is dict:
                    parts += part.values()
        if left < 0:
            return True
    return False
