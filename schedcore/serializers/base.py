"""What a serializer is: data in, bytes out, and back.

A serializer knows nothing about jobs. Stores hand it records that consist of plain data; what users put into
a job's arguments may be anything, so every refusal says where in the record the value sits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

from schedcore.errors import SerializationError

__all__ = [
    "MAX_BYTES",
    "MAX_VALUES",
    "Refused",
    "Serializer",
    "SerializerOfParts",
    "place",
    "refuse",
    "refuse_size",
    "show",
]

#: Bytes of one record, by default and in both directions. A row that is larger is a mistake or an attack.
MAX_BYTES = 16 * 1024 * 1024
#: Lists, dictionaries and what is in them, of one record, likewise. An empty list takes three bytes in a record, 80 in memory and
#: a microsecond to read: it is their number, more than the bytes, that tells what a record costs.
MAX_VALUES = 250_000

# Steps of a path that are shown at each end.
_SHOWN_STEPS = 8


class Serializer(Protocol):
    """Turns data into bytes and back. Both methods may be called from any thread.

    One that has an attribute ``max_bytes`` says how many bytes a record has at most. Job stores do not even fetch a larger one.
    """

    @property
    def name(self) -> str:
        """What stores write beside the bytes, so that they can tell which serializer made them."""

    def dumps(self, data: object, root: str = "") -> bytes:
        """The bytes for *data*. ``root`` names the whole value in error messages.

        Raises ``SerializationError`` for what cannot be stored; its ``path`` says where that sits
        ("kwargs['when'][2]").
        """

    def loads(self, payload: bytes) -> Any:
        """The data of which ``dumps`` made these bytes. Raises ``SerializationError`` for bytes that do not
        come from there."""


class SerializerOfParts(Serializer, Protocol):
    """One that makes a record of parts as well, so that a part that many records share is made once. Its subclasses do so only if
    they say so again: they may have made ``dumps`` their own.
    """

    def dumps_part(self, fields: dict[str, Any]) -> bytes:
        """One or several fields of a record, by names that are plain words. Raises what ``dumps`` of them raises, but for
        the size of the record.
        """

    def join_parts(self, *parts: bytes) -> bytes:
        """What ``dumps`` makes of the dictionary that has the fields of all these parts."""


class Refused(Exception):
    """Raised where a value cannot be stored; each container on the way out appends its step, innermost
    first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def refuse(error: Refused, root: str) -> NoReturn:
    """Raise the ``SerializationError`` that the user sees."""
    path = place(reversed(error.steps), root)
    raise SerializationError(f"{path}: {error.reason}" if path else error.reason, path=path) from error.__cause__


def refuse_size(payload: bytes, root: str, max_bytes: int, where: str = "") -> None:
    """Raise ``SerializationError`` for a record that is too large to be stored. ``where``: the path to most of it."""
    if len(payload) > max_bytes:
        most = f", most of them in {where}," if where else ","
        raise SerializationError(
            f"{root or 'the value'} takes {len(payload):,} bytes{most} and at most {max_bytes:,} may be stored (max_bytes=); "
            "store it elsewhere and pass where it is",
            path=where or root,
        )


def place(steps: Iterable[str], root: str) -> str:
    """Steps such as ``['when']`` and ``[2]``, outermost first, as one path.

    Without a root, a first key that is a name stands bare. The middle of a very long path is left out.
    """
    parts = list(steps)
    if len(parts) > 2 * _SHOWN_STEPS:
        parts[_SHOWN_STEPS:-_SHOWN_STEPS] = ["[...]"]
    if not root and parts and parts[0].startswith("['") and parts[0][2:-2].isidentifier():
        parts[0] = parts[0][2:-2]
    return root + "".join(parts)


def show(value: object) -> str:
    """A value in a message: its own ``repr``, which may raise, and shortened."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 (the value's own code)
        text = f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."
