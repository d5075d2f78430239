"""Signatures: a job store reads only the records that somebody with the key wrote.

``signing_key=`` of a job store puts this around its serializer. A signed record is a byte 1, eight bytes that say which
key it was, the HMAC-SHA256 (RFC 2104) of what follows and of the serializer's name, and the record. It is verified before
anything is decoded. What is signed says which job it belongs to, so that a record cannot be moved to another one.

Signatures say who wrote a definition. They hide nothing, and keep nobody from deleting or restoring a row, or from changing the
columns beside it (when a job is due, its runs).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, cast

from schedcore.errors import ConfigurationError, SerializationError
from schedcore.serializers.base import Serializer, SerializerOfParts

__all__ = ["MIN_KEY_BYTES", "SignedSerializer", "is_signed"]

#: Shorter keys can be guessed (RFC 2104 discourages less than the length of the hash for the strength of the function).
MIN_KEY_BYTES = 16

_MARK = b"\x01"
_NAME_BYTES = 8
_MAC_BYTES = 32
_HEAD_BYTES = len(_MARK) + _NAME_BYTES + _MAC_BYTES


def is_signed(payload: bytes) -> bool:
    """Whether a record begins as a signed one does. No serializer of ours begins like that."""
    return payload[:1] == _MARK and len(payload) >= _HEAD_BYTES


class SignedSerializer:
    """``inner``, signed. ``keys``: one or several, bytes or text; the first signs, all verify, so that keys can be changed one
    after the other: put the new one first, and take the old one out when no record is signed with it any more.

    Raises ``ConfigurationError`` for a key of less than ``MIN_KEY_BYTES`` bytes.
    """

    __slots__ = ("_keys", "inner")

    def __init__(self, inner: Serializer, keys: bytes | str | Sequence[bytes | str]) -> None:
        several = list(keys) if isinstance(keys, Sequence) and not isinstance(keys, bytes | str | bytearray) else [keys]
        self.inner = inner
        self._keys: dict[bytes, bytes] = {}
        for key in several:
            secret = key.encode() if isinstance(key, str) else key
            if not isinstance(secret, bytes) or len(secret) < MIN_KEY_BYTES:
                found = f"one of {len(secret)}" if isinstance(secret, bytes) else f"a {type(key).__name__}"
                raise ConfigurationError(
                    f"signing_key: a key is bytes or text of at least {MIN_KEY_BYTES} bytes (secrets.token_bytes(32) makes one), "
                    f"not {found}"
                )
            self._keys.setdefault(hashlib.sha256(b"schedcore key name" + secret).digest()[:_NAME_BYTES], secret)
        if not self._keys:
            raise ConfigurationError("signing_key: give at least one key, or leave it out")

    @property
    def name(self) -> str:
        """That of the serializer inside."""
        return self.inner.name

    @property
    def max_bytes(self) -> int | None:
        """That of the serializer inside, and the signature; None: that one does not say."""
        inner: int | None = getattr(self.inner, "max_bytes", None)
        return None if inner is None else inner + _HEAD_BYTES

    def dumps(self, data: object, root: str = "") -> bytes:
        """The signed bytes. Raises what the serializer inside raises."""
        return self._signed(self.inner.dumps(data, root))

    def dumps_part(self, fields: dict[str, Any]) -> bytes:
        """See ``SerializerOfParts``, which the serializer inside has to be."""
        return cast(SerializerOfParts, self.inner).dumps_part(fields)

    def join_parts(self, *parts: bytes) -> bytes:
        """See ``SerializerOfParts``."""
        return self._signed(cast(SerializerOfParts, self.inner).join_parts(*parts))

    def _signed(self, payload: bytes) -> bytes:
        name, secret = next(iter(self._keys.items()))
        return b"".join((_MARK, name, self._mac(secret, payload), payload))

    def loads(self, payload: bytes) -> Any:
        """The data. Raises ``SerializationError`` for bytes that no key here has signed, before a single one is decoded."""
        payload = bytes(payload)
        if not is_signed(payload):
            raise SerializationError("it is not signed, and this job store reads signed records only (signing_key)")
        name, mac = payload[1 : 1 + _NAME_BYTES], payload[1 + _NAME_BYTES : _HEAD_BYTES]
        secret = self._keys.get(name)
        if secret is None:
            raise SerializationError("it is signed with a key that is not given here (signing_key)")
        content = payload[_HEAD_BYTES:]
        if not hmac.compare_digest(self._mac(secret, content), mac):
            raise SerializationError(
                "its signature is wrong: it was not written, or was changed since, by somebody with the key, or it was made by "
                f"another serializer than {self.name!r}"
            )
        return self.inner.loads(content)

    def _mac(self, secret: bytes, payload: bytes) -> bytes:
        return hmac.digest(secret, b"%b\0%b" % (self.inner.name.encode(), payload), "sha256")
