"""What makes one call of a part fail, for tests that have each of its calls fail in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Fault", "Sabotage"]


class Fault(Exception):
    """What the tests inject."""


class Sabotage:
    """Counts calls, and raises at one of them: before its work, or after it."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.calls: list[str] = []

    def on(self, target: Any, methods: Iterable[str]) -> None:
        for method in methods:
            setattr(target, method, self.wrapped(method, getattr(target, method)))

    def wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            hit = len(self.calls) - 1 == self.at
            if hit and not self.after:
                raise Fault(f"before {name}")
            result = method(*args, **kwargs)
            if hit:
                raise Fault(f"after {name}")
            return result

        return call
