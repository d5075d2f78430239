"""The job of ``app.py``: it notes which process ran it, and for which time."""

from __future__ import annotations

import os

from schedcore.run import current_run

__all__ = ["note"]


def note(path: str) -> None:
    """Add a line to a file: the process, and when the run was due."""
    run = current_run.get()
    assert run is not None
    line = f"{os.getpid()} {run.scheduled_at.isoformat()}\n"
    # One write of one line: what several processes append does not get mixed up.
    with open(path, "a", encoding="utf-8") as file:
        file.write(line)
