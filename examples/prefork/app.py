"""A WSGI application with jobs, for a server that runs it in several processes.

    pip install 'schedcore[sqlalchemy]' gunicorn pyuwsgi
    cd examples/prefork
    gunicorn --config gunicorn.conf.py app:application
    uwsgi --ini uwsgi.ini --http-socket 127.0.0.1:8000

Each process has the application and a scheduler, but the jobs are in one database file, which one scheduler opens at a time.
The processes therefore take turns: whoever has the file runs the jobs, and when it ends, however it ends, another one takes
over.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from schedcore.errors import JobStoreInUseError
from schedcore.schedulers.background import BackgroundScheduler

__all__ = ["application", "begin", "end"]

DATABASE = os.environ.get("JOBS_DATABASE", "jobs.sqlite")
LOG = os.environ.get("JOBS_LOG", "jobs.log")
# Seconds between two looks whether the file is free.
TURN_S = float(os.environ.get("JOBS_TURN", "5"))

logger = logging.getLogger("prefork")

# Made at import, started in ``begin``: a scheduler that runs when its process is forked is stopped in the child.
scheduler = BackgroundScheduler(
    jobstores={"default": {"type": "sqlalchemy", "url": f"sqlite:///{DATABASE}"}}, timezone="UTC"
)
scheduler.add_job("work:note", "interval", seconds=0.5, args=[LOG], id="note", replace_existing=True)

_over = threading.Event()
# Not ``scheduler.running``, which is true for a moment in each try as well: a scheduler runs from the beginning of its start.
_mine = threading.Event()


def begin() -> None:
    """Run the jobs in this process as soon as no other one does. To be called in each process, after it was forked."""
    threading.Thread(target=_take_turns, name="waiting for the jobs", daemon=True).start()


def _take_turns() -> None:
    while not _over.is_set():
        try:
            scheduler.start()
        except JobStoreInUseError:
            # Another process runs them.
            _over.wait(TURN_S)
        else:
            _mine.set()
            logger.warning("process %d runs the jobs", os.getpid())
            return


def end() -> None:
    """Let those that run come to their end. To be called when the process ends."""
    _over.set()
    scheduler.shutdown(timeout=10)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says which process answers, and whether it is the one that runs the jobs."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {'runs the jobs' if _mine.is_set() else 'waits'}\n".encode()]
