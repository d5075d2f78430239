"""Every kind of job, trigger and argument, stored here and loaded by a process that knows nothing else, is the same there."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schedcore import plugins
from schedcore.clock import from_datetime
from schedcore.engine import dispatch_us
from schedcore.job import JobState
from schedcore.testing import VirtualScheduler
from schedcore.triggers.foreign import ForeignTrigger, as_grid
from tests.jobstores.every.material import (
    FUNCTIONS,
    PICKLED_FUNCTIONS,
    TYPES,
    VALUES,
    EverySecondMinute,
    EveryThirdMinute,
    fire_times,
    shown,
    triggers,
    work,
)
from tests.jobstores.every.places import START, Kind, ask_child

# Everything has its place in a schedule, so that this is found again, too.
MINUTELY: dict[str, Any] = {"trigger": "interval", "minutes": 1}

# Reads a configuration for each serializer, and says what it finds.
CHILD = """
import json, sys
from tests.jobstores.every.test_fresh_process import found_by
print(json.dumps([found_by(*case) for case in json.load(sys.stdin)]))
"""


def serializer_of(name: str) -> Any:
    from schedcore.serializers import JSONSerializer

    if name == "json":
        return JSONSerializer(TYPES)
    if name == "cbor":
        from schedcore.serializers.cbor import CBORSerializer

        return CBORSerializer(TYPES)
    return name


def scheduler_of(store: Any) -> VirtualScheduler:
    return VirtualScheduler(start=START, timezone="UTC", jobstores={"default": store})


def told(scheduler: VirtualScheduler) -> dict[str, Any]:
    """All that is known of each job, as data."""
    return {
        job.id: [
            str(job.state),
            job.reason,
            job.func_ref,
            shown(job.args),
            shown(job.kwargs),
            job.name,
            repr(job.trigger),
            str(job.next_run_time),
            [job.executor, job.coalesce, job.misfire_grace_time, job.max_instances],
            fire_times(as_grid(job.trigger), from_datetime(START), job.id, dispatch_us),
        ]
        for job in scheduler.get_jobs()
    }


def found_by(options: dict[str, Any], serializer: str) -> dict[str, Any]:
    """What a process finds in a store. It is called in another one."""
    scheduler = scheduler_of(
        plugins.load(plugins.JOBSTORES, options.pop("type"))(**options, serializer=serializer_of(serializer))
    )
    scheduler.start(paused=True)
    try:
        found = told(scheduler)
        for job in scheduler.get_jobs():
            assert job.func is None or callable(job.func)
            if job.id == "a method of an object" and job.func is not None:
                assert job.func() == 7
        return found
    finally:
        scheduler.shutdown()


# Commands are run by who says that they may be.
ALLOWED = ["default", "schedcore.executors.command:run_command"]


def add_all(scheduler: VirtualScheduler, serializer: str) -> None:
    for name, trigger in triggers().items():
        scheduler.add_job(work, trigger, id=f"trigger: {name}")
    functions = dict(FUNCTIONS)
    if serializer == "pickle":
        scheduler.add_job(work, EverySecondMinute(7), id="trigger: of somebody else's")  # type: ignore[arg-type]
        scheduler.add_job(work, EveryThirdMinute(7), id="trigger: as for 3.x")
        functions |= PICKLED_FUNCTIONS
    for name, (func, args) in functions.items():
        scheduler.add_job(func, id=name, args=args, **MINUTELY)
    for name, values in VALUES.items():
        scheduler.add_job(work, id=f"values: {name}", args=values, kwargs={"all": list(values)}, **MINUTELY)
    policy: dict[str, Any] = {"misfire_grace_time": 1.5, "coalesce": False, "max_instances": 3, "max_catchup": 7}
    scheduler.add_job(work, id="options", name="größe", executor="other", recovery="lost", **policy, **MINUTELY)
    scheduler.add_job(work, id="paused", next_run_time=None, **MINUTELY)


@cache
def what_never_was_bytes(serializer: str) -> str:
    """What is to be found: the same jobs in memory, told as JSON text."""
    scheduler = scheduler_of({"type": "memory"})
    scheduler.start(paused=True)
    add_all(scheduler, serializer)
    found = json.dumps(told(scheduler))
    scheduler.shutdown()
    return found


@pytest.mark.timeout(180)
def test_a_fresh_process_finds_what_was_stored(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("cbor2", reason="the serializer 'cbor' needs cbor2, which the extra 'cbor' brings")
    cases: list[tuple[dict[str, Any], str]] = []
    expected: list[dict[str, Any]] = []
    for serializer in ("json", "cbor", "pickle"):
        folder = tmp_path / serializer
        folder.mkdir()
        place = kind.place(folder)
        scheduler = scheduler_of(place.store(serializer=serializer_of(serializer), allowed_refs=ALLOWED))
        scheduler.start(paused=True)
        add_all(scheduler, serializer)
        scheduler.shutdown()
        expected.append(json.loads(what_never_was_bytes(serializer)))
        cases.append(({**place.options, "allowed_refs": ALLOWED}, serializer))
    answers = ask_child(CHILD, cases, tmp_path)
    for (_, serializer), found, wanted in zip(cases, answers, expected, strict=True):
        assert found.keys() == wanted.keys()
        for job_id, job in wanted.items():
            assert found[job_id] == job, f"{serializer}: {job_id}"
            assert job[0] == str(JobState.PAUSED if job_id == "paused" else JobState.ACTIVE)


def test_every_class_of_triggers_is_among_them() -> None:
    pytest.importorskip("dateutil", reason="python-dateutil is not installed; the extra 'rrule' brings it")
    pytest.importorskip("holidays", reason="the library of holidays is not installed; the extra 'holidays' brings it")
    there = triggers()
    assert {name.partition(",")[0] for name in there} == set(plugins.known(plugins.TRIGGERS))
    assert {plugins.load(plugins.TRIGGERS, alias) for alias in plugins.known(plugins.TRIGGERS)} == {
        type(trigger) for trigger in there.values()
    }
    assert isinstance(as_grid(EveryThirdMinute(1)), ForeignTrigger)
    scheduler = scheduler_of({"type": "memory"})
    add_all(scheduler, "pickle")
    fired = [len(times) for *_, times in told(scheduler).values()]
    assert sorted(fired)[:2] == [1, 100], "all but the one that fires once have a hundred"
