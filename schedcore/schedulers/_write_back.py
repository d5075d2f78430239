"""What executors reported of the runs of one job store, until it is in the store."""

from __future__ import annotations

from collections import deque

from schedcore.jobstores.base import JobStore
from schedcore.run import Finish, Run, RunState, SkipReason

__all__ = ["WriteBack"]

# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SKIPPED = RunState.SKIPPED


class WriteBack:
    """``begun`` and ``finished`` are appended to by any thread; ``write`` is called by one at a time."""

    def __init__(self) -> None:
        self.finished: deque[Finish] = deque()
        #: Runs that began, each with its instant; for durable stores.
        self.begun: deque[tuple[Run, int]] = deque()
        # What ended, and the store did not take when it was told.
        self._unwritten: list[Finish] = []
        # What was taken back before it began, likewise.
        self._withdrawn: list[Run] = []

    def __bool__(self) -> bool:
        return bool(self.finished or self.begun or self._unwritten or self._withdrawn)

    def ended_runs(self) -> list[Run]:
        """The runs that ended, and are not in the store as such. From any thread."""
        return [finish.run for finish in [*self.finished, *self._unwritten]]

    def write(self, store: JobStore, ended: list[Finish]) -> None:
        """Tell the store. What has ended since the last time goes into ``ended`` even if that fails; then it is told again."""
        journal = store.journal
        mark = None if journal is None else journal.mark()
        durable = store.traits.durable
        while self.finished:
            finish = self.finished.popleft()
            ended.append(finish)
            # What a shutdown took back before it began stays on record: the next scheduler runs it.
            if durable and finish.state is _SKIPPED and finish.retval is SkipReason.SHUTDOWN:
                self._withdrawn.append(finish.run)
            else:
                self._unwritten.append(finish)
        if self.begun:
            over = {id(finish.run) for finish in self._unwritten}
            begun: list[tuple[Run, int]] = []
            while self.begun:
                item = self.begun.popleft()
                if id(item[0]) not in over:
                    begun.append(item)
            if begun:
                try:
                    store.started(begun)
                except BaseException:  # a store may be anybody's code
                    self.begun.extendleft(reversed(begun))
                    raise
        if self._unwritten:
            store.finish(self._unwritten)
            self._unwritten = []
        if self._withdrawn:
            store.withdraw(self._withdrawn)
            self._withdrawn = []
        if journal is not None and mark is not None:
            journal.forget(mark)
