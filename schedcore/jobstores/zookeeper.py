"""Jobs in ZooKeeper, through kazoo. What is kept, and why a run is made once, is in ``_keyed`` and ``_documents``.

**Nodes**, all of them below ``path``. ``jobs/<id>``: a document, as JSON text, and behind it the definition; its revision is the
node's version and 1. ``payloads/<uid>``: a definition that is large; of a very large one ``pieces/<uid>-<tag>-<number>``.
``idle/<id>``: what is not scheduled. ``live/<id>``, ``broken/<id>``. ``runs/<id>``: which records are the job's. ``notes/…``,
``schema``, ``owner``, ``term``. Names are percent-encoded.

**Places in time.** ZooKeeper lists the children of a node all at once and in no order. So what is due (``wall``, ``elapsed``) and
run records (``history``, ``failed``) lie in buckets of about 13 days, in them of 18 minutes, and in them of a second:
``wall/6d4f2/1a3/07c/<instant, 18 digits>-<id>``. A due query lists, from the earliest on, the buckets that have begun; what is
due later costs it nothing. Buckets are made when something comes in, in the same step, and removed when they are empty.

**One transaction for many jobs.** If a job was changed since, ZooKeeper says which one: it is left out, and the others are sent
again.

**The owner** is a node that goes with its session. ``term`` grows each time that the store is taken, and each transaction checks
it: who was cut off for a while and found that nobody came goes on, and who was replaced writes nothing.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, unquote

from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError, MissingExtraError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._keyed import KeyedStore
from schedcore.jobstores._keyed_keys import DIGITS, OFFSET_US, Key, Kind, Named, Op, Step, Timed, Tree
from schedcore.jobstores._owner import Owner, in_use, is_gone
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from kazoo.client import KazooClient, KazooState, TransactionRequest  # type: ignore[import-untyped]
    from kazoo.exceptions import (  # type: ignore[import-untyped]
        AuthFailedError,
        ConnectionClosedError,
        ConnectionLoss,
        KazooException,
        NoAuthError,
        NodeExistsError,
        NoNodeError,
        NotEmptyError,
        OperationTimeoutError,
        RolledBackError,
        RuntimeInconsistency,
        SessionExpiredError,
    )
    from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]

    from schedcore.jobstores._zookeeper_handler import PollingHandler
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'zookeeper'", "zookeeper") from error

__all__ = ["SCHEMA_VERSION", "ZooKeeperJobStore"]

SCHEMA_VERSION = "1"

# Seconds. How long a session outlives its connection, and how long an answer may take.
_TIMEOUT_S = 10.0
# Seconds that a call waits for a connection that is being made again.
_RECONNECT_S = 2.0
# How kazoo tries to: capped, so that a server that was away for long is found soon.
_RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}
_TRIES = 10
# Bits of an instant (microseconds) in a bucket of each level: 13 days, 18 minutes and a second.
_LEVELS = (40, 30, 20)
_TOP_US = 10**DIGITS - 1
# Buckets listed at once, and buckets that are known to be there.
_WIDTH = 64
_BUCKETS = 20_000

_KINDS: tuple[Kind, ...] = ("jobs", "payloads", "runs", "notes", "idle", "live", "broken", "adding", "pieces")
_TREES: tuple[Tree, ...] = ("wall", "elapsed", "history", "failed")
_AWAY = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, ConnectionClosedError, KazooTimeoutError, OSError)


class _Sent(NamedTuple):
    """A transaction that is on its way."""

    call: Any
    wanted: list[tuple[int, Op]]  #: with the number of the step
    buckets: list[str]  #: that are there if it is made
    docs: list[int]  #: the steps whose documents are written
    first_doc: int  #: where these operations begin in the transaction
    first_op: int  #: and where those wanted do


class ZooKeeperJobStore(KeyedStore):
    """Keeps jobs and runs in ZooKeeper.

    :param path: the node below which everything is.
    :param client: a ``kazoo.client.KazooClient``, or text such as ``"module:name"`` that leads to one, in the place of
        ``connect_args``. It is started if it was not.
    :param close_connection_on_exit: whether ``client`` is stopped and closed when the store is.
    :param connect_args: arguments for ``KazooClient``: ``hosts``, ``auth_data``, ``default_acl``, … Without them it is the server
        on this machine. ``timeout``, 10 s unless given, is how long a session outlives its connection, and how long a call
        waits for an answer.

    A definition may have eight million bytes. ZooKeeper takes one million in a request, and so large ones are kept in pieces.
    ``serializer``, ``pickle_protocol``, ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as
    for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _keeper: ClassVar[str] = "ZooKeeper"
    _piece_size: ClassVar[int | None] = 500_000
    _payload_limit: ClassVar[int | None] = 8_000_000
    _max_steps: ClassVar[int] = 250
    _max_ops: ClassVar[int] = 1_000
    _max_bytes: ClassVar[int] = 400_000
    _under_way: ClassVar[int] = 3

    def __init__(
        self,
        path: str = "/schedcore",
        client: KazooClient | str | None = None,
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
        if not isinstance(path, str) or not path.strip("/"):
            raise ConfigurationError(f"path must be text that names something, not {path!r}")
        self._path = f"/{path.strip('/')}"
        self._client: Any = _make_client(connect_args) if client is None else _given_client(client, connect_args)
        self._closes_client = client is None or close_connection_on_exit
        self._timeout_s = float(connect_args.get("timeout", _TIMEOUT_S))
        self._owner_path = f"{self._path}/owner"
        self._term_path = f"{self._path}/term"
        self._schema_path = f"{self._path}/schema"
        self._connected = threading.Event()
        self._made_client = client is None
        self._cut_s = 0.0  # since when there has been no connection, nor a new client's attempt to make one
        self._owner = b""
        self._names_of_mine: set[bytes] = set()
        self._term = -1
        self._buckets: set[str] = set()  # that are there
        self._empty: set[str] = set()  # buckets that were seen to be empty

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (path={self._path!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        there = self._connect()
        if not there:
            strange = set(self._children([self._path])[0]) - {*_KINDS, *_TREES, "owner", "term", "schema"}
            if strange:
                raise JobStoreError(
                    self._alias,
                    f"there are nodes below {self._path!r} that were not written by schedcore; give another path",
                )
            self._lay_out()
        self._take()
        # Other releases may have made the store before there were all of these.
        known = self._children([self._path])[0]
        self._make([f"{self._path}/{name}" for name in (*_KINDS, *_TREES) if name not in known])
        self._halfway = True
        self._settle()

    def _open_to_read(self) -> None:
        if not self._connect():
            raise self._nothing_there(f"below {self._path!r}")

    def _connect(self) -> bool:
        """Whether there are nodes of ours. Raises for those of another version."""
        self._owner = b""
        self._names_of_mine = set()
        self._buckets.clear()
        self._empty.clear()
        client = self._client
        if self._made_client and _threads_are_greenlets():
            raise JobStoreError(
                self._alias,
                "gevent has patched threads, and those of kazoo would run only while this one waits for them; patch with "
                "monkey.patch_all(thread=False, queue=False)",
            )
        client.add_listener(self._state_changed)
        if client.state == KazooState.LOST and not client.connected:
            client.start(self._timeout_s)
        if client.connected:
            self._connected.set()
        schema = self._look([self._schema_path])[0]
        self._check_version(schema)
        return schema is not None

    def _check_version(self, schema: Any) -> None:
        if schema is not None and schema[0] != SCHEMA_VERSION.encode():
            raise JobStoreError(
                self._alias,
                f"the nodes below {self._path!r} have schema version {schema[0]!r}, and this release reads {SCHEMA_VERSION}",
            )

    def _lay_out(self) -> None:
        """Make the nodes that all others are below, and last the one that says that they are there."""
        parts = self._path[1:].split("/")
        above = ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
        self._make([*above, self._term_path, *(f"{self._path}/{name}" for name in (*_KINDS, *_TREES))])
        if self._look([self._term_path])[0] is None:
            raise JobStoreError(
                self._alias, f"the node {self._path} cannot be made: the path that hosts= ends with is not there"
            )
        self._make([self._schema_path], SCHEMA_VERSION.encode())
        self._buckets.clear()
        self._empty.clear()

    def _make(self, paths: Sequence[str], value: bytes = b"") -> None:
        """Make nodes that may be there."""
        for path in paths:
            try:
                self._gather([self._ready().create_async(path, value)])
            except NodeExistsError:
                pass

    def _state_changed(self, state: str) -> None:
        """Called by the client's own thread, which must not wait."""
        if state == KazooState.CONNECTED:
            self._connected.set()
            if self._doubt and self._opened:
                self._client.handler.spawn(self._come_back)
            return
        if self._connected.is_set():
            self._cut_s = time.monotonic()
        self._connected.clear()
        if state == KazooState.LOST:
            # The session is over, and with it the owner's node.
            self._doubt = True

    def _come_back(self) -> None:
        """Take the store again after a session has ended, if nobody is at it who will do so anyway."""
        if self._lock.acquire(blocking=False):
            try:
                if self._opened:
                    self._settle()
            except (JobStoreError, JobStoreInUseError, KazooException, KazooTimeoutError):
                self._doubt = True  # who writes next is told
            finally:
                self._lock.release()

    def _take(self) -> bool:
        """See the base class. Names of this object's are its own; of somebody else's only that of a dead process is taken."""
        mine = Owner().text.encode()
        for _ in range(_TRIES):
            held, term, schema = self._look([self._owner_path, self._term_path, self._schema_path])
            self._check_version(schema)  # whoever had it meanwhile may have been of another release
            if term is None:
                # All that was there was deleted while it was open.
                self._lay_out()
                continue
            transaction = self._ready().transaction()
            if held is not None:
                holder, stat = held
                # One that goes with no session was copied from elsewhere.
                if stat.ephemeralOwner and holder not in self._names_of_mine and not is_gone(holder):
                    raise self._in_use(holder)
                transaction.delete(self._owner_path, stat.version)
            # Remembered before it is written: whether it was may remain unknown.
            self._names_of_mine.add(mine)
            transaction.create(self._owner_path, mine, ephemeral=True)
            transaction.set_data(self._term_path, mine, term[1].version)
            results = self._gather([transaction.commit_async()])[0]
            last = results[-1]
            if not isinstance(last, Exception):
                alone: bool = last.version == self._term + 1
                self._owner, self._term, self._names_of_mine = mine, last.version, {mine}
                return alone
            refused = _first_error(results)
            if refused is not None and isinstance(refused[1], NoAuthError):
                raise refused[1]
        raise JobStoreError(self._alias, "others take the store and leave it all the time", transient=True)

    def _in_use(self, holder: bytes) -> JobStoreInUseError:
        ends = "session ends by itself, after 10 s unless it asked for more"
        return in_use(f"below {self._path!r}", holder, "a path", ends)

    def _close(self) -> None:
        client = self._client
        if self._owner and client.connected:
            try:
                if not self._let_go(self._note_ops()):
                    self._let_go(())
            except (KazooException, KazooTimeoutError, OSError):
                pass  # it ends with its session
        client.remove_listener(self._state_changed)
        self._connected.clear()
        if self._closes_client:
            client.stop()
            client.close()

    def _let_go(self, last: Iterable[Op]) -> bool:
        """Write a last time, and give the store back. Whether that was done."""
        transaction = self._client.transaction()
        transaction.check(self._term_path, self._term)
        transaction.delete(self._owner_path)
        for op in last:
            self._add(transaction, op)
        return _first_error(self._gather([transaction.commit_async()])[0]) is None

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if not isinstance(error, KazooException | KazooTimeoutError | OSError):
            return None
        text = error_text(error)
        if isinstance(error, NoAuthError):
            text += f" (the client needs the rights to create, delete, read and write, cdrw, on {self._path!r} and all below)"
        return text, isinstance(error, _AWAY) and not isinstance(error, AuthFailedError)

    # -- calls ------------------------------------------------------------------------------------------------------------

    def _ready(self) -> Any:
        """The client, when it has a connection."""
        if not self._client.connected and not self._connected.wait(min(_RECONNECT_S, self._timeout_s)):
            self._start_anew()
            raise ConnectionLoss("there is no connection to ZooKeeper")
        return self._client

    def _start_anew(self) -> None:
        """Begin a new session when the last one is over. A server that has lost its data, or was set back to a copy of them, lets
        nobody in who has seen later ones, and kazoo would ask it for ever. A client of the user's is left alone.
        """
        if self._made_client and time.monotonic() > self._cut_s + self._timeout_s:
            self._client.stop()
            self._client.start_async()
            self._cut_s = time.monotonic()

    def _gather(self, calls: Iterable[Any]) -> list[Any]:
        """What calls that are under way give, each within the time for one; None for a node that is not there."""
        found: list[Any] = []
        end_s = time.monotonic() + self._timeout_s
        for call in list(calls):
            try:
                found.append(call.get(True, max(0.01, end_s - time.monotonic())))
            except NoNodeError:
                found.append(None)
            end_s = max(end_s, time.monotonic() + self._timeout_s / 2)
        return found

    def _look(self, paths: Sequence[str]) -> list[Any]:
        """Value and state of nodes; None for those that are not there."""
        client = self._ready()
        return self._gather([client.get_async(path) for path in paths])

    def _children(self, paths: Sequence[str]) -> list[list[str]]:
        client = self._ready()
        return [found or [] for found in self._gather([client.get_children_async(path) for path in paths])]

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _node(self, key: Key) -> str:
        if isinstance(key, Named):
            return f"{self._path}/{key.kind}/{_quoted(key.name)}"
        return f"{self._leaf(key)}/{key.at_us + OFFSET_US:0{DIGITS}}-{_quoted(key.name)}"

    def _leaf(self, key: Timed) -> str:
        """The bucket in which a place is."""
        number = key.at_us + OFFSET_US
        names = [f"{number >> _LEVELS[0]:05x}", *(f"{number >> bits & 1023:03x}" for bits in _LEVELS[1:])]
        return f"{self._path}/{key.tree}/{'/'.join(names)}"

    def _texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        found = self._look([self._node(Named("jobs", job_id)) for job_id in ids])
        return {job_id: (one[0], one[1].version + 1) for job_id, one in zip(ids, found, strict=True) if one is not None}

    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        found = self._look([self._node(key) for key in keys])
        return {key: one[0] for key, one in zip(keys, found, strict=True) if one is not None}

    def _names(self, kind: Kind, after: str = "", limit: int | None = None) -> list[str]:
        names = (_unquoted(name) for name in self._children([f"{self._path}/{kind}"])[0])
        return sorted(name for name in names if name > after)[:limit]

    def _earliest(
        self, tree: Tree, after: tuple[int, str] | None, upto_us: int | None, count: int
    ) -> Iterator[tuple[int, str]]:
        low = 0 if after is None else after[0] + OFFSET_US
        high = _TOP_US if upto_us is None else upto_us + OFFSET_US
        for place in self._places(tree, low, high, min(count, _WIDTH), backwards=False):
            if after is None or place > after:
                yield place

    def _latest(self, tree: Tree, upto_us: int | None) -> Iterator[tuple[int, str]]:
        return self._places(tree, 0, _TOP_US if upto_us is None else upto_us + OFFSET_US, 1, backwards=True)

    def _places(self, tree: Tree, low: int, high: int, width: int, *, backwards: bool) -> Iterator[tuple[int, str]]:
        return self._below([(f"{self._path}/{tree}", 0)], 0, low, high, width, backwards)

    def _below(
        self, buckets: Sequence[tuple[str, int]], level: int, low: int, high: int, width: int, backwards: bool
    ) -> Iterator[tuple[int, str]]:
        """What lies in buckets, in order; each is a path and the number of what is in it, without the bits that differ.

        Several are listed at once: at first as few as may do, then more and more.
        """
        first = 0
        while first < len(buckets):
            some = buckets[first : first + width]
            first += len(some)
            if level == len(_LEVELS):
                places: list[tuple[int, str]] = []
                for (path, _), names in zip(some, self._children([path for path, _ in some]), strict=True):
                    if not names:
                        self._empty.add(path)
                    places += _parse_places(names, low, high)
                places.sort(reverse=backwards)
                yield from places
            else:
                seen: set[str] = set()
                while inner := self._inner(some, level, low, high, seen):
                    inner.sort(key=lambda bucket: bucket[1], reverse=backwards)
                    yield from self._below(inner, level + 1, low, high, width, backwards)
                    if backwards or not self._read_only:
                        break
                    # What its owner moved on meanwhile may be in a bucket that was not there before.
                    seen.update(path for path, _ in inner)
            width = min(_WIDTH, 2 * width)

    def _inner(
        self, buckets: Sequence[tuple[str, int]], level: int, low: int, high: int, seen: set[str]
    ) -> list[tuple[str, int]]:
        """The buckets in others, but for those that were seen."""
        bits = _LEVELS[level]
        found: list[tuple[str, int]] = []
        for (path, number), names in zip(buckets, self._children([path for path, _ in buckets]), strict=True):
            if not names and level:
                self._empty.add(path)
            for name in names:
                start = _start(number, name, bits)
                inner = f"{path}/{name}"
                if start is not None and start <= high and start + (1 << bits) > low and inner not in seen:
                    found.append((inner, start))
        return found

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _send(self, steps: Sequence[Step]) -> _Sent:
        return self._commit(steps, [True] * len(steps), _numbered_ops(steps))

    def _commit(self, steps: Sequence[Step], left: Sequence[bool], ops: Sequence[tuple[int, Op]]) -> _Sent:
        """Send a transaction of the steps that are left, with what is to be done in each."""
        wanted = [(number, op) for number, op in ops if left[number]]
        transaction = self._ready().transaction()
        transaction.check(self._term_path, self._term)
        buckets = self._add_buckets(transaction, [op for _, op in wanted])
        first_doc = len(transaction.operations)
        docs = [number for number, step in enumerate(steps) if left[number] and _writes_document(step)]
        for number in docs:
            self._add_document(transaction, steps[number])
        first_op = len(transaction.operations)
        for _, op in wanted:
            self._add(transaction, op)
        return _Sent(transaction.commit_async(), wanted, buckets, docs, first_doc, first_op)

    def _apply(self, steps: Sequence[Step], together: bool, sent: _Sent | None = None) -> list[bool]:
        done = [True] * len(steps)
        ops = _numbered_ops(steps)
        for _ in range(len(ops) + len(steps) + _TRIES):
            if not any(done):
                return done
            if sent is None:
                sent = self._commit(steps, done, ops)
            call, wanted, buckets, docs, first_doc, first_op = sent
            sent = None
            failed = _first_error(self._gather([call])[0])
            if failed is None:
                self._buckets.update(buckets)
                self._tidy([op for _, op in wanted])
                return done
            at, error = failed
            if at == 0:
                self._term_is_over()
            elif at < first_doc:
                # A bucket that is there, or has gone with the one above it.
                self._buckets.clear()
            elif at < first_op:
                if isinstance(error, NotEmptyError):
                    self._clear(Named("jobs", steps[docs[at - first_doc]].doc_id or ""))
                    continue
                if together:
                    return [False] * len(steps)
                done[docs[at - first_doc]] = False
            else:
                self._amend(ops, wanted[at - first_op], error)
        raise JobStoreError(self._alias, f"nodes below {self._path} change all the time", transient=True)

    def _term_is_over(self) -> None:
        # Whoever had it may have left again.
        self._begin_anew(self._take())

    def _add_document(self, transaction: TransactionRequest, step: Step) -> None:
        path = self._node(Named("jobs", step.doc_id or ""))
        if step.text is None:
            transaction.delete(path, step.old - 1)
        elif step.old:
            transaction.set_data(path, step.text, step.old - 1)
        else:
            transaction.create(path, step.text)

    def _add(self, transaction: TransactionRequest, op: Op) -> None:
        path = self._node(op.key)
        if op.verb == "delete":
            transaction.delete(path)
        elif op.verb == "set":
            transaction.set_data(path, op.value)
        else:
            transaction.create(path, op.value)

    def _amend(self, ops: list[tuple[int, Op]], one: tuple[int, Op], error: Exception) -> None:
        """A node is there that should not be, or is not that should: what counts is the outcome."""
        number, op = one
        at = ops.index(one)
        if op.verb == "create" and isinstance(error, NodeExistsError):
            ops[at] = number, op._replace(verb="set")
        elif op.verb == "create" and isinstance(error, NoNodeError) and isinstance(op.key, Timed):
            self._buckets.clear()
        elif op.verb == "set" and isinstance(error, NoNodeError):
            ops[at] = number, op._replace(verb="create")
        elif op.verb == "delete" and isinstance(error, NoNodeError):
            del ops[at]
        elif op.verb == "delete" and isinstance(error, NotEmptyError):
            self._clear(op.key)
        else:
            raise error

    def _clear(self, key: Key) -> None:
        """Delete what somebody else has put below a node of ours, which cannot be deleted otherwise."""
        paths = [self._node(key)]
        for path in paths:  # it grows
            paths += [f"{path}/{name}" for name in self._children([path])[0]]
        self._gather([self._ready().delete_async(path) for path in reversed(paths[1:])])

    # -- buckets ----------------------------------------------------------------------------------------------------------

    def _add_buckets(self, transaction: TransactionRequest, ops: Sequence[Op]) -> list[str]:
        """Have a transaction make the buckets that are missing; all that will be there."""
        wanted: dict[str, None] = {}
        for op in ops:
            if op.verb == "create" and isinstance(op.key, Timed):
                leaf = self._leaf(op.key)
                if leaf not in self._buckets:
                    for depth in reversed(range(len(_LEVELS))):
                        wanted.setdefault(leaf.rsplit("/", depth)[0] if depth else leaf)
        unknown = [path for path in wanted if path not in self._buckets]
        if unknown:
            client = self._ready()
            there = self._gather([client.exists_async(path) for path in unknown])
            for path, found in zip(unknown, there, strict=True):
                if found is None:
                    transaction.create(path)
        if len(self._buckets) > _BUCKETS:
            self._buckets.clear()
        return unknown

    def _tidy(self, ops: Sequence[Op]) -> None:
        """Remove the buckets from which something went, if nothing else is in them. If that fails, they will be seen again."""
        left = {self._leaf(op.key) for op in ops if op.verb == "delete" and isinstance(op.key, Timed)}
        if left:
            left -= {self._leaf(op.key) for op in ops if op.verb != "delete" and isinstance(op.key, Timed)}
        elif not self._empty:
            return
        left |= self._empty
        self._empty.clear()
        roots = {f"{self._path}/{tree}" for tree in _TREES}
        while left and self._client.connected:
            paths = sorted(left)
            calls = [self._client.delete_async(path) for path in paths]
            left = set()
            for path, call in zip(paths, calls, strict=True):
                try:
                    call.get(True, self._timeout_s)
                except NoNodeError:
                    pass
                except (KazooException, KazooTimeoutError, OSError):
                    continue  # mostly: it is not empty
                self._buckets.discard(path)
                above = path.rpartition("/")[0]
                if above not in roots:
                    left.add(above)


def _quoted(name: str) -> str:
    """A name for a node: without slashes, and neither ``.`` nor ``..``."""
    return quote(name, safe="").replace(".", "%2E")


def _unquoted(name: str) -> str:
    return unquote(name, errors="replace")


def _start(number: int, name: str, bits: int) -> int | None:
    """Where the bucket with this name begins; None for a name that is none."""
    try:
        value = int(name, 16)
    except ValueError:
        return None
    return number + (value << bits) if 0 <= value < 1 << 20 else None


def _parse_places(names: Iterable[str], low: int, high: int) -> Iterator[tuple[int, str]]:
    for name in names:
        digits, _, rest = name.partition("-")
        if len(digits) == DIGITS and digits.isascii() and digits.isdigit() and low <= int(digits) <= high:
            yield int(digits) - OFFSET_US, _unquoted(rest)


def _numbered_ops(steps: Sequence[Step]) -> list[tuple[int, Op]]:
    """What is to be done in steps, with the number of each."""
    return [(number, op) for number, step in enumerate(steps) for op in step.ops]


def _writes_document(step: Step) -> bool:
    return step.doc_id is not None and (step.text is not None or step.old > 0)


def _first_error(results: Sequence[Any]) -> tuple[int, Exception] | None:
    """The one for which all the others were not made."""
    for at, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(result, RolledBackError | RuntimeInconsistency):
            return at, result
    return None


def _threads_are_greenlets() -> bool:
    """Whether threads that are started here would be greenlets of this thread's, and this is one that others may follow on."""
    monkey, gevent = sys.modules.get("gevent.monkey"), sys.modules.get("gevent")
    return bool(monkey and gevent and monkey.is_module_patched("threading") and not gevent.get_hub().main_hub)


def _make_client(options: Mapping[str, Any]) -> Any:
    own: dict[str, Any] = {"timeout": _TIMEOUT_S, "connection_retry": dict(_RETRY)}
    if hasattr(select, "poll"):  # Windows has none
        own["handler"] = PollingHandler()
    try:
        return KazooClient(**{**own, **options})
    except (TypeError, ValueError, KazooException) as error:
        raise ConfigurationError(f"the ZooKeeper client cannot be made: {error}") from error


def _given_client(client: Any, options: Mapping[str, Any]) -> Any:
    return given_client(client, options, lambda it: isinstance(it, KazooClient), "a kazoo.client.KazooClient")
