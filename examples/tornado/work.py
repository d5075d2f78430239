"""The functions that the jobs of ``app.py`` call. Jobs in a database name them, so they live in a module of their own."""

from __future__ import annotations

import time

from tornado import gen
from tornado.httpclient import AsyncHTTPClient

__all__ = ["fetch", "report", "tick"]


async def tick() -> str:
    """A coroutine, on the IOLoop."""
    await gen.sleep(0)
    return f"tick at {time.strftime('%H:%M:%S')}"


def report() -> str:
    """A function that blocks: it runs in a thread, and the IOLoop goes on meanwhile."""
    time.sleep(0.2)
    return "report written"


@gen.coroutine
def fetch(url: str = "http://127.0.0.1:8888/"):  # type: ignore[no-untyped-def]  # as such functions are in older programs
    """A coroutine of Tornado's own kind."""
    response = yield AsyncHTTPClient().fetch(url)
    return f"{response.code} from {url}"
