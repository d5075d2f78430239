"""The nodes of ZooKeeper: those that all others are below, their version, and how nodes are asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from threading import Event
from typing import Any
from urllib.parse import quote, unquote

from kazoo.exceptions import ConnectionLoss, NodeExistsError, NoNodeError  # type: ignore[import-untyped]

from schedcore.errors import JobStoreError
from schedcore.jobstores._keyed import KeyedStore
from schedcore.jobstores._keyed_keys import Kind, Tree

__all__ = ["KINDS", "SCHEMA_VERSION", "TREES", "Nodes", "quoted", "unquoted"]

SCHEMA_VERSION = "1"

KINDS: tuple[Kind, ...] = ("jobs", "payloads", "runs", "notes", "idle", "live", "broken", "adding", "pieces")
TREES: tuple[Tree, ...] = ("wall", "elapsed", "history", "failed")

# What is not changed by that; to learn it from ``quote`` takes ten times as long.
_PLAIN = re.compile("[A-Za-z0-9_~-]+").fullmatch

# Seconds that a call waits for a connection that is being made again.
_RECONNECT_S = 2.0


class Nodes(KeyedStore):
    """All nodes below one path."""

    _client: Any  # kazoo's, which has no types
    _made_client: bool  #: whether it is this store's own
    _connected: Event
    _cut_s: float  #: since when there has been no connection, nor a new client's attempt to make one
    _timeout_s: float
    _path: str
    _owner_path: str
    _term_path: str
    _schema_path: str

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

    def _make(self, paths: Sequence[str], value: bytes = b"") -> None:
        """Make nodes that may be there."""
        for path in paths:
            try:
                self._gather([self._ready().create_async(path, value)])
            except NodeExistsError:
                pass

    # -- what all others are below ------------------------------------------------------------------------------------------

    def _is_there(self) -> bool:
        """Whether there are nodes of ours. Raises for those of another version."""
        schema = self._look([self._schema_path])[0]
        self._check_version(schema)
        return schema is not None

    def _check_version(self, schema: Any) -> None:
        if schema is not None and schema[0] != SCHEMA_VERSION.encode():
            raise JobStoreError(
                self._alias,
                f"the nodes below {self._path!r} have schema version {schema[0]!r}, and this release reads {SCHEMA_VERSION}",
            )

    def _strangers(self) -> set[str]:
        """What is below the path and not of ours."""
        return set(self._children([self._path])[0]) - {*KINDS, *TREES, "owner", "term", "schema"}

    def _lay_out(self) -> None:
        """Make the nodes that all others are below, and last the one that says that they are there."""
        parts = self._path[1:].split("/")
        above = ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
        self._make([*above, self._term_path, *(f"{self._path}/{name}" for name in (*KINDS, *TREES))])
        if self._look([self._term_path])[0] is None:
            raise JobStoreError(
                self._alias, f"the node {self._path} cannot be made: the path that hosts= ends with is not there"
            )
        self._make([self._schema_path], SCHEMA_VERSION.encode())

    def _complete(self) -> None:
        """Make what is missing: other releases may have made the store before there were all of these."""
        known = self._children([self._path])[0]
        self._make([f"{self._path}/{name}" for name in (*KINDS, *TREES) if name not in known])


def quoted(name: str) -> str:
    """A name for a node: without slashes, and neither ``.`` nor ``..``."""
    return name if _PLAIN(name) else quote(name, safe="").replace(".", "%2E")


def unquoted(name: str) -> str:
    """The name that was given to a node."""
    return unquote(name, errors="replace")
