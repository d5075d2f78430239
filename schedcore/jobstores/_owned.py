"""Job stores that compare, with each write, the name of who owns the store: Redis, etcd, ZooKeeper.

**Doubt.** A write whose outcome was not learnt may still be on its way. Before anything else is done its owner takes the store
again under a new name (``_take``): from then on the server refuses what was sent under the old one, and what is read is final.

**In between.** An owner that was cut off for longer than its lease may find that nobody has the store, and takes it again. If
somebody else had it meanwhile, nothing that was read before is true any more: a document may have been deleted and made anew,
and look as old as the one that was read. So what was claimed is dropped, and read again when what that one left was recovered.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from schedcore.errors import JobStoreInUseError
from schedcore.jobstores._documents import DocumentStore

__all__ = ["OwnedStore"]


class OwnedStore(DocumentStore):
    """See the module's docstring. A backend writes within ``_telling``, and supplies ``_take``."""

    def _reset(self) -> None:
        super()._reset()
        self._doubt = False

    def _begin_use(self) -> None:
        self._settle()

    def _settle(self) -> None:
        """Bring an uncertain past to an end."""
        if self._doubt and not self._read_only:
            alone = self._take()
            self._doubt = False
            self._begin_anew(alone)

    def _lease_ran_out(self) -> None:
        """The server was away, or this process paused, for longer than the lease. Who writes next takes the store again."""
        self._doubt = True
        with self._turns.take_if_free() as taken:
            if taken:
                self._settle()

    def _begin_anew(self, alone: bool) -> None:
        """The store was taken again. If not ``alone``, somebody else had it meanwhile, and may have decided what we claimed."""
        self._forget_what_was_read()
        if not alone:
            self._look_again()

    def _forget_what_was_read(self) -> None:
        """Somebody else may have written since, or a write of our own may have been made of which nobody knows."""
        self._docs.clear()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Around a write: unless it tells what became of it, there is doubt."""
        told = False
        try:
            yield
            told = True
        except JobStoreInUseError:
            told = True
            raise
        except Exception as error:
            told = self._was_answered(error)
            if told:
                self._forget_what_was_read()
            raise
        finally:
            if not told:
                self._doubt = True

    def _was_answered(self, error: Exception) -> bool:
        """Whether an error of the driver's says that nothing will be written any more. Something may have been."""
        return False

    @abstractmethod
    def _take(self) -> bool:
        """Own the store under a name that is new, so that writes under an older one are refused. ``JobStoreInUseError``.

        False if somebody else may have had it since this object took it last.
        """
