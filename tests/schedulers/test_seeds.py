"""``H`` in a crontab text is drawn from the job's id, by whichever way the trigger comes to the job."""

from __future__ import annotations

from typing import Any

import pytest

from schedcore.testing import VirtualScheduler
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.cron import CronTrigger

TEXT = "H H * * *"


def nothing() -> None:
    pass


def expected(job_id: str) -> BaseTrigger:
    return CronTrigger.from_crontab(TEXT, timezone="UTC", seed=job_id)


def hashed() -> CronTrigger:
    return CronTrigger.from_crontab(TEXT, timezone="UTC")


@pytest.mark.parametrize("running", [False, True])
def test_by_the_id_that_was_given(running: bool) -> None:
    scheduler = VirtualScheduler()
    if running:
        scheduler.start()
    job = scheduler.add_job(nothing, hashed(), id="report")
    assert job.trigger == expected("report")
    scheduler.add_job(nothing, "interval", hours=1, id="other")
    assert scheduler.reschedule_job("other", trigger=hashed()).trigger == expected("other")
    assert scheduler.modify_job("other", trigger=hashed()).trigger == expected("other")
    again = scheduler.add_job(nothing, hashed(), id="report", replace_existing=True)
    assert again.trigger == expected("report")


def test_by_an_id_that_was_made(tmp_path: Any) -> None:
    scheduler = VirtualScheduler()
    scheduler.start()
    job = scheduler.add_job(nothing, hashed())
    assert job.trigger == expected(job.id)


def test_start_up_code_of_a_durable_store_gets_the_same_times_at_each_start(tmp_path: Any) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    found = []
    for _ in range(2):
        url = f"sqlite:///{tmp_path}/jobs.sqlite"
        scheduler = VirtualScheduler(jobstores={"default": {"type": "sqlalchemy", "url": url}})
        scheduler.add_job(nothing, hashed())
        scheduler.start()
        (job,) = scheduler.get_jobs()
        found.append((job.id, job.next_run_time))
        assert job.trigger == expected(job.id)
        scheduler.shutdown()
    assert found[0] == found[1]
