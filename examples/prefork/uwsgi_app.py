"""For ``uwsgi --ini uwsgi.ini --http-socket 127.0.0.1:8000``: the application, and a scheduler that is begun in each process."""

from app import application, begin

__all__ = ["application"]

# Each process loads this by itself, after the fork.
begin()
