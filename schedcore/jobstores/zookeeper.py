"""Jobs in ZooKeeper, through kazoo. What is kept, and why a run is made once, is in ``_keyed`` and ``_documents``.

**Nodes**, all of them below ``path``. ``jobs/<id>``: a document, as JSON text, and behind it the definition; its revision is the
node's version and 1. ``payloads/<uid>``: a definition that is large; of a very large one ``pieces/<uid>-<tag>-<number>``.
``idle/<id>``: what is not scheduled. ``live/<id>``, ``broken/<id>``. ``runs/<id>``: which records are the job's. ``notes/…``,
``schema``, ``owner``, ``term``. Names are percent-encoded. Below ``wall``, ``elapsed``, ``history`` and ``failed`` is what has a
place in time (``_zookeeper_timelines``).

**One transaction for many jobs.** If a job was changed since, ZooKeeper says which one: it is left out, and the others are sent
again.

**Where what is.** The driver (``_zookeeper_client``), and how its thread waits (``_zookeeper_handler``); and in layers, each a
class over the last, nodes (``_zookeeper_nodes``), who owns them (``_zookeeper_owner``), places in time
(``_zookeeper_timelines``), and here opening, closing, and what is written.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from schedcore.errors import ConfigurationError, JobStoreError, MissingExtraError
from schedcore.jobstores._keyed_keys import Key, Kind, Named, Op, Step, Timed
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from kazoo.client import KazooClient, KazooState  # type: ignore[import-untyped]
    from kazoo.exceptions import NodeExistsError, NoNodeError, NotEmptyError  # type: ignore[import-untyped]

    from schedcore.jobstores._owner import OwnNames
    from schedcore.jobstores._zookeeper_client import (
        FAILURES,
        TIMEOUT_S,
        Transaction,
        client_of_users,
        explained,
        first_error,
        make_client,
        threads_are_greenlets,
    )
    from schedcore.jobstores._zookeeper_nodes import SCHEMA_VERSION, unquoted
    from schedcore.jobstores._zookeeper_timelines import Timelines
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'zookeeper'", "zookeeper") from error

__all__ = ["SCHEMA_VERSION", "ZooKeeperJobStore"]

# Times beyond the number of its operations that a transaction is sent again.
_TRIES = 10
# What ZooKeeper takes in no path (``PathUtils.validatePath``): characters that show nothing, and those of two halves.
_NOT_IN_PATHS = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")


class _Sent(NamedTuple):
    """A transaction that is on its way."""

    call: Any
    wanted: list[tuple[int, Op]]  #: with the number of the step
    buckets: list[str]  #: that are there if it is made
    docs: list[int]  #: the steps whose documents are written
    first_doc: int  #: where these operations begin in the transaction
    first_op: int  #: and where those wanted do


class ZooKeeperJobStore(Timelines):
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
        parts = [part for part in path.split("/") if part] if isinstance(path, str) else []
        if not parts or not {".", ".."}.isdisjoint(parts) or _NOT_IN_PATHS.search(path):
            raise ConfigurationError(f"path must be text that names something, not {path!r}")
        self._path = f"/{'/'.join(parts)}"
        self._client = make_client(connect_args) if client is None else client_of_users(client, connect_args)
        self._connect_args = connect_args
        self._closes_client = client is None or close_connection_on_exit
        self._timeout_s = float(connect_args.get("timeout", TIMEOUT_S))
        self._owner_path = f"{self._path}/owner"
        self._term_path = f"{self._path}/term"
        self._schema_path = f"{self._path}/schema"
        self._names_of_mine = OwnNames()
        self._connected = threading.Event()
        self._made_client = client is None
        self._cut_s = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (path={self._path!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._connect()
        if not self._is_there():
            if self._strangers():
                raise JobStoreError(
                    self._alias,
                    f"there are nodes below {self._path!r} that were not written by schedcore; give another path",
                )
            self._lay_out()
        self._take()
        self._complete()
        self._halfway = True
        self._settle()

    def _open_to_read(self) -> None:
        self._connect()
        if not self._is_there():
            raise self._nothing_there(f"below {self._path!r}")

    def _connect(self) -> None:
        if self._made_client:
            # Where gevent has patched threads, a client belongs to the thread that makes it, which is to be the one that calls.
            self._client = make_client(self._connect_args)
        elif threads_are_greenlets():
            raise JobStoreError(
                self._alias,
                "gevent has patched threads, and kazoo's belong to the thread in which a client is made, which is not where this "
                "store is called; give hosts=… in the place of client=, and the store makes one where it can use it",
            )
        client = self._client
        client.add_listener(self._state_changed)
        if client.state == KazooState.LOST and not client.connected:
            client.start(self._timeout_s)
        if client.connected:
            self._connected.set()

    def _close(self) -> None:
        client = self._client
        if self._owner and client.connected:
            try:
                if not self._let_go(self._note_ops()):
                    self._let_go(())
            except FAILURES:
                pass  # it ends with its session
        client.remove_listener(self._state_changed)
        self._connected.clear()
        if self._closes_client:
            client.stop()
            client.close()

    def _let_go(self, last: Iterable[Op]) -> bool:
        """Write a last time, and give the store back. Whether that was done."""
        transaction = Transaction(self._client)
        transaction.check(self._term_path, self._term)
        transaction.delete(self._owner_path)
        for op in last:
            self._add(transaction, op)
        return first_error(self._gather([transaction.commit_async()])[0]) is None

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        return explained(error, self._path)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        found = self._look([self._node(Named("jobs", job_id)) for job_id in ids])
        return {job_id: (one[0], one[1].version + 1) for job_id, one in zip(ids, found, strict=True) if one is not None}

    def _values(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        found = self._look([self._node(key) for key in keys])
        return {key: one[0] for key, one in zip(keys, found, strict=True) if one is not None}

    def _names(self, kind: Kind, after: str = "", limit: int | None = None) -> list[str]:
        names = (unquoted(name) for name in self._children([f"{self._path}/{kind}"])[0])
        return sorted(name for name in names if name > after)[:limit]

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _send(self, steps: Sequence[Step]) -> _Sent:
        return self._commit(steps, [True] * len(steps), _numbered_ops(steps))

    def _commit(self, steps: Sequence[Step], left: Sequence[bool], ops: Sequence[tuple[int, Op]]) -> _Sent:
        """Send a transaction of the steps that are left, with what is to be done in each."""
        wanted = list(ops) if all(left) else [(number, op) for number, op in ops if left[number]]
        buckets = self._unknown_buckets([op for _, op in wanted])
        missing = self._missing(buckets)
        transaction = Transaction(self._ready())
        transaction.check(self._term_path, self._term)
        for path in missing:
            transaction.create(path)
        first_doc = transaction.size
        docs = [number for number, step in enumerate(steps) if left[number] and _writes_document(step)]
        for number in docs:
            self._add_document(transaction, steps[number])
        first_op = transaction.size
        for _, op in wanted:
            self._add(transaction, op)
        return _Sent(transaction.commit_async(), wanted, buckets, docs, first_doc, first_op)

    def _apply(self, steps: Sequence[Step], together: bool, sent: _Sent | None = None) -> list[bool]:
        done = [True] * len(steps)
        ops = _numbered_ops(steps) if sent is None else list(sent.wanted)
        for _ in range(len(ops) + len(steps) + _TRIES):
            if not any(done):
                return done
            if sent is None:
                sent = self._commit(steps, done, ops)
            call, wanted, buckets, docs, first_doc, first_op = sent
            sent = None
            failed = first_error(self._gather([call])[0])
            if failed is None:
                self._know_buckets(buckets)
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

    def _add_document(self, transaction: Transaction, step: Step) -> None:
        job_id, old, text, _, _, _ = step
        path = self._node(Named("jobs", job_id or ""))
        if text is None:
            transaction.delete(path, old - 1)
        elif old:
            transaction.set_data(path, text, old - 1)
        else:
            transaction.create(path, text)

    def _add(self, transaction: Transaction, op: Op) -> None:
        verb, key, value = op
        path = self._node(key)
        if verb == "delete":
            transaction.delete(path)
        elif verb == "set":
            transaction.set_data(path, value)
        else:
            transaction.create(path, value)

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


def _numbered_ops(steps: Sequence[Step]) -> list[tuple[int, Op]]:
    """What is to be done in steps, with the number of each."""
    return [(number, op) for number, step in enumerate(steps) for op in step.ops]


def _writes_document(step: Step) -> bool:
    return step.doc_id is not None and (step.text is not None or step.old > 0)
