"""How far runs are spread: a delay that is added to each dispatch, and never to the grid of fire times.

``jitter=30`` on any trigger delays each run by up to 30 seconds, at random. ``jitter=Jitter(30, "hashed")`` makes of the
job's id and the fire time which delay it is: the same on every machine and after every restart, and yet another for each job
and each run. However large it is, a run begins before the next fire time and not after the end of the schedule.

A trigger keeps one integer, ``jitter_us``: microseconds, negative where the delay is hashed.
"""

from __future__ import annotations

from typing import Literal, Self

from schedcore.errors import InvalidTriggerError, did_you_mean

__all__ = ["Jitter", "from_jitter_us"]

_MODES = ("random", "hashed")


class Jitter(float):
    """The longest delay in seconds, and where it comes from: ``"random"``, or ``"hashed"`` of the job's id and fire time."""

    __slots__ = ("mode",)

    mode: Literal["random", "hashed"]

    def __new__(cls, seconds: float, mode: Literal["random", "hashed"] = "random") -> Self:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e12:
            raise InvalidTriggerError(
                f"jitter: {seconds!r} cannot be used; give the longest delay in seconds, 0 or more", field="jitter"
            )
        if mode not in _MODES:
            raise InvalidTriggerError(
                f"jitter: {mode!r} is no way to spread runs{did_you_mean(str(mode), _MODES)}; write 'random' or 'hashed'",
                field="jitter",
            )
        self = super().__new__(cls, seconds)
        self.mode = mode
        return self

    @property
    def us(self) -> int:
        """As triggers keep it: microseconds, negative where hashed."""
        us = round(float(self) * 1_000_000)
        return -us if self.mode == "hashed" else us

    def __reduce__(self) -> tuple[type[Self], tuple[float, str]]:
        return type(self), (float(self), self.mode)

    def __repr__(self) -> str:
        return f"Jitter({float(self)!r}, {self.mode!r})"


def from_jitter_us(jitter_us: int) -> float | None:
    """What the user gave: seconds, an int where they are whole, or a ``Jitter`` where the delay is hashed; None for none."""
    if jitter_us < 0:
        return Jitter(-jitter_us / 1e6, "hashed")
    if jitter_us % 1_000_000 == 0:
        return jitter_us // 1_000_000 or None
    return jitter_us / 1e6
