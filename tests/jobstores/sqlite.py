"""What the tests of the SQL store on SQLite share."""

from __future__ import annotations

import sqlite3
from typing import Any

from schedcore.jobstores.base import JobStore

__all__ = ["close", "query"]


def query(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        with connection:
            return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def close(store: JobStore) -> JobStore:
    store.shutdown()
    return store
