"""Programs of one process each: the standard library is patched by gevent there, or it is not."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

__all__ = ["both", "run"]

PATCH = "from gevent import monkey; monkey.patch_all()"

COMMON = """
import os, sys, threading, time
import gevent
import gevent.event
from gevent import monkey
from schedcore.adapters.gevent import GeventExecutor, GeventScheduler, GeventThreadExecutor
from schedcore.events import *
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler

PATCHED = monkey.is_module_patched("threading")
real_ident = monkey.get_original("_thread", "get_ident")
real_sleep = monkey.get_original("time", "sleep")
start_real_thread = monkey.get_original("_thread", "start_new_thread")
MAIN = real_ident()

def until(condition):
    with gevent.Timeout(30):
        while not condition():
            gevent.sleep(0.002)

class FarStore(MemoryJobStore):
    traits = StoreTraits(blocking=True, durable=True)
    delay_s = 0.002

    def __init__(self):
        super().__init__()
        self.threads = set()

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name.startswith("_") or name == "check" or not callable(value):
            return value
        def call(*args, **kwargs):
            self.threads.add(real_ident())
            real_sleep(self.delay_s)  # as a driver written in C waits
            return value(*args, **kwargs)
        return call
"""


def run(source: str, *args: str, patched: bool, timeout_s: float = 50) -> str:
    """Run a program with these arguments; returns what it printed, which must be on standard output alone."""
    program = "\n".join([PATCH if patched else "", COMMON, textwrap.dedent(source)])
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program, *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


both = pytest.mark.parametrize("patched", [False, True], ids=["plain", "patched"])
