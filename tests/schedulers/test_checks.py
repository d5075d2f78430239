"""What is refused, and in which words; what a migrating user may have got away with elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from schedcore.errors import ConfigurationError, InvalidTriggerError, JobArgumentsError
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import VirtualScheduler
from schedcore.triggers.interval import IntervalTrigger

Make = Callable[..., VirtualScheduler]


def one(a: Any = None) -> None:
    pass


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"args": {"a": 1}}, JobArgumentsError, "arguments by name go into kwargs"),
        ({"args": {1}}, JobArgumentsError, "a set has no order"),
        ({"coalesce": "false"}, ConfigurationError, "coalesce must be True or False, not 'false'"),
        ({"coalesce": None}, ConfigurationError, "coalesce must be True or False, not None"),
        ({"misfire_grace_time": math.inf}, ConfigurationError, "misfire_grace_time must be a positive number"),
        ({"misfire_grace_time": 10**400}, ConfigurationError, "misfire_grace_time must be a positive number"),
        ({"executor": ["default"]}, ConfigurationError, "executor must be the alias of an executor"),
        ({"jobstore": None}, ConfigurationError, "jobstore must be the alias of a job store"),
    ],
)
def test_what_add_job_refuses(
    virtual: Make, started: bool, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    scheduler = virtual(started=started)
    with pytest.raises(error, match=words):
        scheduler.add_job(one, "interval", seconds=10, **options)
    assert scheduler.get_jobs() == []


def test_a_grace_time_below_a_microsecond_is_still_one(virtual: Make) -> None:
    job = virtual().add_job(one, "interval", seconds=10, misfire_grace_time=1e-9)
    assert job.misfire_grace_time == 1e-6


def test_a_trigger_is_an_instance_and_never_none_once_there_is_one(virtual: Make) -> None:
    scheduler = virtual()
    wrong: Any = IntervalTrigger
    with pytest.raises(InvalidTriggerError, match="trigger must be an alias such as 'interval', a trigger instance"):
        scheduler.add_job(one, wrong)
    job = scheduler.add_job(one, "interval", seconds=10)
    with pytest.raises(InvalidTriggerError, match="to stop a job for a while, pause it"):
        job.modify(trigger=None)


@pytest.mark.parametrize("method", ["remove_all_jobs", "get_jobs", "print_jobs", "pause_job", "remove_job"])
def test_an_unknown_job_store_is_named(virtual: Make, method: str) -> None:
    scheduler = virtual()
    args = ["x"] if method.endswith("_job") else []
    with pytest.raises(KeyError, match="no job store has the alias 'defualt'; did you mean 'default'"):
        getattr(scheduler, method)(*args, jobstore="defualt")


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize(
    "call",
    [
        lambda scheduler, what: scheduler.modify_job("a", what),
        lambda scheduler, what: scheduler.remove_job("a", what),
        lambda scheduler, what: scheduler.get_jobs(what),
        lambda scheduler, what: scheduler.get_runs("a", what),
        lambda scheduler, what: scheduler.remove_all_jobs(what),
    ],
)
def test_what_is_no_alias_of_a_job_store_is_named(
    virtual: Make, call: Callable[[Any, object], object], started: bool
) -> None:
    """It was said that a type is unhashable."""
    with pytest.raises(ConfigurationError, match=r"jobstore must be a text .+, not {'max_instances': 2}"):
        call(virtual(started=started), {"max_instances": 2})


def test_the_runs_of_a_removed_executor_are_waited_for() -> None:
    scheduler = BackgroundScheduler()
    scheduler.add_executor("threadpool", "other")
    scheduler.start()
    begun, ended = [], []

    def job() -> None:
        begun.append(True)
        time.sleep(0.1)
        ended.append(True)

    scheduler.add_job(job, executor="other")
    while not begun:
        time.sleep(0.001)
    scheduler.remove_executor("other")
    scheduler.shutdown()
    assert ended == [True]
