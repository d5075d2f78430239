"""What may be stored, and who may have written it: the same on every job store."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import ReferenceNotAllowedError, SerializationError, TransientJobError
from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.job import JobState
from schedcore.jobstores import _kept
from schedcore.testing import EventLog, VirtualScheduler
from tests.jobstores.every import material
from tests.jobstores.every.material import Colour, Order, work
from tests.jobstores.every.places import START, Place

HERE = material.__name__
KEYS = ["the first key of the tests", b"the second key of the tests"]
HOURLY: dict[str, Any] = {"trigger": "interval", "hours": 1}

Boot = Callable[..., tuple[VirtualScheduler, EventLog]]


@pytest.fixture
def boot(place: Place) -> Iterator[Boot]:
    """Starts the next process over the place, so many hours later."""
    running: list[VirtualScheduler] = []

    def boot(hours: float, *, start: bool = True, **options: Any) -> tuple[VirtualScheduler, EventLog]:
        while running:
            running.pop().shutdown()
        scheduler = place.scheduler(START + timedelta(hours=hours), **options)
        log = EventLog(scheduler)
        running.append(scheduler)
        if start:
            scheduler.start()
        return scheduler, log

    yield boot
    while running:
        if running[-1].running:
            running[-1].shutdown()
        running.pop()


def states(scheduler: VirtualScheduler) -> dict[str, JobState]:
    return {job.id: job.state for job in scheduler.get_jobs()}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("size", "count"), [(250, 40), (10_000, 40), (300_000, 1)])
def test_long_ids_run_or_are_refused(boot: Boot, size: int, count: int) -> None:
    """One that was taken and could not be written with its runs kept all others from running."""
    scheduler, log = boot(0)
    scheduler.add_job(work, id="other", args=["other"], **HOURLY)
    ids = [f"{number:03}".rjust(size, "i") for number in range(count)]
    refused: SerializationError | None = None
    try:
        scheduler.add_jobs([{"func": work, "id": job_id, "args": [""], **HOURLY} for job_id in ids])
    except SerializationError as error:
        refused = error
    if refused is not None:
        assert (size > 250, refused.path) == (True, "id")
    taken = set() if refused is not None else set(ids)
    assert {job.id for job in scheduler.get_jobs()} == {"other", *taken}
    scheduler.advance(3600)
    assert {event.job_id for event in log.of(EVENT_JOB_EXECUTED)} == {"other", *taken}


@pytest.mark.timeout(180)
def test_one_key_takes_the_place_of_another(boot: Boot) -> None:
    scheduler, _ = boot(0, signing_key=KEYS[0])
    for name in ("a", "b"):
        scheduler.add_job(work, id=name, args=[name], **HOURLY)
    # The new one signs, and both are good.
    scheduler, log = boot(0.5, signing_key=[KEYS[1], KEYS[0]])
    scheduler.advance(3600)
    assert len(log.executed()) == 2
    scheduler.modify_job("a", args=["changed"])
    scheduler.add_job(work, id="c", **HOURLY)
    # The old one alone does not know what the new one has signed.
    scheduler, log = boot(2.5, signing_key=KEYS[0])
    assert states(scheduler) == {"a": JobState.BROKEN, "b": JobState.ACTIVE, "c": JobState.BROKEN}
    # The new one alone does not know what has not been written since.
    scheduler, log = boot(3.25, signing_key=[KEYS[1]])
    assert states(scheduler) == {"a": JobState.ACTIVE, "b": JobState.BROKEN, "c": JobState.ACTIVE}
    assert "signed with a key that is not given here" in str({job.id: job for job in scheduler.get_jobs()}["b"].reason)
    scheduler.advance(3600)
    assert log.executed("b") == []
    assert log.executed("a")
    # No key at all reads none of them.
    scheduler, log = boot(4.5)
    assert set(states(scheduler).values()) == {JobState.BROKEN}
    scheduler, log = boot(4.75, signing_key=[b"a third key, of the same length", KEYS[1], KEYS[0]])
    assert states(scheduler) == dict.fromkeys("abc", JobState.ACTIVE)
    assert {job.id: job.args for job in scheduler.get_jobs()} == {"a": ("changed",), "b": ("b",), "c": ()}
    scheduler.advance(3600)
    assert {event.job_id for event in log.events if hasattr(event, "retval")} == {"a", "b", "c"}


@pytest.mark.parametrize("running", [False, True])
def test_what_may_not_be_named_is_refused_when_it_is_added(boot: Boot, place: Place, running: bool) -> None:
    scheduler, _ = boot(0, start=running, allowed_refs=[f"{HERE}:wor*"])
    scheduler.add_job(work, id="good", **HOURLY)
    for func in (
        material.replacement,
        "os:system",
        "json:dumps",
        f"{HERE}:Path.unlink",
        f"{HERE}:work.__globals__.clear",
    ):
        with pytest.raises(ReferenceNotAllowedError):
            scheduler.add_job(func, args=["x"], **HOURLY)
    with pytest.raises(ReferenceNotAllowedError):
        scheduler.modify_job("good", func=material.replacement)
    if not running:
        scheduler.start()
    assert [job.func for job in scheduler.get_jobs()] == [work]
    assert place.ids() == ["good"]
    # Without a list: all but what runs programs or code, or changes files.
    scheduler, _ = boot(1)
    scheduler.add_job("json:dumps", id="harmless", args=[1], **HOURLY)
    for func in ("os:system", "subprocess:run", "builtins:exec", "asyncio:create_subprocess_shell"):
        with pytest.raises(ReferenceNotAllowedError):
            scheduler.add_job(func, args=["true"], **HOURLY)
    assert place.ids() == ["good", "harmless"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a lock": ({"kwargs": {"when": [1, (2, threading.Lock())]}}, "kwargs['when'][1][1]", "is not plain data"),
    "an object": ({"args": [0, {"a b": object()}]}, "args[1]['a b']", "is not plain data"),
    "a function": ({"args": [print]}, "args[0]", "is code, not data"),
    "a class": ({"args": [{"x": [int]}]}, "args[0]['x'][0]", "is code, not data"),
    "an Enum": ({"args": [{Colour.RED: 1}]}, "args[0]", "Colour is not registered"),
    "a dataclass": ({"kwargs": {"order": Order(1, START)}}, "kwargs['order']", "Order is not registered"),
    "a Path": ({"args": [(Path("x"),)]}, "args[0][0]", "Serializer(types=[Path])"),
    "half of a character": ({"args": [["\ud800"]]}, "args[0][0]", "lone surrogate"),
    "a subclass": ({"args": [[type("Text", (str,), {})("x")]]}, "args[0][0]", "Text is a subclass of str"),
    "many bytes": ({"args": [b"x" * 20_000_000]}, "", "bytes"),
}


def test_what_cannot_be_stored_is_refused_when_it_is_added(boot: Boot, place: Place) -> None:
    def nested() -> None: ...

    endless: list[Any] = []
    endless.append(endless)
    cases = {**REFUSED, "itself": ({"args": [endless]}, "args[0][0]", "containing itself")}
    for serializer in ("json", "cbor"):
        for running in (False, True):
            scheduler, _ = boot(0, start=running, serializer=serializer)
            for name, (arguments, path, reason) in cases.items():
                with pytest.raises(SerializationError) as caught:
                    scheduler.add_job(work, id=name, **arguments, **HOURLY)
                assert caught.value.path.startswith(path), f"{serializer}, {name}: {caught.value.path}"
                assert path in str(caught.value), f"{serializer}, {name}: {caught.value}"
                assert reason in str(caught.value), f"{serializer}, {name}: {caught.value}"
                assert repr(name) in str(caught.value), "it does not name the job"
            for func in (lambda: None, nested, threading.Lock().acquire):
                with pytest.raises(TransientJobError):
                    scheduler.add_job(func, id="func", **HOURLY)
            if not running:
                scheduler.start()
            assert scheduler.get_jobs() == []
            assert place.ids() == []
            # One of many refuses all of them.
            with pytest.raises(SerializationError, match=r"args\[0\]\['x'\]\[0\]"):
                scheduler.add_jobs([{"func": work, **HOURLY}, {"func": work, "args": [{"x": [int]}], **HOURLY}])
            assert place.ids() == []


@pytest.mark.timeout(180)
def test_large_jobs_are_not_all_kept_in_memory(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of jobs with a megabyte of arguments stayed there twice: as they were stored, and as they were made of that."""
    monkeypatch.setattr(_kept, "MOST_BYTES", 200_000)
    names = [f"{number:02}" for number in range(20)]
    scheduler, _ = boot(0)
    scheduler.add_jobs([{"func": len, "id": name, "args": [name * 30_000], **HOURLY} for name in names])
    tracemalloc.start()
    try:
        scheduler, log = boot(0)
        for _ in range(2):
            scheduler.advance(3600)
            scheduler.get_jobs()
        ran = [event.job_id for event in log.of(EVENT_JOB_EXECUTED)]
        gc.collect()
        running, _ = tracemalloc.get_traced_memory()
        scheduler.shutdown()
        gc.collect()
        ended, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(ran) == sorted(2 * names)
    assert running - ended < 700_000, running - ended
