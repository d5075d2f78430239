"""Frameworks: the burst and the lateness of ``dispatch`` and ``lateness``, inside Tornado, Twisted, gevent and Qt.

Each framework's part is in ``benchmarks/_frameworks``. The jobs are of the kind that the framework calls asynchronous;
``bare`` is the framework alone, with a heap of due times, doing the same.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from benchmarks._frameworks import PARTS, Framework
from benchmarks._frameworks._measure import burst, lateness
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


CASES = tuple(
    case
    for name in PARTS
    for case in (
        Case(f"{name}-burst", f"burst, {name}", partial(_burst, name), (10_000, 50_000), (10_000,)),
        Case(f"{name}-lateness", f"lateness, {name}", partial(_lateness, name), (10,), (5,)),
    )
)

TARGETS: tuple[Target, ...] = tuple(target for name in PARTS for target in _part(name).TARGETS)

#: What has to be installed beside the two libraries.
REQUIREMENTS: tuple[str, ...] = tuple(requirement for name in PARTS for requirement in _part(name).REQUIREMENTS)
