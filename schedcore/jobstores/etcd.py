"""Jobs in etcd (3.4 or newer), through etcd3gw. What is kept, and why a run is made once, is in ``_keyed`` and ``_documents``.

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

import copy
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError, MissingExtraError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._documents_doc import is_text
from schedcore.jobstores._keyed import KeyedStore
from schedcore.jobstores._keyed_keys import DIGITS, OFFSET_US, Key, Kind, Named, Op, Step, Tree
from schedcore.jobstores._owner import LEASE_S, Owner, Renewal, in_use, is_gone
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from etcd3gw.client import Etcd3Client
    from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception
    from requests.utils import get_netrc_auth, select_proxy

    from schedcore.jobstores._etcd_session import PlainSession
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'etcd'", "etcd") from error

__all__ = ["SCHEMA_VERSION", "EtcdJobStore"]

SCHEMA_VERSION = "1"

# Seconds. A server that does not answer for so long is away.
_TIMEOUT_S = 10.0
# Keys asked for in one go: a transaction may have 128 operations, and those in one that is inside of it count with its own.
_WIDTH = 60
_PAGE = 1000
# Times that the owner's key may change hands while it is looked at.
_TRIES = 10
# Instants of these are counted backwards: the latest has the smallest key.
_BACKWARDS = frozenset({"history", "failed"})
_TOP = 10**DIGITS - 1

_Compare = dict[str, Any]


class EtcdJobStore(KeyedStore):
    """Keeps jobs and runs in etcd.

    :param path: what the names of all keys begin with.
    :param client: an ``etcd3gw.Etcd3Client``, or text such as ``"module:name"`` that leads to one, in the place of
        ``connect_args``.
    :param close_connection_on_exit: whether the session of ``client`` is closed when the store is.
    :param connect_args: arguments for ``etcd3gw.Etcd3Client``: ``host``, ``port``, ``protocol``, ``ca_cert``, … Without them it
        is the server on this machine. ``timeout`` is 10 s unless given.

    A definition may have about 1.4 MB, which is what etcd takes in one request. ``serializer``, ``pickle_protocol``,
    ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _keeper: ClassVar[str] = "etcd"
    _payload_limit: ClassVar[int | None] = 1_400_000
    _max_steps: ClassVar[int] = 60
    _max_ops: ClassVar[int] = 60
    _max_bytes: ClassVar[int] = 1_000_000

    def __init__(
        self,
        path: str = "/schedcore",
        client: Etcd3Client | str | None = None,
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
        # A session is for one thread at a time; that which renews the lease has calls of its own.
        self._calling = threading.Lock()
        self._owner_key = self._prefix + b"owner"
        self._term_key = self._prefix + b"term"
        self._schema_key = self._prefix + b"schema"
        self._owner = ""
        self._owner_revision = ""  # at which its key was written
        self._term = 0
        self._names_of_mine: set[str] = set()
        self._lease = "0"
        self._renewal: Renewal | None = None

    def __repr__(self) -> str:
        client = self._client
        return f"<{type(self).__name__} (host={client.host!r}, port={client.port!r}, path={self._path!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._owner = ""
        self._term = 0
        self._names_of_mine = set()
        there = [] if self._is_there() else self._range(self._prefix, _end(self._prefix), 3, keys_only=True)
        # Who has the store open now may not have come to write its version.
        if any(_name(kv) not in (self._owner_key, self._term_key) for kv in there):
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
        found = self._range(self._schema_key)
        version = _value(found[0]) if found else None
        if version is not None and version != SCHEMA_VERSION.encode():
            raise JobStoreError(
                self._alias,
                f"the keys under {self._path!r} have schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return version is not None

    def _take(self) -> bool:
        """See the base class. Names of this object's are its own; of somebody else's only that of a dead process is taken."""
        lease = str(self._post("/lease/grant", {"TTL": int(LEASE_S), "ID": 0})["ID"])
        mine = Owner().text
        holder: str | None = self._owner or None
        for _ in range(_TRIES):
            # Whoever had it meanwhile may have been of another release.
            schema = self._is_there()
            known = _has_value(self._schema_key, SCHEMA_VERSION) if schema else _has_version(self._schema_key, 0)
            there = _has_version(self._owner_key, 0) if holder is None else _has_value(self._owner_key, holder)
            # Remembered before it is written: whether it was may remain unknown.
            self._names_of_mine.add(mine)
            puts = [
                _put(self._owner_key, mine.encode(), lease=lease),
                _put(self._term_key, mine.encode(), prev_kv=True),
            ]
            answer = self._transaction([known, there], puts, [_get(self._owner_key)])
            if answer.get("succeeded"):
                before = int(answer["responses"][1]["response_put"].get("prev_kv", {}).get("version", 0))
                last, self._term = self._term, before + 1
                self._owner, self._lease, self._names_of_mine = mine, lease, {mine}
                self._owner_revision = str(answer["header"]["revision"])
                if not before:
                    # All that was there has gone: who comes next has to know what is written from now on.
                    self._note_schema()
                return before == last
            found = _found(answer["responses"][0])
            holder = _value(found[0]).decode("utf-8", "replace") if found else None
            # One without a lease was copied from elsewhere.
            leased = bool(found) and "lease" in found[0]
            if leased and holder is not None and holder not in self._names_of_mine and not is_gone(holder):
                raise self._in_use(holder)
        raise JobStoreError(self._alias, "others take the store and leave it all the time", transient=True)

    def _note_schema(self) -> None:
        self._transaction([self._is_mine()], [_put(self._schema_key, SCHEMA_VERSION.encode())])

    def _is_mine(self) -> _Compare:
        # The name would say the same, in ten times the bytes, with each write.
        return {"key": _text(self._owner_key), "target": "MOD", "mod_revision": self._owner_revision}

    def _renew(self) -> None:
        answer = self._post("/lease/keepalive", {"ID": self._lease})
        if not int(answer.get("result", {}).get("TTL", 0)):
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
        except (Etcd3Exception, OSError):
            pass  # it ends by itself
        if self._closes_client:
            _close_session(self._client.session)

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if not isinstance(error, Etcd3Exception | OSError):
            return None
        text = error_text(error)
        detail = getattr(error, "detail_text", None)
        if detail:
            text = f"{type(error).__name__}: {_said(str(detail))}"
        # OSError is the base of what its HTTP library raises, answers that were cut short among them.
        away = isinstance(error, ConnectionFailedError | ConnectionTimeoutError | OSError)
        return text, away or _has_no_room(error)

    def _was_refused(self, error: Exception) -> bool:
        return _has_no_room(error)

    # -- the gateway ------------------------------------------------------------------------------------------------------

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        with self._calling:
            client = self._client
            answer = client.post(client.get_url(path), json=body)
        if not isinstance(answer, dict) or "error" in answer:
            raise Etcd3Exception(f"not an answer of etcd: {answer!r:.200}")
        return answer

    def _transaction(
        self, compare: Sequence[_Compare], success: Sequence[Any], failure: Sequence[Any] = ()
    ) -> dict[str, Any]:
        body = {"compare": compare, "success": success}
        return self._post("/kv/txn", {**body, "failure": failure} if failure else body)

    def _range(self, key: bytes, end: bytes = b"", limit: int = 0, *, keys_only: bool = False) -> list[dict[str, Any]]:
        body: dict[str, Any] = {"key": _text(key), "keys_only": keys_only, "limit": limit}
        if end:
            body["range_end"] = _text(end)
        found: list[dict[str, Any]] = self._post("/kv/range", body).get("kvs", [])
        return found

    def _get_all(self, keys: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        """What is there of some keys."""
        for first in range(0, len(keys), _WIDTH * _WIDTH):
            some = [_get(key) for key in keys[first : first + _WIDTH * _WIDTH]]
            for answer in _ungrouped(self._transaction([], _grouped(some)).get("responses", [])):
                yield from _found(answer)

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
            found[_name(kv)[start:].decode()] = _value(kv), int(kv["version"])
        return found

    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        names = {self._key(key): key for key in keys}
        return {names[_name(kv)]: _value(kv) for kv in self._get_all(list(names))} if names else {}

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
                yield _name(kv)
            if len(found) < page:
                return
            start = _name(found[-1]) + b"\0"
            page = _PAGE

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _apply(self, steps: Sequence[Step], together: bool, sent: None = None) -> list[bool]:
        parts = [self._parts_of(step) for step in steps]
        fits = [fit for part_fits, _ in parts for fit in part_fits]
        answers = self._as_owner(fits, _grouped([request for _, requests in parts for request in requests]))
        done = [answers is not None] * len(steps)
        if answers is not None:
            flat = _ungrouped(answers)
            told = [list(islice(flat, len(requests)))[-1:] for _, requests in parts]
        elif together or len(steps) == 1:
            return done
        else:
            # Somebody else changed one of them.
            each = [{"request_txn": {"compare": fits, "success": requests}} for fits, requests in parts]
            made = [answer["response_txn"] for answer in self._as_owner([], each) or ()]
            done = [bool(one.get("succeeded")) for one in made]
            told = [one.get("responses", [])[-1:] for one in made]
        for step, fine, last in zip(steps, done, told, strict=True):
            if fine and step.tell and step.doc_id is not None:
                there = _found(last[0])
                self._learn_ledger(step.doc_id, _value(there[0]) if there else None)
        return done

    def _parts_of(self, step: Step) -> tuple[list[_Compare], list[Any]]:
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

    def _as_owner(self, compare: Sequence[_Compare], success: Sequence[Any]) -> list[Any] | None:
        """The answers to requests that are made if the store is ours and the comparisons hold; None: one of those does not."""
        answer = self._transaction([self._is_mine(), *compare], success)
        if answer.get("succeeded"):
            answers: list[Any] = answer.get("responses", [])
            return answers
        found = self._range(self._owner_key)
        holder = _value(found[0]).decode("utf-8", "replace") if found else None
        if holder == self._owner and found[0]["mod_revision"] == self._owner_revision:
            return None
        if holder is not None and holder != self._owner:
            raise self._in_use(holder)
        # Nobody's: its lease ran out while the server, or this process, stood still. Or somebody put our own name there.
        self._begin_anew(self._take())
        return self._as_owner(compare, success)

    def _request(self, op: Op) -> dict[str, Any]:
        key = self._key(op.key)
        return _delete(key) if op.verb == "delete" else _put(key, op.value)


# --- the gateway's JSON: bytes are in Base64, large numbers are text, and what is zero or empty is left out ---


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _name(kv: Mapping[str, Any]) -> bytes:
    return b64decode(kv["key"])


def _value(kv: Mapping[str, Any]) -> bytes:
    return b64decode(kv.get("value", ""))


def _found(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["response_range"].get("kvs", [])
    return found


def _end(prefix: bytes) -> bytes:
    """The first key after all that begin with something that ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _grouped(requests: Sequence[Any]) -> Sequence[Any]:
    """Requests as one transaction may have them: a few side by side, many in transactions inside of it."""
    if len(requests) <= 2 * _WIDTH:
        return requests
    return [{"request_txn": {"success": requests[at : at + _WIDTH]}} for at in range(0, len(requests), _WIDTH)]


def _ungrouped(answers: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The answers to requests that were grouped."""
    for answer in answers:
        if "response_txn" in answer:
            yield from answer["response_txn"].get("responses", [])
        else:
            yield answer


def _get(key: bytes) -> dict[str, Any]:
    return {"request_range": {"key": _text(key)}}


def _put(key: bytes, value: bytes, **more: object) -> dict[str, Any]:
    """``more``: ``lease``; ``prev_kv=True``: what was there before is in the answer."""
    put = {"key": _text(key), **more}
    if value:
        put["value"] = _text(value)
    return {"request_put": put}


def _delete(key: bytes) -> dict[str, Any]:
    return {"request_delete_range": {"key": _text(key)}}


def _has_value(key: bytes, value: str) -> _Compare:
    return {"key": _text(key), "target": "VALUE", "value": _text(value.encode())}


def _has_version(key: bytes, version: int) -> _Compare:
    return {"key": _text(key), "version": str(version)}


def _has_no_room(error: Exception) -> bool:
    """Whether the server has as much as it may have. Until somebody makes room and disarms its alarm it takes no writes."""
    return isinstance(error, Etcd3Exception) and "database space exceeded" in str(error.detail_text or error)


def _said(detail: str) -> str:
    """What the server says of an error, which comes as JSON text."""
    try:
        data = json.loads(detail)
    except ValueError:
        return detail[:500]
    return str(data.get("message") or data.get("error") or detail)[:500] if isinstance(data, dict) else detail[:500]


def _make_client(options: Mapping[str, Any]) -> Etcd3Client:
    try:
        client = Etcd3Client(**{"timeout": _TIMEOUT_S, **options})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the etcd client cannot be made: {error}") from error
    session, url = client.session, f"{client.protocol}://{client.host}:{client.port}/"
    # What the environment says (proxies, certificates, passwords) is looked up once. It would take a third of each call's time.
    found = session.merge_environment_settings(url, {}, False, None, None)
    session.proxies, session.cert = found["proxies"], found["cert"]
    if session.verify is True:  # requests lets REQUESTS_CA_BUNDLE win over ca_cert=
        session.verify = found["verify"]
    if session.auth is None:
        session.auth = get_netrc_auth(url)
    session.trust_env = False
    plain = client.protocol == "http" and session.auth is None and select_proxy(url, session.proxies) is None
    if plain and options.get("session") is None:
        client.session = PlainSession(client.host, client.port)
    return client


def _close_session(session: Any) -> None:
    """Close it, and its connections: it leaves them to the garbage collector, and errors that somebody keeps keep them, too."""
    for adapter in session.adapters.values():
        pools = adapter.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118  # it can be asked for these, and refuses to be walked through
            pools[key].close()
        adapter.close()
    session.close()


def _given_client(client: Etcd3Client | str, options: Mapping[str, Any]) -> Etcd3Client:
    found: Etcd3Client = given_client(client, options, lambda it: isinstance(it, Etcd3Client), "an etcd3gw.Etcd3Client")
    if found.timeout is None:
        # The same session, and no call that waits for ever.
        found = copy.copy(found)
        found.timeout = _TIMEOUT_S
    return found
