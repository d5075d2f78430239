"""What watches the calls into an SQL server."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.jobstores._sql_server import Watch
from schedcore.testing._suite import Aside
from tests.interrupting import disturbed

LIMIT_S = 60.0


def test_a_signal_handler_may_call_in_the_midst_of_a_call() -> None:
    """At each point. Its lock was not reentrant, and the handler waited for itself for ever."""
    read, write = os.pipe()
    backend: Any = SimpleNamespace(descriptor=lambda driver: read)
    watch = Watch(backend, LIMIT_S)
    watch.start()

    def call() -> None:
        with watch.over(None):
            pass

    try:
        at = 1
        while Aside(disturbed, call, call, at, "/_sql_server.py").result(LIMIT_S):
            assert watch._calls == {}, at
            at += 1
        assert at > 5
    finally:
        watch.stop()
        os.close(read)
        os.close(write)
