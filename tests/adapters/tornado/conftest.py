"""What the Tornado tests share."""

from __future__ import annotations

import pytest
from tornado.ioloop import IOLoop


@pytest.fixture(scope="session", autouse=True)
def _tornado_has_looked_around() -> None:
    """Up to 6.2 Tornado asks asyncio for the thread's loop before it runs its own; asyncio makes one, and keeps it."""
    io_loop = IOLoop(make_current=False)
    io_loop.run_sync(lambda: None)
    io_loop.close(all_fds=True)
