"""What is asked or written of many jobs, in several requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["CHUNK", "chunks"]

#: Rows, documents or names in one request. SQLite takes 999 parameters at least.
CHUNK = 500

T = TypeVar("T")


def chunks(rows: Sequence[T], size: int = CHUNK) -> list[Sequence[T]]:
    """A sequence in parts."""
    return [rows] if 0 < len(rows) <= size else [rows[first : first + size] for first in range(0, len(rows), size)]
