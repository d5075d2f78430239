"""What is in RethinkDB, looked at from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.jobstores.looking import look_at
from tests.jobstores.rethinkdb.conftest import Make
from tests.jobstores.rethinkdb.evaluator import EvaluatorServer


def test_looking(make: Make, server: EvaluatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = make()._database

    def contents() -> dict[str, dict[Any, Any]]:
        return {table: dict(found.rows) for table, found in server.evaluator.databases.get(name, {}).items()}

    url = f"rethinkdb://127.0.0.1:{server.port}/{name}?table=app&timeout=20"
    look_at(lambda: make(table="app"), url, contents, tmp_path)
