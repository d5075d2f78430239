"""A gevent WSGI server with a page that lists its jobs, while hundreds of them run.

    pip install 'schedcore[gevent]'
    python examples/gevent/server.py [PORT]

Everything is a greenlet: each request, and each job. A job that waits holds up nobody; so there may be many at a time, and the
server answers all the same. Nothing is patched here; ``monkey.patch_all()`` as the first line of the program changes nothing
for the scheduler.

GET /             the page: the jobs, and how many runs are over
GET /burst?n=300  n more jobs, all due now, each of which waits for half a second
GET /counts       how many jobs run now, at most ran at a time, and are over, as JSON
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import parse_qs

try:
    import gevent
    from gevent.event import Event
    from gevent.pywsgi import WSGIServer

    from schedcore.adapters.gevent import GeventScheduler
except ImportError as error:
    sys.exit(f"{error}; this example needs: pip install 'schedcore[gevent]'")

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Counts:
    """What the jobs do. They are greenlets of one thread: between two waits, nobody else counts."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.over = 0

    def wait(self, seconds: float) -> None:
        """A job: it waits, as one does that asks another server."""
        self.running += 1
        self.most = max(self.most, self.running)
        gevent.sleep(seconds)
        self.running -= 1
        self.over += 1


class Application:
    """The web application."""

    def __init__(self, scheduler: GeventScheduler, counts: Counts) -> None:
        self._scheduler = scheduler
        self._counts = counts

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        answer = {"/": self._page, "/burst": self._burst, "/counts": self._numbers}.get(environ["PATH_INFO"])
        if answer is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there is no such page\n"]
        kind, text = answer(parse_qs(environ.get("QUERY_STRING", "")))
        start_response("200 OK", [("Content-Type", kind)])
        return [text.encode()]

    def _page(self, query: dict[str, list[str]]) -> tuple[str, str]:
        rows = "\n".join(
            f"<tr><td>{escape(job.id)}<td>{escape(job.name)}<td>{escape(str(job.trigger))}<td>{job.next_run_time}"
            for job in self._scheduler.get_jobs()
        )
        counts = self._counts
        return (
            "text/html; charset=utf-8",
            f"<!doctype html><title>Jobs</title><h1>Jobs</h1>\n"
            f"<p>{counts.running} run now, {counts.over} are over.\n"
            f"<table><tr><th>id<th>name<th>trigger<th>next\n{rows}</table>\n",
        )

    def _burst(self, query: dict[str, list[str]]) -> tuple[str, str]:
        number = min(1000, int(query.get("n", ["300"])[0]))
        for _ in range(number):
            self._scheduler.add_job(self._counts.wait, args=(0.5,))
        return "text/plain", f"{number} jobs are due\n"

    def _numbers(self, query: dict[str, list[str]]) -> tuple[str, str]:
        counts = self._counts
        return "application/json", json.dumps({"running": counts.running, "most": counts.most, "over": counts.over})


def main(port: int) -> None:
    counts = Counts()
    stop = Event()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    gevent.signal_handler(signal.SIGINT, stop.set)
    with GeventScheduler() as scheduler:
        for number in range(20):
            scheduler.add_job(
                counts.wait, "interval", args=(0.02,), seconds=1, id=f"look {number}", start_date=datetime.now(UTC)
            )
        server = WSGIServer(("127.0.0.1", port), Application(scheduler, counts), log=None)
        server.start()
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        stop.wait()
        # First no more requests, then no more jobs; those that run come to their end.
        server.stop()
    print(f"stopped, {counts.running} jobs were left", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
