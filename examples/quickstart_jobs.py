"""The functions that ``quickstart.toml`` schedules. Ordinary functions: nothing here knows of a scheduler."""

from __future__ import annotations

import os
import random
import time

__all__ = ["breathe", "count_primes", "shaky", "tidy_up"]


def breathe() -> str:
    """Done in no time."""
    return "alive"


def tidy_up(seconds: float) -> str:
    """Takes a while: long enough to be seen in the column "Running", and to be waited for at Ctrl-C."""
    time.sleep(seconds)
    return f"tidied for {seconds:g} s"


def count_primes(below: int) -> str:
    """Keeps a processor busy, which is what process pools are for."""
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0\0"
    for n in range(2, int(below**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, below, n)))
    return f"{sum(sieve)} primes below {below}, counted by process {os.getpid()}"


def shaky() -> None:
    """Fails on purpose, so that there is a failure to look at."""
    culprit = random.choice(["the printer is on fire", "somebody moved the cheese", "there is no cable"])
    raise RuntimeError(culprit)
