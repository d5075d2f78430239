"""What an import costs, each in a fresh interpreter. ``bare``: what such a scheduler cannot do without, and no more."""

from __future__ import annotations

import subprocess
import sys

from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS"]

_PACKAGE = {"schedcore": "schedcore", "apscheduler": "apscheduler", "bare": "sys"}
_BACKGROUND = {
    "schedcore": "schedcore.schedulers.background",
    "apscheduler": "apscheduler.schedulers.background",
    "bare": "datetime, heapq, logging, threading, tzlocal",
}
# -I: nothing but what is installed; the clock itself is imported first.
_CODE = "from time import perf_counter as c; s = c(); import {}; print(c() - s)"


def _import(modules: str) -> Figures:
    command = [sys.executable, "-I", "-c", _CODE.format(modules)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ImportError(done.stderr.strip().rpartition("\n")[2])
    return {"import_ms": float(done.stdout) * 1e3}


def package(subject: str, size: int) -> Figures:
    """The package by itself."""
    return _import(_PACKAGE[subject])


def background(subject: str, size: int) -> Figures:
    """The background scheduler."""
    return _import(_BACKGROUND[subject])


CASES = (
    Case("package", "import the package", package, (1,), (1,), repeats=15),
    Case("background", "import the background scheduler", background, (1,), (1,), repeats=15),
)

TARGETS = (Target("import of the background scheduler", "background", 1, "import_ms", "share", 0.6, "apscheduler"),)
