"""Places in time in ZooKeeper, which lists the children of a node all at once and in no order.

So what is due (``wall``, ``elapsed``) and run records (``history``, ``failed``) lie in buckets of about 13 days, in them of 18
minutes, and in them of a second: ``wall/6d4f2/1a3/07c/<instant, 18 digits>-<id>``. A due query lists, from the earliest on, the
buckets that have begun; what is due later costs it nothing. Buckets are made when something comes in, in the same step, and
removed when they are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from kazoo.exceptions import NoNodeError  # type: ignore[import-untyped]

from schedcore.jobstores._keyed_keys import DIGITS, OFFSET_US, Key, Named, Op, Timed, Tree
from schedcore.jobstores._zookeeper_client import FAILURES, count_below_async
from schedcore.jobstores._zookeeper_nodes import TREES, quoted, unquoted
from schedcore.jobstores._zookeeper_owner import OwnedNodes

__all__ = ["Timelines"]

# Bits of an instant (microseconds) in a bucket of each level: 13 days, 18 minutes and a second.
_LEVELS = (40, 30, 20)
_LOW = _LEVELS[-1]
_TOP_US = 10**DIGITS - 1
# Buckets listed at once, and buckets that are known to be there.
_WIDTH = 64
_BUCKETS = 20_000
# Buckets of a second that are asked one by one how much is in them.
_FEW = 500


class Timelines(OwnedNodes):
    """See the module's docstring."""

    def _reset(self) -> None:
        super()._reset()
        self._buckets: set[str] = set()  # that are there
        self._empty: set[str] = set()  # buckets that were seen to be empty

    def _lay_out(self) -> None:
        super()._lay_out()
        self._buckets.clear()
        self._empty.clear()

    def _node(self, key: Key) -> str:
        if isinstance(key, Named):
            kind, name = key
            return f"{self._path}/{kind}/{quoted(name)}"
        tree, at_us, name = key
        return f"{_leaf(self._path, tree, at_us + OFFSET_US >> _LOW)}/{at_us + OFFSET_US:0{DIGITS}}-{quoted(name)}"

    def _leaf(self, key: Timed) -> str:
        """The bucket in which a place is."""
        return _leaf(self._path, key.tree, key.at_us + OFFSET_US >> _LOW)

    # -- reading ----------------------------------------------------------------------------------------------------------

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

    def _count_missing_places(self) -> int:
        buckets: list[str] = []
        inner = [f"{self._path}/{tree}" for tree in ("wall", "elapsed")]
        for _ in _LEVELS:
            listed = zip(inner, self._children(inner), strict=True)
            inner = [f"{path}/{name}" for path, names in listed for name in names]
            buckets += inner
        if len(inner) <= _FEW:
            places = sum(self._count_children(inner))
        else:
            # The server counts in a tenth of a second what it would take a second and more to ask for.
            client = self._ready()
            below = self._gather([count_below_async(client, f"{self._path}/{tree}") for tree in ("wall", "elapsed")])
            if None in below:
                return 0
            places = sum(below) - len(buckets)
        documents, idle = self._count_children([f"{self._path}/jobs", f"{self._path}/idle"])
        return documents - idle - places

    def _count_children(self, paths: Sequence[str]) -> list[int]:
        client = self._ready()
        found = self._gather([client.exists_async(path) for path in paths])
        return [0 if stat is None else stat.numChildren for stat in found]

    # -- buckets ----------------------------------------------------------------------------------------------------------

    def _unknown_buckets(self, ops: Sequence[Op]) -> list[str]:
        """The buckets that have to be there for this to be written and are not known to be, each after the one that it is in."""
        known = self._buckets
        leaves = {self._leaf(key): None for verb, key, _ in ops if verb == "create" and isinstance(key, Timed)}
        wanted: dict[str, None] = {}
        for leaf in leaves:
            if leaf not in known:
                for depth in reversed(range(len(_LEVELS))):
                    wanted.setdefault(leaf.rsplit("/", depth)[0] if depth else leaf)
        return [path for path in wanted if path not in known]

    def _missing(self, buckets: Sequence[str]) -> list[str]:
        """Those that are not there."""
        if not buckets:
            return []
        client = self._ready()
        there = self._gather([client.exists_async(path) for path in buckets])
        return [path for path, found in zip(buckets, there, strict=True) if found is None]

    def _know_buckets(self, buckets: Iterable[str]) -> None:
        """They are there now."""
        if len(self._buckets) > _BUCKETS:
            self._buckets.clear()
        self._buckets.update(buckets)

    def _tidy(self, ops: Sequence[Op]) -> None:
        """Remove the buckets from which something went, if nothing else is in them. If that fails, they will be seen again."""
        left = {self._leaf(op.key) for op in ops if op.verb == "delete" and isinstance(op.key, Timed)}
        if left:
            left -= {self._leaf(op.key) for op in ops if op.verb != "delete" and isinstance(op.key, Timed)}
        elif not self._empty:
            return
        left |= self._empty
        self._empty.clear()
        roots = {f"{self._path}/{tree}" for tree in TREES}
        while left and self._client.connected:
            paths = sorted(left)
            calls = [self._client.delete_async(path) for path in paths]
            left = set()
            for path, call in zip(paths, calls, strict=True):
                try:
                    call.get(True, self._timeout_s)
                except NoNodeError:
                    pass
                except FAILURES:
                    continue  # mostly: it is not empty
                self._buckets.discard(path)
                above = path.rpartition("/")[0]
                if above not in roots:
                    left.add(above)


@lru_cache(maxsize=1024)
def _leaf(path: str, tree: Tree, number: int) -> str:
    """The bucket of the lowest level with this number, of all that may be in a tree."""
    top, middle, low = _LEVELS
    return f"{path}/{tree}/{number >> top - low:05x}/{number >> middle - low & 1023:03x}/{number & 1023:03x}"


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
            yield int(digits) - OFFSET_US, unquoted(rest)
