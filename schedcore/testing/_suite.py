"""What the suites share: named behaviours, reasons where they are left out, bounded time."""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from schedcore.errors import did_you_mean

__all__ = ["Aside", "Suite", "Traits", "patience", "until"]


class _Patience:
    # Seconds. How long anything may take that should happen at once: it bounds a failing check, a passing one never waits
    # so long.
    seconds = 30.0
    # Seconds. How long a whole behaviour may take before it is given up; there are stores that need a tenth of it for ten
    # thousand jobs on a busy machine.
    limit = 150.0


#: Of all suites. Tests of the suites themselves, which have checks fail, have less of it.
patience = _Patience()


class Traits(Protocol):
    """What the traits of every suite have."""

    @property
    def lacks(self) -> Mapping[str, str]:
        """Name of a behaviour -> why it cannot be had."""


BenchT = TypeVar("BenchT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")
TraitsT = TypeVar("TraitsT", bound=Traits)


class _Behaviour(NamedTuple, Generic[BenchT]):
    name: str
    check: Callable[[BenchT], None]
    needs: tuple[str, ...]


class Suite(Generic[BenchT, TraitsT]):
    """The behaviours of one kind of thing.

    ``subject``: what has them, in words (``"a wakeup"``). ``needs``: what a behaviour may need -> whether traits have it, and
    the reason to give where they do not.
    """

    def __init__(self, subject: str, needs: Mapping[str, tuple[Callable[[TraitsT], object], str]]) -> None:
        self._subject = subject
        self._needs = needs
        self._behaviours: list[_Behaviour[BenchT]] = []

    def behaviour(self, name: str, *needs: str) -> Callable[[Callable[[BenchT], None]], Callable[[BenchT], None]]:
        """Registers a check under what it shows: ``name`` goes on where ``subject`` ends."""

        def register(check: Callable[[BenchT], None]) -> Callable[[BenchT], None]:
            assert all(need in self._needs for need in needs), needs
            assert all(behaviour.name != name for behaviour in self._behaviours), name
            self._behaviours.append(_Behaviour(name, check, needs))
            return check

        return register

    def wanted(self, traits: TraitsT) -> list[tuple[str, str | None]]:
        """The behaviours, each with the reason why it is left out with these traits, or None."""
        known = [behaviour.name for behaviour in self._behaviours]
        for name in traits.lacks:
            if name not in known:
                raise ValueError(f"there is no behaviour {name!r}{did_you_mean(name, known)}")
        return [(behaviour.name, self._left_out(behaviour, traits)) for behaviour in self._behaviours]

    def _left_out(self, behaviour: _Behaviour[BenchT], traits: TraitsT) -> str | None:
        if behaviour.name in traits.lacks:
            return traits.lacks[behaviour.name]
        for need in behaviour.needs:
            has, reason = self._needs[need]
            if not has(traits):
                return reason
        return None

    def check(
        self, traits: TraitsT, only: str | None, make_bench: Callable[[], AbstractContextManager[BenchT]]
    ) -> list[str]:
        """Hold benches to the behaviours, each to one; returns the names of those checked."""
        if not __debug__:
            raise RuntimeError(
                f"{self._subject} cannot be checked by this interpreter: it leaves out assertions (python -O)"
            )
        wanted = dict(self.wanted(traits))
        if only is not None and only not in wanted:
            raise ValueError(f"there is no behaviour {only!r}{did_you_mean(only, wanted)}")
        checked: list[str] = []
        for behaviour in self._behaviours:
            if only not in (None, behaviour.name) or wanted[behaviour.name] is not None:
                continue
            try:
                with make_bench() as bench:
                    # In a thread of its own, so that whatever hangs there can be given up.
                    Aside(behaviour.check, bench).result(patience.limit)
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"{self._subject} {behaviour.name}: {error}") from error
            except Exception as error:
                error.add_note(f"while it was checked that {self._subject} {behaviour.name}")
                raise
            checked.append(behaviour.name)
        return checked


class Aside(Generic[ResultT]):
    """A call that is made in a thread of its own."""

    def __init__(self, call: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> None:
        self._call = partial(call, *args, **kwargs)
        self._values: list[ResultT] = []
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="schedcore-check", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001  # it is handed to who asks for the result
            self._error = error

    @property
    def over(self) -> bool:
        """Whether it has returned or raised."""
        return not self.thread.is_alive()

    def result(self, timeout: float | None = None) -> ResultT:
        """What it returned or raised, waited for. Raises ``AssertionError`` that says where it is, if it does not end."""
        timeout = patience.seconds if timeout is None else timeout
        self.thread.join(timeout)
        if self.thread.is_alive():
            # Python 3.11 hangs when the garbage collector comes by in the middle of this.
            gc.disable()
            try:
                frame = sys._current_frames().get(self.thread.ident or 0)
            finally:
                gc.enable()
            where = "" if frame is None else "".join(traceback.format_stack(frame)[-4:])
            raise AssertionError(f"it did not end within {timeout} s; it is at\n{where}")
        if self._error is not None:
            raise self._error
        return self._values[0]


def until(condition: Callable[[], object], otherwise: str | Callable[[], str]) -> None:
    """Wait until a condition holds that nobody announces. ``AssertionError`` with the text ``otherwise`` if it never does."""
    deadline = time.monotonic() + patience.seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(0.001)
