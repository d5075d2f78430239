"""The conformance suite of wakeups.

``check_wakeup(bench)`` runs every behaviour of the contract (``schedcore.wakeup``) against a wakeup on a running loop, without
pytest. ``bench`` is a function that gives a context manager: on entry it starts a loop in a thread of its own and makes a
wakeup there, on exit both are gone. ::

    class Bench:
        def __init__(self, loop):
            self.loop, self.wakeup = loop, AsyncIOWakeup(loop)

        def call(self, call):                   # in the loop's thread
            async def make():
                return call()
            return asyncio.run_coroutine_threadsafe(make(), self.loop).result(30)

        def close(self):                        # end the loop and close it; may be called twice
            …

    @contextmanager
    def bench():
        loop = asyncio.new_event_loop()
        …
        yield Bench(loop)
        …

    check_wakeup(bench)

What a wakeup cannot have is declared in its traits; ``wakeup_behaviours(traits)`` lists each behaviour with the reason why
it is left out, or None, so that a test run can show it.

The behaviours are in ``_wakeup_arming``, ``_wakeup_calling`` and ``_wakeup_closing``; what they share is in ``_wakeup_bench``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from schedcore.testing import _wakeup_arming, _wakeup_calling, _wakeup_closing  # noqa: F401  # each registers its behaviours
from schedcore.testing._wakeup_bench import Bench, WakeupBench, WakeupTraits, suite

__all__ = ["WakeupBench", "WakeupTraits", "check_wakeup", "wakeup_behaviours"]


def wakeup_behaviours(traits: WakeupTraits = WakeupTraits()) -> list[tuple[str, str | None]]:  # noqa: B008 (immutable)
    """The behaviours, each with the reason why a wakeup with these traits is not held to it, or None."""
    return suite.wanted(traits)


def check_wakeup(
    bench: Callable[[], AbstractContextManager[WakeupBench]],
    traits: WakeupTraits = WakeupTraits(),  # noqa: B008 (immutable)
    *,
    only: str | None = None,
) -> list[str]:
    """Hold wakeups to their contract, each behaviour on a bench of its own; ``only`` names a single one.

    Returns the names of the behaviours checked; ``AssertionError`` names the one that is missing.
    """

    @contextmanager
    def make() -> Iterator[Bench]:
        with bench() as made:
            yield Bench(made, traits)

    return suite.check(traits, only, make)
