"""Headers of HTTP/2 as hpack compresses and reads them; blocks of them that come again are not compressed and read anew.

A block in which each header is named by its number in the tables (RFC 7541, 6.1: a byte of 128 or more) changes nothing in them.
So it means the same until another one does: one that adds a header, or says that the table has another size. With etcd all blocks
are such blocks but the first ones, and those with a token, which no table may have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpack import Decoder, Encoder

__all__ = ["RememberingDecoder", "RememberingEncoder"]

# Blocks, of which a server that answers as etcd does needs two or three.
_MOST = 32


class RememberingEncoder(Encoder):
    """``headers`` that have a hash."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[tuple[Any, ...], bytes] = {}

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:
        key = tuple(headers)
        known = self._blocks.get(key)
        if known is not None and not self.table_size_changes:
            return known
        block = super().encode(key, huffman)
        if not _changes_nothing(block) or len(self._blocks) >= _MOST:
            self._blocks.clear()
        if _changes_nothing(block):
            self._blocks[key] = block
        return block


class RememberingDecoder(Decoder):
    """Of blocks that are given as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[bytes, Iterable[Any]] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[Any]:
        block = bytes(data)
        known = self._read.get(block) if raw else None
        if known is not None:
            return known
        headers = super().decode(block, raw)
        if not _changes_nothing(block) or len(self._read) >= _MOST:
            self._read.clear()
        if raw and _changes_nothing(block):
            self._read[block] = headers
        return headers


def _changes_nothing(block: bytes) -> bool:
    return bool(block) and min(block) >= 128
