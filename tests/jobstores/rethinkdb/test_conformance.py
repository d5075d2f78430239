"""The suite that every job store is held to: with the evaluator, and on the server that ``RETHINKDB_URL`` names."""

from __future__ import annotations

import pytest

from schedcore.jobstores.rethinkdb import RethinkDBJobStore
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.jobstores.rethinkdb.conftest import Make

BEHAVIOURS = store_behaviours(RethinkDBJobStore.traits)


@pytest.mark.parametrize(("name", "left_out"), BEHAVIOURS)
def test_conformance(make: Make, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    _check(make, name)


@pytest.mark.parametrize("name", [name for name, left_out in BEHAVIOURS if left_out is None])
def test_conformance_on_a_real_server(make_real: Make, name: str) -> None:
    _check(make_real, name)


def _check(make: Make, name: str) -> None:
    tables: dict[str, str] = {}

    def make_store(folder: str) -> RethinkDBJobStore:
        return make(table=tables.setdefault(folder, f"jobs{len(tables)}"))

    assert check_store(make_store, RethinkDBJobStore.traits, only=name) == [name]
