"""A Twisted web server with a page that lists its jobs and edits them while they run.

    pip install 'schedcore[twisted]'
    python examples/twisted/web_server.py [PORT]

Open the address that it prints. The jobs check something every few seconds; on the page they are paused, resumed, run at once,
changed and removed, and others are added. Ctrl-C stops the server: what runs is waited for, ten seconds at most.
"""

# Much of Twisted is not annotated.
# mypy: disable-error-code="no-untyped-call,arg-type,misc"
from __future__ import annotations

import sys
from collections import deque
from datetime import datetime
from html import escape
from typing import Any

from schedcore.errors import SchedcoreError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from schedcore.triggers.interval import IntervalTrigger

try:
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred, inlineCallbacks
    from twisted.internet.task import deferLater
    from twisted.python.failure import Failure
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET, Request, Site

    from schedcore.adapters.twisted import TwistedScheduler
except ImportError as error:
    sys.exit(f"{error}; this example needs: pip install 'schedcore[twisted]'")

scheduler = TwistedScheduler()
#: The last things that happened. Listeners append to it in a thread of the scheduler's.
recently: deque[str] = deque(maxlen=20)


# --- the jobs: one of each kind ---


async def check_queue(name: str) -> str:
    """A coroutine runs in the reactor's thread."""
    await deferLater(reactor, 0.05)
    return f"{name} is empty"


@inlineCallbacks
def check_peer(name: str) -> Any:
    """So does a function under ``inlineCallbacks``."""
    yield deferLater(reactor, 0.05)
    return f"{name} answers"


def count_lines(path: str) -> str:
    """A plain function may take its time: it runs in a thread."""
    with open(path, encoding="utf-8") as file:
        return f"{sum(1 for _ in file)} lines"


JOBS = {"queue": (check_queue, ["mail"]), "peer": (check_peer, ["db"]), "lines": (count_lines, [__file__])}


def note(event: JobExecutionEvent) -> None:
    what = f"failed: {event.exception}" if event.exception else event.retval
    recently.appendleft(f"{datetime.now(scheduler.timezone):%H:%M:%S} {event.job_id}: {what}")


# --- the page ---

PAGE = """<!doctype html><title>Jobs</title>
<h1>Jobs</h1>
<table><tr><th>job<th>kind<th>every<th>next run<th>
{rows}</table>
<form method="post"><input name="id" placeholder="name" required>
<select name="kind">{kinds}</select> every <input name="seconds" type="number" value="10" min="1"> s
<button name="do" value="add">add</button></form>
<h2>Recently</h2><ul>{recently}</ul>
"""
ROW = """<tr><td>{id}<td>{kind}<td>{every}<td>{next}<td><form method="post"><input type="hidden" name="id" value="{id}">
<button name="do" value="{switch}">{switch}</button> <button name="do" value="run">run now</button>
<button name="do" value="remove">remove</button>
every <input name="seconds" type="number" value="{seconds}" min="1"> s <button name="do" value="change">change</button>
</form>
"""


def render_page() -> str:
    rows = [
        ROW.format(
            id=escape(job.id),
            kind=escape(job.name),
            every=escape(str(job.trigger)),
            next=f"{job.next_run_time:%H:%M:%S}" if job.next_run_time else "paused",
            switch="pause" if job.next_run_time else "resume",
            seconds=int(job.trigger.interval.total_seconds()) if isinstance(job.trigger, IntervalTrigger) else "",
        )
        for job in scheduler.get_jobs()
    ]
    kinds = "".join(f"<option>{kind}</option>" for kind in JOBS)
    return PAGE.format(rows="".join(rows), kinds=kinds, recently="".join(f"<li>{escape(line)}" for line in recently))


def edit(do: str, job_id: str, kind: str, seconds: int) -> None:
    if do == "add":
        func, args = JOBS[kind]
        scheduler.add_job(func, "interval", args, seconds=seconds, id=job_id, name=kind)
    elif do == "change":
        scheduler.reschedule_job(job_id, trigger="interval", seconds=seconds)
    elif do == "run":
        scheduler.modify_job(job_id, next_run_time=datetime.now(scheduler.timezone))
    elif do == "pause":
        scheduler.pause_job(job_id)
    elif do == "resume":
        scheduler.resume_job(job_id)
    elif do == "remove":
        scheduler.remove_job(job_id)
    else:
        raise ValueError(f"there is nothing called {do!r} to do")


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> int:
        ensureDeferred(self._get(request)).addErrback(self._fail, request)
        return NOT_DONE_YET

    def render_POST(self, request: Request) -> int:
        ensureDeferred(self._post(request)).addErrback(self._fail, request)
        return NOT_DONE_YET

    async def _get(self, request: Request) -> None:
        # In a worker thread, as the job store may one day be a database: the reactor waits for nobody.
        page = await scheduler.call(render_page)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.write(page.encode())
        request.finish()

    async def _post(self, request: Request) -> None:
        form = {name.decode(): values[0].decode() for name, values in request.args.items()}
        await scheduler.call(
            edit, form.get("do", ""), form.get("id", ""), form.get("kind", ""), int(form.get("seconds", "10"))
        )
        request.redirect(b"/")
        request.finish()

    def _fail(self, failure: Failure, request: Request) -> None:
        request.setResponseCode(400 if failure.check(SchedcoreError, ValueError, KeyError) else 500)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.write(failure.getErrorMessage().encode())
        request.finish()


def main(port: int) -> None:
    for kind, seconds in (("queue", 5), ("peer", 7), ("lines", 11)):
        func, args = JOBS[kind]
        scheduler.add_job(func, "interval", args, seconds=seconds, id=f"check {kind}", name=kind)
    scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    # First, as it raises where the port is in use.
    listening = reactor.listenTCP(port, Site(Page()), interface="127.0.0.1")
    # Before the reactor runs or while it does; when it is stopped, the scheduler is shut down first.
    scheduler.start()
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    reactor.run()
    print("stopped", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
