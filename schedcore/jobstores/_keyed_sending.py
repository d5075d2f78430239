"""How steps go to the server: as many in a request as it takes, and one that none can hold in several. Where the driver can send
one before the last was answered, the next is made up while the server writes, and so are its steps if they are given one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from schedcore.jobstores._keyed_backend import KeyedBackend
from schedcore.jobstores._keyed_keys import Op, Step

__all__ = ["KeyedSending"]


class KeyedSending(KeyedBackend):
    """See the module's docstring."""

    def _carry_out(self, steps: Iterable[Step]) -> list[bool]:
        """Make steps, each by itself; whether each was."""
        return self._carry_out_batches(self._batches(steps))

    def _carry_out_batches(self, batches: Iterator[list[Step]]) -> list[bool]:
        first, second = next(batches, None), next(batches, None)
        if first is None:
            return []
        if second is None:
            return self._finish(first)
        done: list[bool] = []
        under_way: deque[tuple[list[Step], object]] = deque()
        try:
            for batch in chain((first, second), batches):
                # What is written ahead has to be there before the rest of its step is.
                while under_way and (len(under_way) >= self._under_way or under_way[-1][0][-1].ahead):
                    done += self._finish(*under_way.popleft())
                with self._telling():
                    under_way.append((batch, self._send(batch)))
            while under_way:
                done += self._finish(*under_way.popleft())
        finally:
            # Of those that are left nobody asks any more what became of them.
            self._doubt = self._doubt or bool(under_way)
        return done

    def _finish(self, batch: list[Step], sent: object = None, *, together: bool = False) -> list[bool]:
        """Make a batch, or learn what became of it if it was sent. ``together``: all of it, or nothing."""
        with self._telling():
            made = self._apply(batch, together, sent)
        self._follow([step for step, fine in zip(batch, made, strict=True) if fine], all(made))
        return [fine for step, fine in zip(batch, made, strict=True) if not step.ahead]

    def _follow(self, written: Sequence[Step], complete: bool) -> None:
        """Keep what is known of the server in step with what was written. ``complete``: nothing was refused."""

    def _batches(self, steps: Iterable[Step]) -> Iterator[list[Step]]:
        batch: list[Step] = []
        size = 0
        for step in steps:
            step_size = step.size
            for part in self._parts(step, step_size):
                part_size = step_size if part is step else part.size
                full = len(batch) >= self._max_steps or size + part_size > self._max_bytes
                if batch and (full or part.ahead or batch[-1].ahead):
                    yield batch
                    batch, size = [], 0
                batch.append(part)
                size += part_size
        if batch:
            yield batch

    def _parts(self, step: Step, size: int) -> Sequence[Step]:
        """A step that one request cannot hold, as several: first what means nothing until the document is written."""
        if step.doc_id is None:
            return (step,)
        if len(step.ops) <= self._max_ops and (size <= self._max_bytes or not any(map(_may_be_ahead, step.ops))):
            return (step,)
        ahead = self._ahead(step)
        rest = tuple(op for op in step.ops if op not in ahead)
        parts: list[Step] = []
        some: list[Op] = []
        size = 0
        for op in ahead:
            if some and (len(some) >= self._max_ops or size + len(op.value) > self._max_bytes // 2):
                parts.append(Step(None, 0, None, tuple(some), ahead=True))
                some, size = [], 0
            some.append(op)
            size += len(op.value) + 200
        if some:
            parts.append(Step(None, 0, None, tuple(some), ahead=True))
        return [*parts, step._replace(ops=rest)]

    def _ahead(self, step: Step) -> list[Op]:
        """What is written before the document: pieces of its payload, and records where they are many. A few are in one step
        with it: they say what was decided, which may be decided otherwise if the document is not written.
        """
        records = [op for op in step.ops if _is_record(op)]
        pieces = [op for op in step.ops if _is_new_piece(op)]
        few = (
            len(step.ops) - len(pieces) <= self._max_ops
            and sum(len(op.value) for op in records) <= self._max_bytes // 10
        )
        return pieces if few else [op for op in step.ops if _may_be_ahead(op)]


def _may_be_ahead(op: Op) -> bool:
    return _is_record(op) or _is_new_piece(op)


def _is_record(op: Op) -> bool:
    return op.key[0] in ("history", "failed")


def _is_new_piece(op: Op) -> bool:
    return (op.verb, op.key[0]) == ("create", "pieces")
