"""What a store under keys consists of, and what changes in it: keys, operations and steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

__all__ = ["DIGITS", "OFFSET_US", "Key", "Kind", "Named", "Op", "Step", "Timed", "Tree", "loose"]

# Instants of keys are counted from here, so that none is negative, and have so many digits.
OFFSET_US = 10**17
DIGITS = 18

Kind = Literal["jobs", "payloads", "runs", "notes", "idle", "live", "broken", "adding", "pieces"]
Tree = Literal["wall", "elapsed", "history", "failed"]


class Named(NamedTuple):
    """A key with a name."""

    kind: Kind
    name: str


class Timed(NamedTuple):
    """A key with an instant (microseconds) and a name."""

    tree: Tree
    at_us: int
    name: str


Key = Named | Timed


class Op(NamedTuple):
    """One key that changes. That it is there (``set``, ``delete``) or not (``create``) is what should be; if a stranger had a
    hand in it, the outcome counts.
    """

    verb: Literal["create", "set", "delete"]
    key: Key
    value: bytes = b""


class Step(NamedTuple):
    """What changes together, if the document has the revision ``old`` (0: it is not there). Without ``doc_id``: in any case."""

    doc_id: str | None
    old: int
    text: bytes | None  #: of the document; None: it is deleted
    ops: tuple[Op, ...]
    #: Its job's ledger is not known, and soon needed: ``_apply`` may bring it along (``_learn_ledger``).
    tell: bool = False
    #: It is a part of the step that follows, and what becomes of that one counts.
    ahead: bool = False

    @property
    def size(self) -> int:
        """About how many bytes are sent for it."""
        size = 200 + 3 * len(self.doc_id or "") + len(self.text or b"")
        for _, key, value in self.ops:
            size += 120 + len(value) + 3 * len(key[-1])
        return size


def loose(ops: Iterable[Op], at_once: int) -> list[Step]:
    """Steps that belong to no document."""
    left = list(ops)
    return [Step(None, 0, None, tuple(left[first : first + at_once])) for first in range(0, len(left), at_once)]
