"""The end of a wakeup: its loop is closed under it, whatever is going on."""

from __future__ import annotations

import threading
import time

from schedcore.testing._suite import Aside, patience, until
from schedcore.testing._wakeup_bench import Bench, behaviour, do_nothing

__all__: list[str] = []


@behaviour("raises RuntimeError in call_soon when its loop is closed")
def _closed(bench: Bench) -> None:
    bench.close()
    for call in (bench.teller("control thread"), bench.teller("again")):
        try:
            bench.wakeup.call_soon(call)
        except RuntimeError:
            pass
        else:
            raise AssertionError("it did not raise")
    assert bench.told == []


@behaviour("calls nothing that is armed once its loop is closed")
def _closed_armed(bench: Bench) -> None:
    bench.arm(0.02, "armed")
    bench.close()
    told = bench.told
    time.sleep(0.03)
    assert bench.told == told, "it was called"


@behaviour("outlives a loop that is closed during a blocking call")
def _closed_blocking(bench: Bench) -> None:
    go, ended = threading.Event(), threading.Event()

    def wait() -> None:
        go.wait(patience.seconds)
        ended.set()

    bench.call(lambda: bench.wakeup.run_blocking(wait, bench.done))
    closing = Aside(bench.close)
    time.sleep(0.005)
    go.set()
    closing.result()
    assert ended.wait(patience.seconds), "the call did not come to its end"
    assert bench.threads <= {bench.thread}, "the result came in another thread"


@behaviour("leaves no thread behind when its loop is closed")
def _no_threads(bench: Bench) -> None:
    # Those that are there already are the loop's own, and those of the suite.
    before = set(threading.enumerate())
    for number in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(do_nothing, bench.done))
        bench.wait(number + 1)
    bench.close()

    def left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in before]

    until(lambda: not left(), lambda: f"left are {left()}")
