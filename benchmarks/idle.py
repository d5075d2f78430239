"""What a scheduler costs that has nothing to do: one job, an hour away. ``bare`` is a thread that waits."""

from __future__ import annotations

from threading import Event, Thread
from time import process_time, sleep

from benchmarks._meters import background_scheduler
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS"]


def idle(subject: str, seconds: int) -> Figures:
    """CPU time of the process over so many idle seconds, given for ten."""
    if subject == "bare":
        event = Event()
        thread = Thread(target=event.wait, args=(3600,))
        thread.start()
        cpu_s = _over(seconds)
        event.set()
        thread.join()
    else:
        scheduler = background_scheduler(subject)
        scheduler.start()
        scheduler.add_job(print, "interval", hours=1)
        cpu_s = _over(seconds)
        scheduler.shutdown()
    return {"cpu_ms": cpu_s / seconds * 10 * 1e3}


def _over(seconds: int) -> float:
    sleep(0.5)
    before_s = process_time()
    sleep(seconds)
    return process_time() - before_s


CASES = (Case("idle", "CPU in ten idle seconds", idle, (10,), (3,), repeats=1),)

TARGETS: tuple[Target, ...] = ()
