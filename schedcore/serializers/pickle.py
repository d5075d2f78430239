"""Pickle: any Python object, at the price of trust.

Loading a pickle runs what it says. Whoever can write to the job store can thus run code in every scheduler
that reads it. It is never used unless it is asked for (``serializer="pickle"``).
"""

from __future__ import annotations

import pickle
from typing import Any

from schedcore.errors import ConfigurationError, SerializationError, contained, error_text
from schedcore.serializers.base import MAX_BYTES, Refused, refuse, refuse_size

__all__ = ["PickleSerializer"]

# Levels of containers that are searched for the part that cannot be pickled; deeper ones are reported as a
# whole.
_SEARCH_DEPTH = 8


class PickleSerializer:
    """Stores whatever ``pickle`` can. ``protocol``: the pickle protocol, by default the highest of this Python.
    ``max_bytes``: the size of one record, at most, in both directions. Raises ``ConfigurationError`` for a protocol that this
    Python does not have.
    """

    __slots__ = ("max_bytes", "protocol")

    name = "pickle"

    def __init__(self, protocol: int = pickle.HIGHEST_PROTOCOL, *, max_bytes: int = MAX_BYTES) -> None:
        if type(protocol) is not int or protocol > pickle.HIGHEST_PROTOCOL:
            raise ConfigurationError(
                f"the pickle protocol must be a whole number up to {pickle.HIGHEST_PROTOCOL}, not {protocol!r}"
            )
        self.protocol = protocol
        self.max_bytes = max_bytes

    def dumps(self, data: object, root: str = "") -> bytes:
        """The pickle of *data*. Raises ``SerializationError`` naming the part that cannot be pickled, and for more than
        ``max_bytes`` bytes."""
        try:
            payload = pickle.dumps(data, self.protocol)
        except Exception as error:  # noqa: BLE001 (the objects' own code runs, and may raise anything)
            refused = Refused(_reason(error))
            refused.__cause__ = error
            self._locate(data, refused, _SEARCH_DEPTH)
            refused.steps.reverse()
            refuse(refused, root)
        refuse_size(payload, root, self.max_bytes)
        return payload

    def loads(self, payload: bytes) -> Any:
        """What was pickled. Raises ``SerializationError`` when the bytes are damaged or name what no longer
        exists.

        Never call it with bytes from a place that you would not run a program from.
        """
        if len(payload) > self.max_bytes:
            raise SerializationError(
                f"the record has {len(payload):,} bytes, and at most {self.max_bytes:,} are read (max_bytes=)"
            )
        try:
            return pickle.loads(payload)
        except BaseException as error:  # the code of the objects' classes may raise anything
            raise SerializationError(f"not a pickle that can be loaded here: {_reason(contained(error))}") from error

    def _locate(self, data: object, refused: Refused, depth: int) -> None:
        """Add the steps, outermost first, that lead from *data* to the innermost part that cannot be
        pickled."""
        if not depth:
            return
        parts: list[tuple[str, object]] = []
        if isinstance(data, dict):
            parts = [(f"[{key!r}]", item) for key, item in data.items()]
        elif isinstance(data, list | tuple):
            parts = [(f"[{index}]", item) for index, item in enumerate(data)]
        for step, item in parts:
            try:
                pickle.dumps(item, self.protocol)
            except Exception as error:  # noqa: BLE001
                refused.reason = _reason(error)
                refused.steps.append(step)
                self._locate(item, refused, depth - 1)
                return


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply to be pickled"
    return error_text(error)
