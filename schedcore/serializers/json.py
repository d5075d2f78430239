"""JSON with typed extras: data only, versioned, lossless or refused. The data model is that of ``_tagged``.

The standard library's ``json`` does the encoding. msgspec was considered: it encodes a tuple as a list
without asking its hook, so a pass that tags values would be needed all the same, and the core has to work
without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from json.encoder import encode_basestring as _quoted
from typing import Any, NoReturn

from schedcore.errors import SerializationError
from schedcore.serializers._tagged import MAX_BYTES, MAX_DEPTH, MAX_VALUES, VERSION, TaggedSerializer

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "JSONSerializer"]

_HEAD = f'{{"v":{VERSION},"d":'
_HEAD_OF_PARTS = _HEAD.encode() + b"{"
# JSON brackets: three for a level at most ($dict), two for a typed leaf, one for the envelope.
_MAX_BRACKETS = 3 * MAX_DEPTH + 3

# A JSON string, up to the end of the input when it is not closed; possessive, as all that follows, so that no input makes it go
# back.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_NO_BRACKETS = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")++", re.DOTALL)
# Up to where a value begins, but for the first one of a list or dictionary, which begins with it.
_VALUE = rb'(?:[^"\[{,]++|' + _STRING + rb")*+[\[{,]"
_LEVEL = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# An escape for half of a surrogate pair. ``dumps`` never writes one.
_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*+\\u[dD][89a-fA-F]")


def _make_encode() -> Callable[[Any], str]:
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter that does without
        return encoder.encode
    # ``encode`` makes one of these for each call, which takes longer than to encode a small record.
    chunks = make(None, encoder.default, _quoted, None, ":", ",", False, False, False)
    return lambda packed: "".join(chunks(packed, 0))


_encode = _make_encode()


class JSONSerializer(TaggedSerializer):
    """Stores data, and nothing but data, as JSON text in UTF-8. See ``TaggedSerializer`` for the arguments."""

    __slots__ = ("_decode", "_more_values")

    name = "json"

    def __init__(
        self,
        types: Iterable[type] | Mapping[str, type] = (),
        *,
        max_bytes: int = MAX_BYTES,
        max_values: int = MAX_VALUES,
    ) -> None:
        super().__init__(types, max_bytes=max_bytes, max_values=max_values)
        self._more_values: re.Pattern[bytes] | None = None
        self._decode = json.JSONDecoder(object_hook=self._unpack, parse_constant=_no_constant).decode

    def _write(self, packed: Any) -> bytes:
        return f"{_HEAD}{_encode(packed)}}}".encode()

    def dumps_part(self, fields: dict[str, Any]) -> bytes:
        """See ``SerializerOfParts``."""
        # An id and a name, most often: an encoder takes five times as long for them.
        texts = [f'"{name}":{_quoted(value)}' for name, value in fields.items() if type(value) is str]
        if len(texts) == len(fields):
            try:
                return ",".join(texts).encode()
            except UnicodeEncodeError:
                return self._written(_write_fields, fields, "")  # which tells it
        return self._written(_write_fields, fields, "")

    def join_parts(self, *parts: bytes) -> bytes:
        """See ``SerializerOfParts``."""
        payload = b"".join((_HEAD_OF_PARTS, b",".join(parts), b"}}"))
        if self._is_too_much(payload):
            self._refuse_too_much(payload, self._decode(payload.decode())["d"], "")
        return payload

    def _read(self, payload: bytes) -> Any:
        _check_depth(payload)
        text = payload.decode("utf-8")
        if b"\\u" in payload and _SURROGATE.search(payload) is not None:
            # Read once without the hook, which costs nothing that matters: such bytes are not ours.
            _encode(json.loads(text)).encode()
        return self._decode(text)

    def _has_more_values(self, payload: bytes) -> bool:
        if sum(map(payload.count, (b",", b"[", b"{"))) <= self.max_values:
            return False
        # They may stand in text. What stops as soon as there are too many makes nothing of the bytes.
        pattern = self._more_values
        if pattern is None:
            pattern = self._more_values = re.compile(b"(?:%b){%d}+" % (_VALUE, self.max_values + 1), re.DOTALL)
        return pattern.match(payload) is not None

    def _sort_key(self, packed: Any) -> str:
        return _encode(packed)


def _write_fields(packed: dict[str, Any]) -> bytes:
    return _encode(packed)[1:-1].encode()


def _no_constant(name: str) -> NoReturn:
    raise SerializationError(f"{name} is not JSON")


def _check_depth(payload: bytes) -> None:
    """Refuse what is nested too deeply, before the parser goes down into it. Few brackets need no second
    look."""
    if payload.count(b"[") + payload.count(b"{") <= _MAX_BRACKETS:
        return
    brackets = _NO_BRACKETS.sub(b"", payload)
    if max(accumulate(map(_LEVEL.__getitem__, brackets)), default=0) > _MAX_BRACKETS:
        raise SerializationError(f"the record is nested more than {MAX_DEPTH} levels deep")
