"""Jobs in Redis (or Valkey), through redis-py. What is kept, and why a run is made once, is in ``_documents``.

**Keys**, all of them beginning with ``jobs_key`` or ``run_times_key``. ``…jobs``: a hash of the documents by job id, each its
revision and JSON text, and ``…jobs:payloads`` of their payloads. ``…run_times`` and ``…run_times:elapsed``: sorted sets of what
is due, by the wall clock and by elapsed time, and ``:idle`` of what is not scheduled; ``:of``: which ``jobs_key`` they go with.
``…jobs:live``, ``:broken``: sets of ids.
``…jobs:runs``: a hash of run records, found by the sorted sets ``:by_time``, ``:by_job`` and ``:failed`` (``_redis_history``).
``…jobs:meta``: schema version and notes. ``…jobs:owner``: who has the store open (``_redis_owner``). The driver's errors are in
``_redis_client``.

**One script for each batch** (``_redis_scripts``), or one transaction (``_redis_adding``): documents, indexes and records change
together, or not at all, and only for who owns the store. On a Redis Cluster all keys have to be on one node: give both names the
same tag in braces, such as ``{schedcore}.jobs``.

What Redis itself may lose is for its settings to say: with ``appendfsync everysec`` the last second of a machine that
crashes, without persistence everything.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from schedcore.errors import ConfigurationError, JobStoreError, MissingExtraError
from schedcore.jobstores._documents_doc import DAMAGED, Change, Doc, is_text, unpack_doc
from schedcore.jobstores._payload import Oversized
from schedcore.jobstores._redis_scripts import DUE, GET, LEAVE
from schedcore.jobstores.base import Due, StoreTraits
from schedcore.serializers.base import Serializer
from schedcore.triggers._zones import FIRST_US, LAST_US

try:
    import redis

    from schedcore.jobstores._redis_adding import are_new, pack_jobs, pack_look
    from schedcore.jobstores._redis_batch import pack_batch
    from schedcore.jobstores._redis_client import client_of_users, explained, make_client
    from schedcore.jobstores._redis_history import History
    from schedcore.jobstores._redis_owner import SCHEMA_VERSION
    from schedcore.jobstores._redis_upgrade import is_done, upgrade
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'redis'", "redis") from error

__all__ = ["SCHEMA_VERSION", "RedisJobStore"]

_logger = logging.getLogger("schedcore.jobstores")

# Bytes of a document at most: what it says itself, and so many payloads, twice as long, of earlier jobs with runs that are live.
_DOC_BYTES = 1024 * 1024
_PAST_PAYLOADS = 4
_ANY_BYTES = 1 << 40
# Changes written by one call of the script, unless they are together.
_PIECE = 250
# What a document begins with, as the script ``WRITE`` reads it. What begins otherwise has no revision: 0.
_REVISION = re.compile(rb"([1-9][0-9]{0,17}) ")


class RedisJobStore(History):
    """Keeps jobs and runs in a Redis database.

    :param db: the number of the database.
    :param jobs_key: what the names of the keys of jobs and runs begin with.
    :param run_times_key: what the names of the keys of due times begin with.
    :param client: a ``redis.Redis``, or text such as ``"module:name"`` that leads to one, in the place of ``db`` and
        ``connect_args``. It is never closed, and waits for an answer as long as it was made to: give it a ``socket_timeout``.
    :param connect_args: arguments for ``redis.Redis``: ``host``, ``port``, ``password``, … Without them it is the server on this
        machine. ``socket_timeout`` and ``socket_connect_timeout`` are 10 s unless given.

    ``serializer``, ``pickle_protocol``, ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as
    for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _writes_at_once: ClassVar[bool] = True
    _written_at_once: ClassVar[int] = 100 * _PIECE

    def __init__(
        self,
        db: int = 0,
        jobs_key: str = "schedcore.jobs",
        run_times_key: str = "schedcore.run_times",
        pickle_protocol: int | None = None,
        *,
        client: redis.Redis | str | None = None,
        serializer: str | Serializer = "json",
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
        history: int = 100,
        history_age: float | None = 30 * 86400.0,
        read_only: bool = False,
        **connect_args: Any,
    ) -> None:
        super().__init__(
            serializer=serializer,
            pickle_protocol=pickle_protocol,
            signing_key=signing_key,
            allowed_refs=allowed_refs,
            history=history,
            history_age=history_age,
            read_only=read_only,
        )
        for name, key in (("jobs_key", jobs_key), ("run_times_key", run_times_key)):
            if not key or not is_text(key):
                raise ConfigurationError(f"{name} must be text, not {key!r}")
        if jobs_key == run_times_key:
            raise ConfigurationError(f"jobs_key and run_times_key must differ; both are {jobs_key!r}")
        self._owns_client = client is None
        self._redis = make_client(db, connect_args) if client is None else client_of_users(client, connect_args)
        self._jobs_key = jobs_key
        self._run_times_key = run_times_key
        self._payloads_key = f"{jobs_key}:payloads"
        self._due_keys = {False: run_times_key, True: f"{run_times_key}:elapsed"}
        self._idle_key = f"{run_times_key}:idle"
        self._live_key = f"{jobs_key}:live"
        self._broken_key = f"{jobs_key}:broken"
        self._name_owner()
        self._name_history()
        # Of the script ``WRITE``.
        self._keys = [
            self._owner_key,
            self._meta_key,
            self._jobs_key,
            self._payloads_key,
            *self._due_keys.values(),
            self._idle_key,
            self._live_key,
            self._broken_key,
            *self._history_keys,
        ]
        self._due = self._redis.register_script(DUE)
        self._get = self._redis.register_script(GET)
        self._leave = self._redis.register_script(LEAVE)

    def __repr__(self) -> str:
        where = self._redis.connection_pool.connection_kwargs
        return (
            f"<{type(self).__name__} (host={where.get('host')!r}, db={where.get('db')!r}, jobs_key={self._jobs_key!r})>"
        )

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._check_keys(there=self._is_there())
        self._ask_for_rights()
        self._take()
        self._keep()
        while (holder := self._upgrade()) is not None:
            if holder:
                raise self._in_use(holder)
            self._take()  # the lease ran out

    def _upgrade(self) -> bytes | None:
        return upgrade(self._redis, self._get, self._jobs_key, self._owner_key, self._history_keys, self._owner.text)

    def _mend(self) -> None:
        with self._writing("look for jobs that no key of run times has"):
            self._find_lost()
        super()._mend()

    def _find_lost(self) -> None:
        """Put jobs back in their places whose key was evicted, or deleted by somebody: nothing else would find them there."""
        lines = [*self._due_keys.values(), self._idle_key]
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hlen(self._jobs_key)
            for key in lines:
                pipeline.zcard(key)
            there, *placed = pipeline.execute()
        # Documents without a job, of which live runs are left, have no place.
        if there <= sum(placed) or there <= sum(placed) + sum(not doc.uid for doc in self._fetch_live()):
            return
        names = set(self._redis.hkeys(self._jobs_key)).difference(*(self._redis.zrange(key, 0, -1) for key in lines))
        lost = [doc for doc in self._fetch_bare(sorted(names)) if doc.uid]
        self._put(
            [
                Change(doc.revision, doc._replace(revision=doc.revision + 1), keeps_payload=True)
                for doc in lost
                if doc.reason != DAMAGED
            ]
        )
        # What somebody else wrote over a document stays as it is, and is listed.
        damaged = {doc.id: 0 for doc in lost if doc.reason == DAMAGED}
        if damaged:
            self._redis.zadd(self._idle_key, damaged)
        if lost:
            _logger.warning(
                "job store %r: %d jobs were in none of the keys %s, and are again; does the server evict keys, or did somebody "
                "delete one?", self._alias, len(lost), ", ".join(map(repr, lines)),
            )  # fmt: skip

    def _ask_for_rights(self) -> None:
        """Fail now where the account may not send what is sent later: scripts, one way for reading and one for writing, and
        transactions.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.eval("return 1", 0)
            pipeline.script_load(GET)
            pipeline.execute_command("UNWATCH")
            pipeline.execute()

    def _open_to_read(self) -> None:
        if not self._is_there():
            raise self._nothing_there(f"under {self._jobs_key!r}")
        if self._is_older() or not is_done(self._redis, self._jobs_key):
            raise JobStoreError(
                self._alias,
                f"the keys under {self._jobs_key!r} are of an older release of schedcore; a scheduler that opens them changes "
                f"them to schema version {SCHEMA_VERSION}",
            )
        self._whose_run_times()

    def _close(self) -> None:
        self._let_go()
        if self._owns_client:
            self._redis.close()

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        keys = f"{self._jobs_key!r} and {self._run_times_key!r}"
        return explained(
            error, f"+@read +@write +@scripting +@transaction +@connection, on keys that begin with {keys}"
        )

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        if not ids:
            return {}
        most = (self._doc_bytes, self.codec.max_bytes or _ANY_BYTES)
        found = self._get(keys=[self._jobs_key, self._payloads_key], args=[*most, *ids])
        return {
            job_id: _doc(job_id, value, payload)
            for job_id, value, payload in zip(ids, found[::2], found[1::2], strict=True)
            if value is not None
        }

    @property
    def _doc_bytes(self) -> int:
        most = self.codec.max_bytes
        return _ANY_BYTES if most is None else _DOC_BYTES + _PAST_PAYLOADS * most

    def _fetch_bare(self, ids: Sequence[bytes]) -> list[Doc]:
        values = self._get(keys=[self._jobs_key], args=[self._doc_bytes, *ids]) if ids else []
        return [_doc(_id(job_id), value, None) for job_id, value in zip(ids, values, strict=True) if value is not None]

    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        docs: list[Doc] = []
        others: list[bytes] = []
        names = self._due(keys=[self._due_keys[elapsed]], args=[upto_us, limit])
        # A name that is no text, as a stranger may write it, is looked up by its bytes.
        for name in json.loads(names.decode("utf-8", "surrogateescape")):
            # Who looks for due jobs has written them last. Should a stranger have changed one, the commit is refused.
            doc = self._docs.get(name)
            if doc is not None and doc.due_us is not None and doc.due_us <= upto_us and doc.elapsed is elapsed:
                docs.append(doc)
            else:
                others.append(name.encode("utf-8", "surrogateescape"))
        if others:
            docs += self._due_among(others, elapsed, upto_us)
        return docs

    def _due_among(self, names: Sequence[bytes], elapsed: bool, upto_us: int) -> list[Doc]:
        """Those of the jobs in a timeline that are due. Others are put where they belong: somebody else deleted or altered their
        documents or places, which left like that would be looked at again and again.
        """
        found = self._fetch_bare(names)
        if len(found) == len(names) and all(_is_due(doc, elapsed, upto_us) and "\ufffd" not in doc.id for doc in found):
            return found
        found = self._fetch_bare([name for name in names if _id(name).encode() == name])
        there = {doc.id for doc in found}
        nobodys = [name for name in names if _id(name) not in there]
        if nobodys:
            self._leave(keys=[self._owner_key, self._due_keys[elapsed]], args=[self._owner.text, *nobodys])
        docs: list[Doc] = []
        for doc in found:
            here = doc._replace(elapsed=elapsed, due_us=upto_us)
            if _is_due(doc, elapsed, upto_us):
                docs.append(doc)
            elif doc.due_us is None and doc.reason == DAMAGED:
                docs.append(here)
            # A score has 53 bits. What is beyond them is in the document, and is no reason to write it.
            elif doc.due_us is None or doc.elapsed is not elapsed or float(doc.due_us) > upto_us:
                self._remember(here)
                self._put([Change(doc.revision, doc._replace(revision=doc.revision + 1), keeps_payload=True)])
        return docs

    def next_due(self) -> Due:
        if self._claimed:
            return super().next_due()
        with self._using("look for the next job"):
            pipeline = self._redis.pipeline(transaction=False)
            for elapsed in (False, True):
                pipeline.zrange(self._due_keys[elapsed], 0, 0, withscores=True)
            return Due(*(_instant(found[0][1]) if found else None for found in pipeline.execute()))

    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        found = self._redis.zrange(self._due_keys[elapsed], 0, limit - 1, withscores=True)
        return [(_instant(score), _id(job_id)) for job_id, score in found]

    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        if after is None or after[0] is not None:
            due = [self._page_of(key, after, limit) for key in self._due_keys.values()]
            docs = sorted((doc for some in due for doc in some), key=lambda doc: (doc.due_us or 0, doc.id))
            if limit is not None and len(docs) >= limit:
                return docs[:limit]
            after = None
        else:
            docs = []
        left = -1 if limit is None else limit - len(docs)
        start = "-" if after is None else b"(" + after[1].encode()
        ids = self._redis.zrangebylex(self._idle_key, start, "+", 0, left)
        return [*docs, *self._fetch_bare(ids)]

    def _page_of(self, key: str, after: tuple[int | None, str] | None, limit: int | None) -> list[Doc]:
        first = 0
        if after is not None:
            rank = self._redis.zrank(key, after[1])
            first = self._redis.zcount(key, "-inf", f"({after[0]}") if rank is None else rank
        docs: list[Doc] = []
        while True:
            last = -1 if limit is None else first + limit - 1
            ids = self._redis.zrange(key, first, last)
            docs += [
                doc
                for doc in self._fetch_bare(ids)
                if after is None or (doc.due_us or 0, doc.id) > (after[0], after[1])
            ]
            if limit is None or not ids or len(docs) >= limit:
                return docs
            first += len(ids)

    def _fetch_live(self) -> Sequence[Doc]:
        return self._fetch_bare(list(self._redis.smembers(self._live_key)))

    def _fetch_broken(self) -> Sequence[Doc]:
        return self._fetch_bare(list(self._redis.smembers(self._broken_key)))

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        written = [True] * len(changes)
        left = list(range(len(changes)))
        adds = together and len(changes) >= _PIECE and are_new(changes)
        while left:
            size = len(left) if together else _PIECE
            pieces = [left[first : first + size] for first in range(0, len(left), size)]
            with self._telling():
                if adds:
                    answers, adds = [self._add(changes)], False  # what that does not decide the script does
                else:
                    answers = self._send([[changes[number] for number in piece] for piece in pieces])
                for answer in answers:
                    if isinstance(answer, bytes) and answer:
                        raise self._in_use(answer)
            left = []
            for piece, answer in zip(pieces, answers, strict=True):
                if answer == b"":
                    left += piece
                elif answer != 1:
                    # The script is given last what goes.
                    given = sorted(piece, key=lambda number: changes[number].doc.empty)
                    for place in answer:
                        written[given[place - 1]] = False
                    left += [number for number in piece if written[number] and not together]
            if b"" in answers:
                # Nobody's: its lease ran out while the server, or this process, stood still; or something changed.
                self._begin_anew(self._take())
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        return True

    def _send(self, pieces: Sequence[Sequence[Change]]) -> list[Any]:
        """What the script says to each piece. The next one is put together while Redis works at the last.

        Nothing is sent twice: of a write that was made the second one is told that it came too late.
        """
        with self._connected() as connection:
            for piece in pieces:
                connection.send_packed_command([self._command(piece)])
            return [connection.read_response() for _ in pieces]

    def _add(self, changes: Sequence[Change]) -> Any:
        """The same for many new jobs; b"" also if something has changed meanwhile."""
        with self._connected() as connection:
            connection.send_packed_command([pack_look(changes, self._keys, self._owner.text)])
            command, replies = pack_jobs(changes, self._keys)
            connection.read_response()
            answer = connection.read_response()
            if answer != 1:
                connection.send_command("UNWATCH")
                connection.read_response()
                return answer
            connection.send_packed_command([command])
            for _ in range(replies):
                connection.read_response()
            made = connection.read_response()
            for one in made or ():
                if isinstance(one, Exception):
                    raise one
            return b"" if made is None else 1

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        except BaseException:
            connection.disconnect()  # or who has it next is given the answers that are on their way
            raise
        finally:
            pool.release(connection)

    def _command(self, changes: Sequence[Change]) -> bytes:
        return pack_batch(changes, self._known, self._keys, self._owner.text, self._history_limit)

    # -- notes --------------------------------------------------------------------------------------------------------------

    def _fetch_note(self, name: str) -> str | None:
        found = self._redis.hget(self._meta_key, f"note: {name}")
        return None if found is None else found.decode("utf-8", "replace")

    def _write_note(self, name: str, value: str) -> None:
        self._redis.hset(self._meta_key, f"note: {name}", value)


def _is_due(doc: Doc, elapsed: bool, upto_us: int) -> bool:
    return doc.elapsed is elapsed and doc.due_us is not None and doc.due_us <= upto_us


def _id(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _instant(score: float) -> int:
    """That of a place in a timeline: somebody else's may be anywhere, infinity included."""
    return int(min(max(score, FIRST_US), LAST_US))


# What was fetched; of what is too long its size and its beginning.
_Fetched = bytes | list[Any] | None


def _doc(job_id: str, value: bytes | list[Any], payload: _Fetched) -> Doc:
    # The beginning has the revision, by which the document can be written again, and is else as good as a damaged one.
    text: bytes = value[1] if isinstance(value, list) else value
    found = _REVISION.match(text)
    definition = Oversized(payload[0]) if isinstance(payload, list) else payload
    if found is None:
        return unpack_doc(job_id, 0, text, definition)
    return unpack_doc(job_id, int(found[1]), text[found.end() :], definition)
