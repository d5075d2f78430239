"""CBOR (RFC 8949): the data model of ``_tagged`` in fewer bytes, as ``serializer="cbor"``. Needs the extra ``cbor``.

Bytes and all floats are held as they are. CBOR's own tags (dates, big numbers, shared references, …) are neither written nor
read: what they make of hostile bytes is not ours to judge (a bigfloat of ten bytes can fill the memory). Nor are indefinite
lengths, keys that stand twice, and keys that are not text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from schedcore.errors import MissingExtraError, SerializationError
from schedcore.serializers._tagged import ATOMS, MAX_DEPTH, VERSION, TaggedSerializer

try:
    import cbor2
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the serializer 'cbor'", "cbor") from error

__all__ = ["CBORSerializer"]

# Three containers for a level at most ($dict), two for a typed leaf, one for the envelope.
_MAX_DEPTH = 3 * MAX_DEPTH + 3
# Major types, the upper three bits of what begins a value (RFC 8949, section 3.1).
_BYTES, _TEXT, _LIST, _DICT, _TAG = 2, 3, 4, 5, 6
# The tags for which the library has decoders of its own (its documentation, "Tag support").
_KNOWN_TAGS = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip


def _refuse(*_: object) -> NoReturn:
    raise SerializationError("the record has a CBOR tag, which no record of this serializer has")


class CBORSerializer(TaggedSerializer):
    """Stores data, and nothing but data, as CBOR. See ``TaggedSerializer`` for the arguments."""

    __slots__ = ()

    name = "cbor"
    _atoms: ClassVar[frozenset[type]] = frozenset({*ATOMS, bytes, float})

    def _write(self, packed: Any) -> bytes:
        return cbor2.dumps({"v": VERSION, "d": packed})

    def _read(self, payload: bytes) -> Any:
        try:
            return cbor2.loads(
                payload,
                tag_hook=_refuse,
                object_hook=self._unpack_object,
                semantic_decoders=dict.fromkeys(_KNOWN_TAGS, _refuse),
                max_depth=_MAX_DEPTH,
                allow_indefinite=False,
                allow_duplicate_keys=False,
                strict_hashable_types=True,
            )
        except cbor2.CBORDecodeError as error:
            # What a hook of ours raised says more than that it did.
            cause = error.__cause__
            while cause is not None and not isinstance(cause, SerializationError):
                cause = cause.__cause__
            raise cause or error from error

    def _has_more_values(self, payload: bytes) -> bool:
        # A list or dictionary begins with how many things are in it; a tag is one more. What is not well-formed is left to the
        # library.
        at, left, values, size = 0, 1, 0, len(payload)
        while left > 0 and at < size:
            head = payload[at]
            left -= 1
            at += 1
            count = head & 31
            if 24 <= count < 28:
                width = 1 << (count - 24)
                count = int.from_bytes(payload[at : at + width])
                at += width
            kind = head >> 5
            if kind in (_TEXT, _BYTES):
                at += count
            elif kind in (_LIST, _DICT):
                values += 1 + count
                left += count if kind == _LIST else 2 * count
            elif kind == _TAG:
                values += 1
                left += 1
            if values > self.max_values:
                return True
        return False

    def _unpack_object(self, found: Mapping[Any, Any], immutable: bool) -> Any:
        if not all(type(key) is str for key in found):
            raise SerializationError("a key of the record is not text")
        return self._unpack(dict(found))

    def _sort_key(self, packed: Any) -> bytes:
        return cbor2.dumps(packed)
