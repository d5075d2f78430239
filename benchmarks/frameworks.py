"""Frameworks: the burst and the lateness of ``dispatch`` and ``lateness``, inside Tornado, Twisted, gevent and Qt.

Each framework's part is in ``benchmarks/_frameworks``. The jobs are of the kind that the framework calls asynchronous;
``bare`` is the framework alone, with a heap of due times, doing the same.

Besides, for these and asyncio, what a scheduler keeps others on its loop from: ``gap_ms`` is the longest time for which a ticker
of 10 ms had no turn while 50,000 jobs that were due at once ran, and ``own_gap_ms`` the longest as far as this process had a
processor in it and its loop was denied none; ``slip_ms`` is by how much a ticker was late at worst, beyond what one by itself was
at that time, beside a scheduler whose job store takes 500 ms for each call. These are what ``tests/same_everywhere`` judges,
measured by the same code.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from benchmarks._frameworks import PARTS, Framework
from benchmarks._frameworks._measure import burst, lateness
from benchmarks._frameworks._neighbour import gap, neighbour_targets, slip
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]


def _part(name: str) -> Any:
    return import_module(f"benchmarks._frameworks.{name}")


def _framework(name: str) -> Framework:
    framework: Framework = _part(name).make()
    return framework


def _burst(name: str, subject: str, n: int) -> Figures:
    return burst(_framework(name), subject, n)


def _lateness(name: str, subject: str, seconds: int) -> Figures:
    return lateness(_framework(name), subject, seconds)


#: Those whose neighbours are looked at.
_LOOPS = ("asyncio", *PARTS)

CASES = tuple(
    case
    for name in PARTS
    for case in (
        Case(f"{name}-burst", f"burst, {name}", partial(_burst, name), (10_000, 50_000), (10_000,)),
        Case(f"{name}-lateness", f"lateness, {name}", partial(_lateness, name), (10,), (5,)),
    )
) + tuple(
    Case(f"{name}-{what}", f"{text}, {name}", partial(measure, name), sizes, sizes, subjects=("schedcore",))
    for name in _LOOPS
    for what, text, measure, sizes in (
        (
            "gap-native",
            "longest gap of a ticker, jobs of the framework's own kind",
            partial(gap, native=True),
            (50_000,),
        ),
        ("gap-plain", "longest gap of a ticker, plain functions", partial(gap, native=False), (50_000,)),
        ("slip", "slip of a ticker, a store that takes so many ms", slip, (500,)),
    )
)

TARGETS: tuple[Target, ...] = tuple(target for name in PARTS for target in _part(name).TARGETS) + tuple(
    target for name in _LOOPS for target in neighbour_targets(name)
)

#: What has to be installed beside the two libraries.
REQUIREMENTS: tuple[str, ...] = tuple(requirement for name in PARTS for requirement in _part(name).REQUIREMENTS)
