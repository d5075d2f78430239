"""Where the keys and values of a TOML text stand.

``tomllib`` drops the positions of what it has read, and its maintainers want it small. Considered instead:
tomlkit (keeps the text, but its items know no positions), tomlkit-extras (adds lines, not columns, and a
chain of dependencies), tree-sitter with its TOML grammar (a compiled dependency, for a file of some dozen
lines). So ``tomllib`` reads, and judges the syntax; ``Positions`` then finds where each key and value stands.
It scans text that is known to be valid, which keeps it small, and it is never asked for a value.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterable

__all__ = ["Path", "Positions"]

#: Keys and list indexes that lead to a value: ``("jobs", 0, "cron", "hour")``.
Path = tuple[str | int, ...]


class Positions:
    """Where the keys and values of a *valid* TOML text stand: 1-based lines and columns."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")  # as tomllib does
        self._at = 0
        self._keys: dict[Path, int] = {}
        self._values: dict[Path, int] = {}
        self._lists: dict[Path, int] = {}  # tables written [[so]], and how many there are by now
        self._starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        self._document()

    def of(self, path: Iterable[str | int], *, value: bool = False) -> tuple[int, int]:
        """Line and column of a key, or with ``value`` of what stands behind it; of the nearest one around it
        if it is not there.
        """
        rest = tuple(path)
        places = self._values if value else self._keys
        while rest:
            offset = places.get(rest, self._keys.get(rest, self._values.get(rest)))
            if offset is not None:
                return self._line_and_column(offset)
            rest = rest[:-1]
        return 1, 1

    def text_start(self, path: Iterable[str | int], text: str) -> tuple[int, int] | None:
        """Where the first character of a string stands; None when columns in ``text`` are not columns in the
        file (escapes).
        """
        offset = self._values.get(tuple(path), -1)
        if offset >= 0 and self._text[offset] in "\"'" and self._text.startswith(text, offset + 1):
            return self._line_and_column(offset + 1)
        return None

    def _line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    _BLANK = re.compile(r"[ \t]*")
    _NOTHING = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
    _BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
    _PLAIN = re.compile(r"[^,\]}#\n]*")
    _TEXTS = (
        re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
        re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
        re.compile(r'"(?:[^"\\\n]|\\.)*"'),
        re.compile(r"'[^'\n]*'"),
    )

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match.group()

    def _next_is(self, word: str) -> bool:
        if self._text.startswith(word, self._at):
            self._at += len(word)
            return True
        return False

    def _string(self) -> str | None:
        for pattern in self._TEXTS:
            match = pattern.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return match.group()
        return None

    def _document(self) -> None:
        table: Path = ()
        self._skip(self._NOTHING)
        while self._at < len(self._text):
            start = self._at
            if self._next_is("[["):
                table = self._header(start, is_list=True)
            elif self._next_is("["):
                table = self._header(start, is_list=False)
            else:
                self._pair(table)
            self._skip(self._NOTHING)

    def _dotted(self) -> list[tuple[str, int]]:
        parts = []
        while True:
            self._skip(self._BLANK)
            start = self._at
            quoted = self._string()
            name = self._skip(self._BARE_KEY) if quoted is None else tomllib.loads(f"k = {quoted}")["k"]
            parts.append((name, start))
            self._skip(self._BLANK)
            if not self._next_is("."):
                return parts

    def _header(self, start: int, *, is_list: bool) -> Path:
        path: Path = ()
        parts = self._dotted()
        for number, (name, offset) in enumerate(parts, 1):
            path = (*path, name)
            self._keys.setdefault(path, offset)
            self._values.setdefault(path, start)
            if number == len(parts) and is_list:
                self._lists[path] = self._lists.get(path, 0) + 1
            if path in self._lists:
                path = (*path, self._lists[path] - 1)
                self._keys.setdefault(path, start)
                self._values.setdefault(path, start)
        self._at += 2 if is_list else 1
        return path

    def _pair(self, table: Path) -> None:
        path = table
        for name, offset in self._dotted():
            path = (*path, name)
            self._keys.setdefault(path, offset)
        self._next_is("=")
        self._skip(self._BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        self._values[path] = self._at
        if self._next_is("["):
            self._items("]", lambda index: self._value((*path, index)))
        elif self._next_is("{"):
            self._items("}", lambda index: self._pair(path))
        elif self._string() is None:
            self._skip(self._PLAIN)

    def _items(self, end: str, item: Callable[[int], None]) -> None:
        index = 0
        self._skip(self._NOTHING)
        while not self._next_is(end):
            item(index)
            index += 1
            self._skip(self._NOTHING)
            self._next_is(",")
            self._skip(self._NOTHING)
