"""The program of the page on differences that takes jobs over, with a stand-in for what it reads them from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.jobstores.sqlalchemy import open_reader
from schedcore.triggers.base import BaseTrigger
from tests.test_docs import blocks, run

BERLIN = ZoneInfo("Europe/Berlin")
T0 = datetime(2040, 1, 1, tzinfo=BERLIN)


def theirs(module: str, name: str, state: dict[str, Any]) -> Any:
    """A trigger as 3.x has it: a class of that name, and its state."""
    kind = type(name, (), {"__module__": f"apscheduler.triggers.{module}", "__getstate__": lambda self: state})
    return kind()


def job(job_id: str, trigger: Any, **options: Any) -> SimpleNamespace:
    usual = {
        "func": "math:hypot",
        "args": [3, 4],
        "kwargs": {},
        "executor": "default",
        "coalesce": True,
        "max_instances": 1,
        "misfire_grace_time": 1,
        "next_run_time": T0,
    }
    values = {**usual, **options}
    return SimpleNamespace(id=job_id, name=job_id.upper(), trigger=trigger, func_ref=values.pop("func"), **values)


COMMON = {"version": 2, "timezone": BERLIN, "start_date": None, "end_date": None, "jitter": None}
CRON = theirs("cron", "CronTrigger", {**COMMON, "fields": [{"name": "hour", "text": "3", "is_default": False}]})
INTERVAL = theirs("interval", "IntervalTrigger", {**COMMON, "start_date": T0, "interval": timedelta(hours=3)})
JOBS = [
    job("cron", CRON, misfire_grace_time=None, coalesce=False, max_instances=3),
    job("interval", INTERVAL, next_run_time=T0 + timedelta(hours=6)),
    job("paused", CRON, next_run_time=None),
]


class Store:
    """A job store of 3.x, of which the program asks no more than this."""

    def __init__(self, url: str) -> None:
        self.calls = [url]
        stores.append(self)

    def start(self, scheduler: Any, alias: str) -> None:
        self.calls.append(alias)

    def get_all_jobs(self) -> list[SimpleNamespace]:
        return JOBS

    def shutdown(self) -> None:
        self.calls.append("shutdown")


stores: list[Store] = []


@pytest.fixture
def apscheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apscheduler", "apscheduler.jobstores", "apscheduler.schedulers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    jobstores: Any = ModuleType("apscheduler.jobstores.sqlalchemy")
    jobstores.SQLAlchemyJobStore = Store
    schedulers: Any = ModuleType("apscheduler.schedulers.background")
    schedulers.BackgroundScheduler = object
    for module in (jobstores, schedulers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    stores.clear()


def test_jobs_are_taken_over(apscheduler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (block,) = blocks("differences.md")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = run(block, "differences.md", names)
    assert "CRON (trigger: cron[hour='3'], next run at: 2040-01-01 00:00:00 CET)" in said
    assert [store.calls for store in stores] == [["sqlite:///old.sqlite", "default", "shutdown"]]
    reader = open_reader("sqlite:///new.sqlite")
    try:
        found = {entry.job.id: entry for entry in reader.list_entries()}
    finally:
        reader.shutdown()
    assert list(found) == ["cron", "interval", "paused"]
    cron, interval, paused = found.values()
    assert (cron.job.name, cron.job.func_ref, cron.job.args) == ("CRON", "math:hypot", (3, 4))
    policy = cron.job.policy
    assert (policy.misfire_grace_time, policy.coalesce, policy.max_instances) == (None, False, 3)
    assert interval.job.policy.misfire_grace_time == 1
    assert str(paused.state) == "paused"
    # Each goes on with the next of its own times.
    after = datetime(2040, 1, 1, 5, tzinfo=UTC)
    assert cron.job.trigger.get_next_fire_time(after, after) == datetime(2040, 1, 2, 3, tzinfo=BERLIN)
    assert interval.job.trigger.get_next_fire_time(after, after) == datetime(2040, 1, 1, 9, tzinfo=BERLIN)
    mine = SimpleNamespace(get_next_fire_time=BaseTrigger.get_next_fire_time)
    assert names["taken_over"](mine) is mine
