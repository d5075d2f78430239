"""Jobs in etcd (3.4 or newer), over gRPC. What is kept, and why a run is made once, is in ``_keyed`` and ``_documents``.

**Keys**, all of them beginning with ``path``. ``jobs/<id>``: a document, as JSON text, and behind it the definition; its
revision is what etcd calls the version of the key. ``payloads/<uid>``: a definition that is large. ``wall/…``, ``elapsed/…``:
what is due, ``<instant, 18 digits>/<id>``; ``idle/<id>``: what is not scheduled. ``live/<id>``, ``broken/<id>``. ``history/…``,
``failed/…``: run records, the latest first, because etcd reads in one direction only; ``runs/<id>``: which of them are the job's.
``notes/…``, ``schema``, ``owner`` and ``term``.

**One transaction for many jobs** compares the owner and the versions of all documents, which cost less side by side. If a job was
changed since, there is a second one, and in it one for each job with its own comparison: so that job is left out, and the others
are written.

**The owner's key** has a lease, and goes with it. ``term`` stays, and its version grows each time that the store is taken: that
tells who lost the lease and takes the store again whether somebody else had it meanwhile.

Each write adds to the history that etcd keeps of all keys until it is compacted, which etcd does not do by itself: start it with
``--auto-compaction-mode=periodic --auto-compaction-retention=1h``, or another program must do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError, MissingExtraError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._documents_doc import is_text
from schedcore.jobstores._keyed import KeyedStore
from schedcore.jobstores._keyed_keys import DIGITS, OFFSET_US, Key, Kind, Named, Op, Step, Tree
from schedcore.jobstores._owner import LEASE_S, Owner, OwnNames, Renewal, in_use, is_gone
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from schedcore.jobstores._etcd_client import EtcdClient, Sent
    from schedcore.jobstores._etcd_http2 import EtcdError
    from schedcore.jobstores._etcd_messages import KeyValue
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'etcd'", "etcd") from error

__all__ = ["SCHEMA_VERSION", "EtcdClient", "EtcdError", "EtcdJobStore"]

SCHEMA_VERSION = "1"

# Keys asked for in one go: a transaction may have 128 operations, and those in one that is inside of it count with its own.
_WIDTH = 60
# Values asked for in one go, each of which may have what etcd takes in one request.
_VALUES = 600
_PAGE = 1000
# Times that the owner's key may change hands while it is looked at.
_TRIES = 10
# Instants of these are counted backwards: the latest has the smallest key.
_BACKWARDS = frozenset({"history", "failed"})
_TOP = 10**DIGITS - 1

_Compare = dict[str, Any]
_Request = dict[str, Any]


class _Sent(NamedTuple):
    """A transaction that was sent, and at which revision its owner's key had been written."""

    call: Sent
    owner_revision: int


class EtcdJobStore(KeyedStore):
    """Keeps jobs and runs in etcd.

    :param path: what the names of all keys begin with.
    :param client: an ``EtcdClient``, or text such as ``"module:name"`` that leads to one, in the place of ``connect_args``.
    :param close_connection_on_exit: whether the connection of ``client`` is closed when the store is.
    :param connect_args: arguments for ``EtcdClient``: ``host``, ``port``, ``ca_cert``, ``user``, … Without them it is the server
        on this machine. ``timeout`` is 10 s unless given.

    A definition may have about 1.4 MB, which is what etcd takes in one request. ``serializer``, ``pickle_protocol``,
    ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _keeper: ClassVar[str] = "etcd"
    _payload_limit: ClassVar[int | None] = 1_400_000
    _max_steps: ClassVar[int] = 60
    _max_ops: ClassVar[int] = 60
    _max_bytes: ClassVar[int] = 1_000_000
    _under_way: ClassVar[int] = 8

    def __init__(
        self,
        path: str = "/schedcore",
        client: EtcdClient | str | None = None,
        close_connection_on_exit: bool = False,
        *,
        serializer: str | Serializer = "json",
        pickle_protocol: int | None = None,
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
        if not is_text(path) or not path.strip("/"):
            raise ConfigurationError(f"path must be text that names something, not {path!r}")
        self._path = path.rstrip("/")
        self._prefix = f"{self._path}/".encode()
        self._client = _make_client(connect_args) if client is None else _given_client(client, connect_args)
        self._closes_client = client is None or close_connection_on_exit
        self._owner_key = self._prefix + b"owner"
        self._term_key = self._prefix + b"term"
        self._schema_key = self._prefix + b"schema"
        self._owner = ""
        self._owner_revision = 0  # at which its key was written
        self._term = 0  # the version of its key when this object took the store
        self._term_there = 0  # and when it was last looked at
        self._names_of_mine = OwnNames()
        self._lease = 0
        self._renewal: Renewal | None = None

    def __repr__(self) -> str:
        client = self._client
        return f"<{type(self).__name__} (host={client.host!r}, port={client.port!r}, path={self._path!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._owner = ""
        self._term = 0
        there = [] if self._is_there() else self._range(self._prefix, _end(self._prefix), 3, keys_only=True)
        # Who has the store open now may not have come to write its version.
        if any(kv.key not in (self._owner_key, self._term_key) for kv in there):
            raise JobStoreError(
                self._alias,
                f"there are keys under {self._path!r} that were not written by schedcore; give another path",
            )
        self._take()
        self._note_schema()
        self._halfway = True
        self._settle()
        self._renewal = Renewal(self._renew, self._alias)

    def _open_to_read(self) -> None:
        if not self._is_there():
            raise self._nothing_there(f"under {self._path!r}")

    def _is_there(self) -> bool:
        """Whether there are keys of ours. Raises for those of another version."""
        answers = self._transaction([], [_get(self._schema_key), _get(self._term_key)]).responses
        found, terms = (answer.response_range.kvs for answer in answers)
        self._term_there = terms[0].version if terms else 0
        version = found[0].value if found else None
        if version is not None and version != SCHEMA_VERSION.encode():
            raise JobStoreError(
                self._alias,
                f"the keys under {self._path!r} have schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return version is not None

    def _take(self) -> bool:
        """See the base class. Of names that are not this object's own, only that of a dead process is taken."""
        lease: int = self._ask("Lease/LeaseGrant", {"TTL": int(LEASE_S)}).ID
        mine = Owner().text
        holder: str | None = self._owner or None
        for _ in range(_TRIES):
            # Whoever had it meanwhile may have been of another release.
            schema = self._is_there()
            known = _has_value(self._schema_key, SCHEMA_VERSION) if schema else _has_version(self._schema_key, 0)
            there = _has_version(self._owner_key, 0) if holder is None else _has_value(self._owner_key, holder)
            # One that comes late finds another one, and does not take what has been given back since.
            same = _has_version(self._term_key, self._term_there)
            # Remembered before it is written: whether it was may remain unknown.
            self._names_of_mine.add(mine)
            puts = [
                _put(self._owner_key, mine.encode(), lease=lease),
                _put(self._term_key, mine.encode(), prev_kv=True),
            ]
            answer = self._transaction([known, there, same], puts, [_get(self._owner_key)])
            if answer.succeeded:
                before = answer.responses[1].response_put.prev_kv
                # One taking of its own may not have been answered since.
                by_me = before.value.decode("utf-8", "replace") in self._names_of_mine
                alone: bool = by_me and before.version <= self._term + 1
                self._term = before.version + 1
                self._owner, self._lease = mine, lease
                self._names_of_mine.keep(mine)
                self._owner_revision = answer.header.revision
                if not before.version:
                    # All that was there has gone: who comes next has to know what is written from now on.
                    self._note_schema()
                return alone
            found = answer.responses[0].response_range.kvs
            holder = found[0].value.decode("utf-8", "replace") if found else None
            # One without a lease was copied from elsewhere.
            leased = bool(found) and bool(found[0].lease)
            if leased and holder is not None and holder not in self._names_of_mine and not is_gone(holder):
                raise self._in_use(holder)
        raise JobStoreError(self._alias, "others take the store and leave it all the time", transient=True)

    def _note_schema(self) -> None:
        self._transaction([self._is_mine()], [_put(self._schema_key, SCHEMA_VERSION.encode())])

    def _is_mine(self) -> _Compare:
        # The name would say the same, in ten times the bytes, with each write.
        return {"target": 2, "key": self._owner_key, "mod_revision": self._owner_revision}

    def _renew(self) -> None:
        if not self._ask("Lease/LeaseKeepAlive", {"ID": self._lease}).TTL:
            self._lease_ran_out()

    def _in_use(self, holder: str) -> JobStoreInUseError:
        return in_use(f"under {self._path!r}", holder, "a path", f"lease ends within {LEASE_S:.0f} s")

    def _close(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        try:
            if self._owner:
                # The lease ends by itself.
                requests = [_delete(self._owner_key), *map(self._request, self._note_ops())]
                self._transaction([self._is_mine()], requests)
        except (EtcdError, OSError):
            pass  # it ends by itself
        if self._closes_client:
            self._client.close()

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if not isinstance(error, EtcdError | OSError):
            return None
        away = isinstance(error, OSError) or error.transient
        return error_text(error), away or _has_no_room(error)

    def _was_answered(self, error: Exception) -> bool:
        return _has_no_room(error)

    # -- asking -----------------------------------------------------------------------------------------------------------

    def _ask(self, name: str, fields: Mapping[str, Any]) -> Any:
        return self._client.call(name, fields)

    def _transaction(
        self, compare: Sequence[_Compare], success: Sequence[_Request], failure: Sequence[_Request] = ()
    ) -> Any:
        return self._ask("KV/Txn", {"compare": compare, "success": success, "failure": failure})

    def _range(self, key: bytes, end: bytes = b"", limit: int = 0, *, keys_only: bool = False) -> Sequence[KeyValue]:
        asked = {"key": key, "range_end": end, "limit": limit, "keys_only": keys_only}
        found: Sequence[KeyValue] = self._ask("KV/Range", asked).kvs
        return found

    def _get_all(self, keys: Sequence[bytes]) -> Iterator[KeyValue]:
        """What is there of some keys."""
        for first in range(0, len(keys), _VALUES):
            some = [_get(key) for key in keys[first : first + _VALUES]]
            for answer in _ungrouped(self._transaction([], _grouped(some)).responses):
                yield from answer.response_range.kvs

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _key(self, key: Key) -> bytes:
        if isinstance(key, Named):
            return self._prefix + f"{key.kind}/{key.name}".encode()
        return self._place(key.tree, key.at_us) + key.name.encode()

    def _place(self, tree: Tree, at_us: int) -> bytes:
        number = at_us + OFFSET_US
        if tree in _BACKWARDS:
            number = _TOP - number
        return self._prefix + f"{tree}/{number:0{DIGITS}}/".encode()

    def _texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        start = len(self._prefix + b"jobs/")
        found: dict[str, tuple[bytes, int]] = {}
        for kv in self._get_all([self._key(Named("jobs", job_id)) for job_id in ids]):
            found[kv.key[start:].decode()] = kv.value, kv.version
        return found

    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        names = {self._key(key): key for key in keys}
        return {names[kv.key]: kv.value for kv in self._get_all(list(names))}

    def _names(self, kind: Kind, after: str = "", limit: int | None = None) -> list[str]:
        prefix = self._prefix + f"{kind}/".encode()
        start = prefix + after.encode() + b"\0" if after else prefix
        keys = self._keys(start, _end(prefix), _PAGE if limit is None else limit)
        found: list[str] = []
        for key in keys:
            found.append(key[len(prefix) :].decode("utf-8", "replace"))
            if limit is not None and len(found) >= limit:
                break
        return found

    def _count_missing_places(self) -> int:
        prefixes = [self._prefix + f"{kind}/".encode() for kind in ("jobs", "idle", "wall", "elapsed")]
        asked = [{"key": prefix, "range_end": _end(prefix), "count_only": True} for prefix in prefixes]
        answers = self._transaction([], [{"request_range": each} for each in asked]).responses
        documents, *places = (answer.response_range.count for answer in answers)
        return int(documents - sum(places))

    def _earliest(
        self, tree: Tree, after: tuple[int, str] | None, upto_us: int | None, count: int
    ) -> Iterator[tuple[int, str]]:
        prefix = self._prefix + f"{tree}/".encode()
        start = prefix if after is None else self._place(tree, after[0]) + after[1].encode() + b"\0"
        end = _end(prefix) if upto_us is None else self._place(tree, upto_us + 1)
        return self._places(tree, start, end, count)

    def _latest(self, tree: Tree, upto_us: int | None) -> Iterator[tuple[int, str]]:
        prefix = self._prefix + f"{tree}/".encode()
        return self._places(tree, prefix if upto_us is None else self._place(tree, upto_us), _end(prefix), _PAGE)

    def _places(self, tree: Tree, start: bytes, end: bytes, count: int) -> Iterator[tuple[int, str]]:
        skip = len(self._prefix) + len(tree) + 1
        for key in self._keys(start, end, count):
            digits, _, name = key[skip:].partition(b"/")
            if len(digits) == DIGITS and digits.isdigit():
                number = int(digits)
                yield (
                    (_TOP - number if tree in _BACKWARDS else number) - OFFSET_US,
                    name.decode("utf-8", "replace"),
                )

    def _keys(self, start: bytes, end: bytes, count: int) -> Iterator[bytes]:
        """Keys of a range in order, read so many at a time."""
        page = max(1, min(count, _PAGE))
        while start < end:
            found = self._range(start, end, page, keys_only=True)
            for kv in found:
                yield kv.key
            if len(found) < page:
                return
            start = found[-1].key + b"\0"
            page = _PAGE

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _send(self, steps: Sequence[Step]) -> _Sent:
        compare, success = self._whole(list(map(self._parts_of, steps)))
        body = {"compare": [self._is_mine(), *compare], "success": success}
        return _Sent(self._client.send("KV/Txn", body), self._owner_revision)

    def _apply(self, steps: Sequence[Step], together: bool, sent: _Sent | None = None) -> list[bool]:
        parts = list(map(self._parts_of, steps))
        answers = self._as_owner(*self._whole(parts), sent)
        done = [answers is not None] * len(steps)
        if answers is not None:
            flat = _ungrouped(answers)
            told = [list(islice(flat, len(requests)))[-1:] for _, requests in parts]
        elif together or len(steps) == 1:
            return done
        else:
            # Somebody else changed one of them.
            each = [{"request_txn": {"compare": fits, "success": requests}} for fits, requests in parts]
            made = [answer.response_txn for answer in self._as_owner([], each) or ()]
            done = [one.succeeded for one in made]
            told = [one.responses[-1:] for one in made]
        for step, fine, last in zip(steps, done, told, strict=True):
            if fine and step.tell and step.doc_id is not None:
                there = last[0].response_range.kvs
                self._learn_ledger(step.doc_id, there[0].value if there else None)
        return done

    def _whole(self, parts: Sequence[tuple[list[_Compare], list[_Request]]]) -> tuple[list[_Compare], list[_Request]]:
        """All steps as one: what has to be so, and what is then done."""
        fits = [fit for part_fits, _ in parts for fit in part_fits]
        return fits, _grouped([request for _, requests in parts for request in requests])

    def _parts_of(self, step: Step) -> tuple[list[_Compare], list[_Request]]:
        """What has to be so for a step, and what is then done; last, where it is to tell of a ledger, that."""
        requests = [self._request(op) for op in step.ops]
        if step.doc_id is None:
            return [], requests
        key = self._key(Named("jobs", step.doc_id))
        if step.text is not None:
            requests.append(_put(key, step.text))
        elif step.old:
            requests.append(_delete(key))
        if step.tell:
            requests.append(_get(self._key(Named("runs", step.doc_id))))
        return [_has_version(key, step.old)], requests

    def _as_owner(
        self, compare: Sequence[_Compare], success: Sequence[_Request], sent: _Sent | None = None
    ) -> Sequence[Any] | None:
        """The answers to requests that are made if the store is ours and the comparisons hold; None: one of those does not.

        ``sent``: what sent them.
        """
        if sent is None:
            mine = self._owner_revision
            answer = self._transaction([self._is_mine(), *compare], success)
        else:
            mine = sent.owner_revision
            answer = self._client.receive(sent.call)
        if answer.succeeded:
            answers: Sequence[Any] = answer.responses
            return answers
        found = self._range(self._owner_key)
        holder = found[0].value.decode("utf-8", "replace") if found else None
        if holder == self._owner and found[0].mod_revision == self._owner_revision:
            # What was sent before the store was taken again can be sent anew.
            return None if mine == self._owner_revision else self._as_owner(compare, success)
        if holder is not None and holder != self._owner:
            raise self._in_use(holder)
        # Nobody's: its lease ran out while the server, or this process, stood still. Or somebody put our own name there.
        self._begin_anew(self._take())
        return self._as_owner(compare, success)

    def _request(self, op: Op) -> _Request:
        key = self._key(op.key)
        return _delete(key) if op.verb == "delete" else _put(key, op.value)


# --- what is asked for ---


def _end(prefix: bytes) -> bytes:
    """The first key after all that begin with something that ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _grouped(requests: list[_Request]) -> list[_Request]:
    """Requests as one transaction may have them: a few side by side, many in transactions inside of it."""
    if len(requests) <= 2 * _WIDTH:
        return requests
    return [{"request_txn": {"success": requests[at : at + _WIDTH]}} for at in range(0, len(requests), _WIDTH)]


def _ungrouped(answers: Iterable[Any]) -> Iterator[Any]:
    """The answers to requests that were grouped."""
    for answer in answers:
        if answer.HasField("response_txn"):
            yield from answer.response_txn.responses
        else:
            yield answer


def _get(key: bytes) -> _Request:
    return {"request_range": {"key": key}}


def _put(key: bytes, value: bytes, **more: object) -> _Request:
    """``more``: ``lease``; ``prev_kv=True``: what was there before is in the answer."""
    return {"request_put": {"key": key, "value": value, **more}}


def _delete(key: bytes) -> _Request:
    return {"request_delete_range": {"key": key}}


def _has_value(key: bytes, value: str) -> _Compare:
    return {"target": 3, "key": key, "value": value.encode()}


def _has_version(key: bytes, version: int) -> _Compare:
    return {"key": key, "version": version}


def _has_no_room(error: Exception) -> bool:
    """Whether the server has as much as it may have. Until somebody makes room and disarms its alarm it takes no writes; that by
    which it notices is made all the same, and answered like this.
    """
    return isinstance(error, EtcdError) and "database space exceeded" in str(error)


def _make_client(options: Mapping[str, Any]) -> EtcdClient:
    try:
        return EtcdClient(**options)
    except (TypeError, ValueError, OSError) as error:
        raise ConfigurationError(f"the etcd client cannot be made: {error}") from error


def _given_client(client: EtcdClient | str, options: Mapping[str, Any]) -> EtcdClient:
    wanted = "a schedcore.jobstores.etcd.EtcdClient"
    found: EtcdClient = given_client(client, options, lambda it: isinstance(it, EtcdClient), wanted)
    return found
