"""For ``gunicorn --config gunicorn.conf.py app:application``: each worker begins and ends its own scheduler."""

from __future__ import annotations

from typing import Any

bind = "127.0.0.1:8000"
workers = 3
# Of gunicorn 25.1 and later: nothing is put into the user's home for it.
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """In each worker, when the application is loaded; with ``preload_app`` too, because it is after the fork."""
    import app

    app.begin()


def worker_exit(server: Any, worker: Any) -> None:
    """In each worker, when it ends in order."""
    import app

    app.end()
