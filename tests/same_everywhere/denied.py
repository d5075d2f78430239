"""For how long a thread had no processor though it wanted one: what nothing in its own process can be blamed for."""

from __future__ import annotations

import os

__all__ = ["Denied"]

# A line for each processor comes first; more than a thousand of them are not looked at.
_MOST_BYTES = 1 << 17


class Denied:
    """Of the thread that makes it, and is the only one to use it. Linux tells it; elsewhere nothing counts as denied.

    Two things: other processes were on the processors (the system counts that for each thread), and the host of a virtual machine
    had taken these away (it counts that for each processor, in hundredths of a second). A process that the host holds up seems to
    compute for a part of that time: its own clock alone does not tell the two apart.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        try:
            for path in ("/proc/thread-self/schedstat", "/proc/stat"):
                self._files.append(os.open(path, os.O_RDONLY))
        except OSError:  # another system, or one that does not count this
            self.close()
        self._delayed_s, self._stolen_s = self._look()

    def lap_s(self) -> float:
        """Seconds since this was last asked, or since it was made."""
        delayed_s, stolen_s = self._look()
        lap_s = delayed_s - self._delayed_s
        # Whole machines are held up, all processors at once; where one is, it may be that of a thread with the interpreter.
        lap_s += max((now_s - then_s for now_s, then_s in zip(stolen_s, self._stolen_s, strict=False)), default=0.0)
        self._delayed_s, self._stolen_s = delayed_s, stolen_s
        return lap_s

    def _look(self) -> tuple[float, list[float]]:
        if not self._files:
            return 0.0, []
        schedstat, stat = self._files
        # In nanoseconds: on a processor, waiting for one.
        delayed_s = int(os.pread(schedstat, 100, 0).split()[1]) / 1e9
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        stolen_s = []
        for line in os.pread(stat, _MOST_BYTES, 0).splitlines()[1:]:
            name, *ticks = line.split()
            if not name.startswith(b"cpu"):
                break
            # user, nice, system, idle, iowait, irq, softirq, steal
            stolen_s.append(int(ticks[7]) / ticks_per_s)
        return delayed_s, stolen_s

    def close(self) -> None:
        """Let go of what it holds. Twice is harmless."""
        while self._files:
            os.close(self._files.pop())
