"""What a store of documents needs of its backend: one class for each server, in a file of its own (``redis``, …)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import Change, Doc
from schedcore.jobstores.base import JobStore
from schedcore.run import RunRecord

__all__ = ["DocumentBackend"]


class DocumentBackend(JobStore):
    """A server, as a store of documents uses it. Each method may raise what its driver raises, and is called with the store's
    lock held.
    """

    #: Whether ``_write`` writes a document and its records in one step. If not, a run that ended may be live still.
    _writes_at_once: ClassVar[bool]
    #: How many changes ``_write`` is given at a time, unless they are together.
    _written_at_once: ClassVar[int] = CHUNK
    #: What the server is called, and bytes of the longest payload that it can hold, or None: it can hold any.
    _keeper: ClassVar[str]
    _payload_limit: ClassVar[int | None] = None

    @abstractmethod
    def _open(self) -> None:
        """Connect, keep a second scheduler off (``JobStoreInUseError``), and check the version of what is there."""

    def _open_to_read(self) -> None:
        """Connect and check the version of what is there, taking and changing nothing. Where nothing is, it is a
        ``JobStoreError`` (``_nothing_there``).
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be opened for reading only")

    @abstractmethod
    def _close(self) -> None:
        """Let go of what ``_open`` took. Raises nothing; called once for each ``_open``, also one that failed."""

    @abstractmethod
    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        """What an error of the driver's means, and whether trying again may help; None: it is not one of the driver's."""

    @abstractmethod
    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        """Documents by id, with payload; those that are not there are left out."""

    @abstractmethod
    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        """The earliest documents of a timeline that are due up to an instant, from an index; payloads may be left out."""

    @abstractmethod
    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        """The earliest due times of a timeline, with the ids, from an index."""

    @abstractmethod
    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        """Documents by (due time, id), those without one last, that come after a place; payloads may be left out."""

    @abstractmethod
    def _fetch_live(self) -> Sequence[Doc]:
        """Documents with live runs, earlier jobs' included; from an index."""

    @abstractmethod
    def _fetch_broken(self) -> Sequence[Doc]:
        """Documents in the state ``broken``; from an index."""

    @abstractmethod
    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        """Write each document, with its records, if its revision is the old one; whether each was. ``together``: all or none.

        Where document and records cannot be written in one step, those of runs that ended come first, and the others are in the
        document (``_documents_decided``). A record whose key (uid, fire time, attempt) is there already is left as it is. Beyond
        ``_history_limit`` the oldest records of a job go.
        """

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        """Whether ``_write`` of new jobs with these ids, together, writes all or nothing in one step; else it has to be known
        beforehand that nothing is there.
        """
        return len(ids) == 1

    @abstractmethod
    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        """Which of these (uid, fire time) have a record with this attempt."""

    @abstractmethod
    def _delete_records(self, before_us: int, limit: int) -> int:
        """Delete the oldest records whose fire time is earlier than an instant, so many at most; how many were."""

    @abstractmethod
    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        """Records, latest fire time first. ``failed``: of runs that failed or were lost."""

    @abstractmethod
    def _fetch_note(self, name: str) -> str | None:
        """A note, or None."""

    @abstractmethod
    def _write_note(self, name: str, value: str) -> None:
        """Keep a note."""
