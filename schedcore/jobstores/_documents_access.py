"""Reading and writing documents: one thread at a time, as long as the store is open, each write in the place of what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, NoReturn

from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError
from schedcore.jobstores._chunks import chunks
from schedcore.jobstores._documents_backend import DocumentBackend
from schedcore.jobstores._documents_definitions import Definitions
from schedcore.jobstores._documents_doc import Change, Doc
from schedcore.jobstores._payload import Codec, Oversized
from schedcore.jobstores._turns import Turns
from schedcore.serializers.base import Serializer

__all__ = ["Claimed", "DocumentAccess"]

# Jobs whose document is kept in memory, so that a due job costs no second look at it.
_KEPT = 10_000
# Bytes of a payload that stays in memory with its document: a larger one is read again where it is needed.
_SMALL = 4_096
# Attempts at a write that others get in the way of. Each of them means that somebody else succeeded.
_TRIES = 100


class Claimed(NamedTuple):
    """A document about which is being decided, as our own writes about runs have left it since."""

    revision: int  #: when it was claimed; by which the claim is known
    doc: Doc


class DocumentAccess(DocumentBackend):
    """The documents of one store. The arguments are those of every store; ``history``: finished runs kept for each job;
    ``history_age``: seconds that they are kept, or None; ``read_only``: only look, also while a scheduler has the store open:
    nothing is taken, made or changed, and no function is imported.
    """

    def __init__(
        self,
        *,
        serializer: str | Serializer = "json",
        pickle_protocol: int | None = None,
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
        history: int = 100,
        history_age: float | None = 30 * 86400.0,
        read_only: bool = False,
    ) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigurationError(f"history must be a number of run records from 1 up, not {history!r}")
        number = isinstance(history_age, int | float) and not isinstance(history_age, bool)
        if history_age is not None and not (number and 0 < history_age < 1e9):
            raise ConfigurationError(f"history_age must be a number of seconds above 0, or None, not {history_age!r}")
        self.codec = Codec(
            serializer, pickle_protocol=pickle_protocol, signing_key=signing_key, allowed_refs=allowed_refs
        )
        self._history_limit = history
        self._history_age_us = None if history_age is None else int(history_age * 1e6)
        self._aged_us = 0
        self._read_only = bool(read_only)
        # One writes at a time, and the claims belong to whoever does.
        self._turns = Turns()
        self._opened = False
        self._reset()

    def _reset(self) -> None:
        self._definitions = Definitions(self.codec, self._fetch_payloads, import_func=not self._read_only)
        self._docs: dict[str, Doc] = {}  # as they were last seen; a write of one that has changed since is refused
        self._claimed: dict[str, Claimed] = {}
        # Whether another scheduler has had the store meanwhile, and what that left has not been recovered.
        self._to_recover = False
        self._take_over()

    def _take_over(self) -> None:
        """What is live on record is another scheduler's."""

    def _look_again(self) -> NoReturn:
        """Another scheduler has had the store since it was read, and may have decided what was claimed. Always raises."""
        self._docs.clear()
        self._claimed.clear()
        self._take_over()
        self._to_recover = True
        raise JobStoreError(self._alias, "another scheduler has used the store meanwhile; look again", transient=True)

    def _errors(self, doing: str) -> _Errors:
        """What the driver raises becomes a ``JobStoreError`` with it as the cause."""
        return _Errors(self, doing)

    @contextmanager
    def _using(self, doing: str) -> Iterator[None]:
        with self._turns.take(), self._errors(doing):
            if not self._opened:
                raise JobStoreError(self._alias, "it is not open; start() opens it, shutdown() closes it")
            self._begin_use()
            yield

    def _writing(self, doing: str) -> AbstractContextManager[None]:
        if self._read_only:
            raise JobStoreError(self._alias, "it was opened for reading only")
        return self._using(doing)

    def _begin_use(self) -> None:
        """What is to be done each time before the store is used."""

    def _nothing_there(self, where: str) -> JobStoreError:
        return JobStoreError(self._alias, f"there is nothing of schedcore's {where}; is it the right place?")

    def _read(self, ids: Sequence[str]) -> dict[str, Doc]:
        """Documents by id, with their payloads."""
        found: dict[str, Doc] = {}
        for some in chunks(ids):
            found.update(self._fetch(some))
        for doc in found.values():
            self._remember(doc)
        return found

    def _remember(self, doc: Doc) -> None:
        self._docs[doc.id] = self._light(doc)
        self._forget_earliest()

    def _light(self, doc: Doc) -> Doc:
        """A document as it stays in memory. (One that has earlier jobs of its id has to fit with all of their payloads.)"""
        payload = doc.payload
        return doc if payload is None or len(payload) <= _SMALL or doc.past else doc._replace(payload=None)

    def _forget_earliest(self) -> None:
        docs = self._docs
        while len(docs) > _KEPT:
            del docs[next(iter(docs))]

    def _put(self, changes: Sequence[Change], *, together: bool = False) -> list[bool]:
        """Write; whether each was. ``together``: all or none, and none is kept in memory."""
        written: list[bool] = []
        size = len(changes) if together else self._written_at_once
        for some in chunks(changes, max(1, size)):
            written += self._write(some, together)
        docs = self._docs
        for (_, doc, _, _), done in zip(changes, written, strict=True):
            job_id, _, uid, _, _, _, _, _, _, _, payload, _, past = doc
            if done and not together and (uid or past):
                docs[job_id] = doc if payload is None else self._light(doc)
            elif job_id in docs:
                del docs[job_id]
        self._forget_earliest()
        return written

    def _known(self, job_id: str, revision: int) -> Doc | None:
        """A document with a revision, as far as it is in memory."""
        claimed = self._claimed.get(job_id)
        if claimed is not None and claimed[1][1] == revision:
            return claimed[1]
        doc = self._docs.get(job_id)
        return doc if doc is not None and doc[1] == revision else None

    def _change(self, ids: Sequence[str], change: Callable[[Doc], Change | None], *, cached: bool = False) -> None:
        """Change documents, each from what it says now. ``cached``: what it said last is worth a try."""
        docs = {job_id: self._docs[job_id] for job_id in ids if job_id in self._docs} if cached else {}
        left = list(ids)
        for _ in range(_TRIES):
            docs.update(self._read([job_id for job_id in left if job_id not in docs]))
            changes = [made for job_id in left for made in (change(docs.get(job_id) or Doc(job_id, 0)),) if made]
            written = self._put(changes)
            for made, done in zip(changes, written, strict=True) if self._claimed else ():
                claimed = self._claimed.get(made.doc.id)
                # Runs that went on or ended meanwhile leave a decision about later ones as it is.
                if (
                    done
                    and claimed is not None
                    and claimed.doc.revision == made.old
                    and made.doc.uid == claimed.doc.uid
                ):
                    self._claimed[made.doc.id] = claimed._replace(doc=made.doc)
            if all(written):
                return
            left = [made.doc.id for made, done in zip(changes, written, strict=True) if not done]
            docs = {}
        raise JobStoreError(
            self._alias, f"{len(left)} jobs were changed by somebody else {_TRIES} times", transient=True
        )

    def _fetch_payloads(self, docs: Sequence[Doc]) -> Mapping[str, bytes | Oversized | None]:
        """The payloads of documents that were fetched without, by id."""
        return {doc.id: doc.payload for doc in self._read([doc.id for doc in docs]).values()}


class _Errors:
    """See ``DocumentAccess._errors``."""

    # A class, because a generator costs three times as much, at each job that is added.
    __slots__ = ("_doing", "_store")

    def __init__(self, store: DocumentAccess, doing: str) -> None:
        self._store = store
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        store = self._store
        if isinstance(error, JobStoreInUseError):
            store._take_over()  # what it leaves is not ours
        elif isinstance(error, Exception) and not isinstance(error, JobStoreError):
            said = store._explain(error)
            if said is not None:
                message, transient = said
                raise JobStoreError(
                    store._alias, f"it failed to {self._doing}: {message}", transient=transient
                ) from error
