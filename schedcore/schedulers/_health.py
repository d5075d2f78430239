"""Whether a job store answers, and how long it is left alone when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schedcore.errors import error_text

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["Health", "StoreHealth"]

# Seconds before the first retry after a store failed; doubled each time up to the scheduler's jobstore_retry_interval.
_FIRST_RETRY_S = 0.1

# Seconds. A process that waits for its turn at a store fails at each attempt, for days: the same error is one in the log once in
# so long.
_LOG_AGAIN_S = 300.0
# So many different ones: those that alternate are the same again, and the text of one may be another at each attempt.
_LOGGED_AT_ONCE = 5


class StoreHealth(NamedTuple):
    """How a job store does: ``ok``, the last error as text, and since when (microseconds since the epoch) that has been so."""

    ok: bool
    error: str | None
    since_us: int


class Health:
    """That of one job store. ``told`` is read by any thread; the rest belongs to the scheduler's."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        self._failures = 0
        self._retry_at_s = 0.0
        # The errors that the log has had lately, and when each is to be there again, by the monotonic clock.
        self._log_again_s: dict[str, float] = {}
        #: Whether the log has had the error of the last failure lately, or enough of others.
        self.logged = False
        self.told = StoreHealth(True, None, scheduler.clock.wall_us())

    @property
    def ok(self) -> bool:
        """Whether its last step was well."""
        return self.told.ok

    def wait_s(self, mono_s: float) -> float:
        """Seconds that a store whose last step failed is left alone yet; 0: no longer."""
        return max(0.0, self._retry_at_s - mono_s)

    def failed(self, error: Exception) -> float:
        """A step failed; in how many seconds to try again."""
        scheduler = self._scheduler
        self._failures += 1
        longest_s = min(scheduler._retry_interval_s, _FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 30))
        # Jitter keeps a fleet from coming back all at once.
        delay_s = longest_s * (0.75 + 0.25 * scheduler._random())
        mono_s = scheduler.clock.monotonic_s()
        self._retry_at_s = mono_s + delay_s
        text = error_text(error)
        lately = {told: again_s for told, again_s in self._log_again_s.items() if mono_s < again_s}
        self.logged = text in lately or len(lately) >= _LOGGED_AT_ONCE
        if not self.logged:
            lately[text] = mono_s + _LOG_AGAIN_S
        self._log_again_s = lately
        if self.told.ok:
            self.told = StoreHealth(False, text, scheduler.clock.wall_us())
        else:
            self.told = self.told._replace(error=text)
        return delay_s

    def recovered(self) -> None:
        """A step was well after others had failed."""
        self._failures = 0
        self._log_again_s = {}
        self.told = StoreHealth(True, None, self._scheduler.clock.wall_us())
