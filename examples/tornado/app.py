"""A Tornado application with a page that lists and edits its jobs while they run.

    pip install 'schedcore[tornado,sqlalchemy]'
    python examples/tornado/app.py --database=jobs.sqlite --port=8888

The jobs are in a database file and survive a restart. Whatever asks the database waits for it, so that it is asked by way of
``scheduler.call``, in a worker thread; requests are served meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from schedcore.errors import UsageError

try:
    import sqlalchemy  # noqa: F401  # for the jobs in a database
    from tornado import web
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.options import define, options, parse_command_line

    from schedcore.adapters.tornado import TornadoScheduler
except ImportError as error:
    sys.exit(f"{error}; this example needs: pip install 'schedcore[tornado,sqlalchemy]'")

__all__ = ["main", "make_app"]

FUNCTIONS = {"tick": "work:tick", "report": "work:report", "fetch": "work:fetch"}

define("port", default=8888, help="where to listen, on the loopback interface; 0 for any port that is free")
define("database", default="jobs.sqlite", help="the file of the jobs")


class Page(web.RequestHandler):
    """Base of the handlers: they know the scheduler, and what users get wrong is an answer, not a traceback."""

    @property
    def scheduler(self) -> TornadoScheduler:
        scheduler: TornadoScheduler = self.settings["scheduler"]
        return scheduler

    def seconds(self) -> float:
        """The argument ``seconds``."""
        try:
            return float(self.get_body_argument("seconds"))
        except ValueError:
            raise web.HTTPError(400, reason="Seconds are a number") from None

    def write_error(self, status_code: int, **kwargs: object) -> None:
        self.finish(f"<p>{status_code}: {self._reason}</p><p><a href='/'>Back to the jobs</a></p>")


class Jobs(Page):
    """The list, and the form for a new job."""

    async def get(self) -> None:
        jobs = await self.scheduler.call(self.scheduler.get_jobs)
        runs = {job.id: await self.scheduler.call(self.scheduler.get_runs, job.id, limit=1) for job in jobs}
        self.render("jobs.html", jobs=jobs, runs=runs, functions=FUNCTIONS)

    async def post(self) -> None:
        function = FUNCTIONS.get(self.get_body_argument("function"))
        if function is None:
            raise web.HTTPError(400, reason="There is no such function")
        name = self.get_body_argument("name")
        try:
            await self.scheduler.call(
                self.scheduler.add_job, function, "interval", seconds=self.seconds(), id=name, name=name
            )
        except (UsageError, KeyError, ValueError) as error:
            raise web.HTTPError(400, reason=" ".join(str(error).split())) from error
        self.redirect("/")


class Change(Page):
    """Pause, resume, reschedule or remove one job."""

    async def post(self, action: str, job_id: str) -> None:
        scheduler = self.scheduler
        try:
            if action == "reschedule":
                await scheduler.call(scheduler.reschedule_job, job_id, trigger="interval", seconds=self.seconds())
            else:
                change = {
                    "pause": scheduler.pause_job,
                    "resume": scheduler.resume_job,
                    "remove": scheduler.remove_job,
                }[action]
                await scheduler.call(change, job_id)
        except LookupError as error:
            raise web.HTTPError(404, reason="There is no such job") from error
        except UsageError as error:
            raise web.HTTPError(400, reason=" ".join(str(error).split())) from error
        self.redirect("/")


def make_app(scheduler: TornadoScheduler) -> web.Application:
    """The application, which uses this scheduler."""
    return web.Application(
        [("/", Jobs), ("/(pause|resume|reschedule|remove)/(.+)", Change)],
        scheduler=scheduler,
        template_path=str(Path(__file__).with_name("templates")),
        xsrf_cookies=True,
    )


async def main() -> None:
    """Serve until SIGINT or SIGTERM, then let running jobs end."""
    scheduler = TornadoScheduler(
        jobstores={"default": {"type": "sqlalchemy", "url": f"sqlite:///{options.database}"}},
        timezone="UTC",
    )
    async with scheduler:
        # The next start finds this job, as it is by then, and adds none.
        if await scheduler.call(scheduler.get_job, "tick") is None:
            await scheduler.call(scheduler.add_job, FUNCTIONS["tick"], "interval", seconds=1, id="tick", name="tick")
        sockets = bind_sockets(options.port, "127.0.0.1")
        server = HTTPServer(make_app(scheduler))
        server.add_sockets(sockets)
        logging.info("listening on http://127.0.0.1:%d", sockets[0].getsockname()[1])
        over = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, over.set)
        await over.wait()
        server.stop()
        await server.close_all_connections()
    logging.info("stopped")


if __name__ == "__main__":
    parse_command_line()
    asyncio.run(main())
