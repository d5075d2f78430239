"""A row that somebody else wrote runs no code, stops nobody, and costs no more memory than a row may."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import JobLookupError
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.serializers import JSONSerializer
from schedcore.serializers.base import MAX_BYTES
from schedcore.serializers.signed import SignedSerializer
from schedcore.testing import EventLog, VirtualScheduler
from tests.jobstores.every.material import work
from tests.jobstores.every.places import START, Kind, Place, ask_child

JSON = JSONSerializer()
KEYS = ["the first key of the tests", "the second key of the tests"]
LARGE = 100 * 1024 * 1024


def touched(path: Path) -> dict[str, Any]:
    """Arguments for ``os.system`` that leave a file behind."""
    return {"args": [f"touch {path}"]}


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def trigger(kind: str, **state: Any) -> dict[str, Any]:
    return {"trigger": {"type": kind, "state": {"version": 3, **state}}}


def interval(**changes: Any) -> dict[str, Any]:
    start_us = round(START.timestamp()) * 10**6
    state = {"timezone": "UTC", "interval_us": 3_600_000_000, "start_us": start_us, "end_us": None, "jitter_us": 0}
    return trigger("interval", **{**state, "floating": False, **changes})


def hourly(calendar: dict[str, Any]) -> dict[str, Any]:
    return trigger("excluding", **interval(), calendar=calendar, roll="skip", timezone="UTC", zone_data="x")


def data(path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """What a record says, though nobody of us would, and what is said of it."""
    touch = f"touch {path}"
    return {
        "os.system": ({"func": "os:system", **touched(path)}, "'os:system' runs programs or code"),
        "posix.system": ({"func": "posix:system", **touched(path)}, "'posix:system' runs programs or code"),
        "exec": ({"func": "builtins:exec", "args": [f"__import__('os').system({touch!r})"]}, "runs programs or code"),
        "a pipe": ({"func": "imaplib:IMAP4_stream", **touched(path)}, "'imaplib:IMAP4_stream' runs programs or code"),
        "a file": ({"func": "codecs:open", "args": [str(path), "w"]}, "'codecs:open' runs programs or code, or changes files"),
        "a command": (
            {"func": "schedcore.executors.command:run_command", **touched(path)},
            "'schedcore.executors.command:run_command' runs programs or code",
        ),
        "a scheduler": (
            {
                "func": "schedcore:BackgroundScheduler",
                "args": [{"executors": {"default": {"class": "subprocess:Popen", "args": ["touch", str(path)]}}}],
            },
            "'schedcore:BackgroundScheduler' runs programs or code",
        ),
        "a detour": ({"func": "json:decoder.scanner.re.enum.sys.exit", "args": []}, "leads into"),
        "an attribute": ({"func": "collections:abc.sys.modules.clear", "args": []}, "leads into"),
        "__globals__": ({"func": "json:dumps.__globals__.clear", "args": []}, "leads through __globals__"),
        "a module that acts": ({"func": "antigravity:webbrowser", "args": []}, ""),
        "a NUL in its function": ({"func": "os\0:system", **touched(path)}, ""),
        "no function": ({"func": ""}, "func is not text"),
        "another function": ({"func": ["os", "system"]}, "func is not text"),
        "arguments": ({"args": {"$tuple": 1}}, "arguments are not a list"),
        "other keywords": ({"kwargs": {1: 2}}, "arguments are not a list and a dictionary"),
        "an executor": ({"policy": {"executor": ["default"]}}, "executor cannot be"),
        "an option": ({"policy": {"never": 1}}, "does not know the job option 'never'"),
        "instances": ({"policy": {"max_instances": 10**30}}, "max_instances cannot be"),
        "version": ({"v": 2}, "has version 2"),
        "a name": ({"name": None}, "name is not text"),
        "an id of digits": ({"id": 1 << 16_000}, "that of another job"),
        "a version of digits": ({"v": 1 << 16_000}, "its record has version"),
        "an option of digits": ({"policy": {"max_instances": 1 << 16_000}}, "max_instances cannot be"),
        "a long function": ({"func": "builtins:len" + ".a" * 100_000}, "a reference has at most 1,000"),
        "a long module": ({"func": "a." * 100_000 + "b:c"}, "a reference has at most 1,000"),
        "a long trigger": (trigger("x" * 300_000), "more than 250,000 characters"),
        "a long zone": (interval(timezone="a/" * 100_000 + "a"), "no zone is called 'a/a/"),
        "another's id": ({"id": "good"}, "that of another job, 'good'"),
        "trigger os.system": (trigger("os:system"), "there is no trigger 'os:system'"),
        "calendar os.system": (hourly({"version": 1, "kind": "predicate", "function": "os:system"}), "runs programs or code"),
        "calendar exec": (hourly({"version": 1, "kind": "moments", "function": "builtins:exec"}), "runs programs or code"),
        "no interval": (interval(interval_us=0), "its trigger cannot be loaded"),
        "an interval of text": (interval(interval_us="9" * 100_000), "its trigger cannot be loaded"),
        "a zone": (interval(timezone="../../../etc/passwd"), "its trigger cannot be loaded"),
    }  # fmt: skip


def texts(path: Path, good: bytes) -> dict[str, tuple[bytes, str]]:
    """Bytes that no serializer of ours made."""
    unreadable = "its record cannot be read"
    head = b'{"v":1,"d":'
    return {
        "a pickle": (pickle.dumps(Evil(path)), unreadable),
        "an old pickle": (pickle.dumps(Evil(path), 0), unreadable),
        "nothing": (b"", unreadable),
        "NUL": (b"\0", unreadable),
        "NULs": (good.replace(b"work", b"wo\0rk"), ""),
        "UTF-8": (good.replace(b"work", b"w\xff\xfek"), unreadable),
        "half of a character": (good.replace(b"work", b"\\ud800"), unreadable),
        "brackets": (b"[" * 200_000, "levels deep"),
        "braces": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep"),
        "depth": (head + b"[" * 400 + b"]" * 400 + b"}", "levels deep"),
        "digits": (head + b"9" * 500_000 + b"}", unreadable),
        "an integer": (head + b'{"$int":"0x' + b"f" * 500_000 + b'"}}', "more than 20,000 bits"),
        "a decimal": (head + b'{"$decimal":"1E+999999999999999999999"}}', ""),
        "a type": (head + b'{"$of":["os:system","touch"]}}', "is not registered"),
        "a tag": (head + b'{"$call":["os:system","touch"]}}', "unknown tag"),
        "many lists": (head + b"[" + b"[]," * 150_000 + b"[]]}", "more than 250,000 values"),
        "signed": (SignedSerializer(JSON, KEYS[0]).dumps({"v": 1}), "its record is signed"),
        "text": (b'"' + b"x" * 500_000 + b'"', unreadable),
    }


@pytest.fixture
def booted(place: Place) -> Iterator[Callable[..., tuple[VirtualScheduler, EventLog]]]:
    """Starts the next process over the place, so many hours later."""
    running: list[VirtualScheduler] = []

    def boot(hours: float, **options: Any) -> tuple[VirtualScheduler, EventLog]:
        while running:
            running.pop().shutdown()
        scheduler = place.scheduler(START + timedelta(hours=hours), **options)
        log = EventLog(scheduler)
        running.append(scheduler)
        scheduler.start()
        return scheduler, log

    yield boot
    while running:
        running.pop().shutdown()


Boot = Callable[..., tuple[VirtualScheduler, EventLog]]


@pytest.mark.timeout(180)
def test_rows_that_somebody_else_wrote(place: Place, booted: Boot, tmp_path: Path) -> None:
    path = tmp_path / "evil"
    scheduler, _ = booted(0)
    scheduler.add_job(work, "interval", hours=1, id="good")
    scheduler.add_jobs(
        {"func": work, "trigger": "interval", "hours": 1, "id": name} for name in (*data(path), *texts(path, b""))
    )
    scheduler.shutdown()
    before = place.payloads()
    rows: dict[str, tuple[bytes, str]] = {
        name: (JSON.dumps({**JSON.loads(before[name]), **changes}), reason)
        for name, (changes, reason) in data(path).items()
    }
    rows |= texts(path, before["good"])
    place.put_payloads({name: payload for name, (payload, _) in rows.items()})
    expected = {name: reason for name, (_, reason) in rows.items()}
    payloads = place.payloads()
    modules = {"antigravity", "webbrowser"} - set(sys.modules)
    scheduler, log = booted(0.5)
    scheduler.advance(3 * 3600)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert sorted(jobs) == sorted(["good", *expected])
    for name, reason in expected.items():
        assert jobs[name].state is JobState.BROKEN, name
        assert reason in str(jobs[name].reason), name
        assert len(str(jobs[name].reason)) < 1000, name
        assert scheduler.get_runs(name) == [], name
    assert set(log.executed()) == set(log.executed("good"))
    assert len(log.executed("good")) == 3, "the others go on"
    assert sorted(event.job_id for event in log.of(EVENT_JOB_BROKEN)) == sorted(expected), "each is told once"
    assert not path.exists(), "something ran"
    assert not modules & set(sys.modules), "something was imported"
    # They can be stopped with, started with, changed and removed like any other.
    scheduler, log = booted(3.75)
    assert place.payloads() == payloads
    for name in expected:
        scheduler.remove_job(name)
        with pytest.raises(JobLookupError):
            scheduler.remove_job(name)
    scheduler.advance(3600)
    assert len(log.executed("good")) == 1
    assert place.ids() == ["good"]
    assert not path.exists()


@pytest.mark.timeout(180)
def test_signatures(place: Place, booted: Boot, tmp_path: Path) -> None:
    """What is not signed, signed with another key, changed, cut, or moved to another job is not even decoded."""
    path = tmp_path / "evil"
    names = ["unsigned", "another key", "changed", "cut", "of another job", "another serializer's", "a pickle"]
    scheduler, _ = booted(0, signing_key=KEYS[0], serializer="pickle")
    for name in ("good", *names):
        scheduler.add_job(work, "interval", hours=1, id=name)
    scheduler.shutdown()
    good = place.payloads()["good"]
    evil = pickle.dumps(Evil(path))
    place.put_payloads(
        {
            "unsigned": evil,
            "another key": good[:1] + b"unknown!" + good[9:41] + evil,
            "changed": good[:41] + evil,
            "cut": good[:-1],
            "of another job": good,
            "another serializer's": SignedSerializer(JSON, KEYS[0]).dumps({"v": 1}),
            "a pickle": good[:41],
        }
    )
    scheduler, log = booted(0.5, signing_key=KEYS[0], serializer="pickle")
    scheduler.advance(3 * 3600)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    reasons = {name: str(jobs[name].reason) for name in names}
    assert "it is not signed" in reasons.pop("unsigned")
    assert "signed with a key that is not given here" in reasons.pop("another key")
    assert "that of another job, 'good'" in reasons.pop("of another job")
    assert all("its signature is wrong" in reason for reason in reasons.values()), reasons
    assert [len(log.executed(name)) for name in ("good", *names)] == [3] + [0] * len(names)
    assert not path.exists(), "something ran"


# --- what is too large ------------------------------------------------------------------------------------------------

CHILD = """
import json, re, sys
from schedcore.job import JobState
from schedcore.testing import VirtualScheduler
from schedcore import config, plugins

def scheduler_of(options):
    store = config.build(config.component(options, "jobstore"), plugins.JOBSTORES)
    return VirtualScheduler(start="2026-01-01T00:30:00Z", timezone="UTC", jobstores={"default": store})

def peak():
    # What getrusage() tells begins with the peak of the process that started this one.
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1]) * 1024

harmless, harmful = json.load(sys.stdin)
found = []
for options in (harmless, harmful):
    scheduler = scheduler_of(options)
    scheduler.start()
    for _ in range(2):
        scheduler.advance(3600)
        jobs = {job.id: job for job in scheduler.get_jobs()}
        scheduler.get_job("bad")
    scheduler.remove_job("bad")
    found.append([peak(), {job.id: [str(job.state), job.reason] for job in jobs.values()},
                  len(scheduler.get_runs("good"))])
    scheduler.shutdown()
print(json.dumps(found))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its peak in /proc"
)
@pytest.mark.timeout(300)
def test_a_record_of_a_hundred_megabytes(kind: Kind, tmp_path: Path) -> None:
    places: list[Place] = []
    for name, size in (("harmless", 1), ("harmful", kind.largest(LARGE))):
        (tmp_path / name).mkdir()
        place = kind.place(tmp_path / name)
        places.append(place)
        scheduler = place.scheduler()
        scheduler.start()
        for job_id in ("good", "bad"):
            scheduler.add_job(work, "interval", hours=1, id=job_id)
        scheduler.shutdown()
        place.put_payloads({"bad": b'{"v":1,"d":"' + b"x" * size + b'"}'})
    answers = ask_child(CHILD, [place.options for place in places], tmp_path)
    (before, *_), (after, jobs, runs) = answers
    assert jobs["good"][0] == "active"
    assert runs == 2
    state, reason = jobs["bad"]
    assert state == "broken"
    size = kind.largest(LARGE) + 14
    if size > MAX_BYTES:
        assert f"its record has {size:,} bytes, and at most" in reason
        # The database's library and the allocator take a little on top of what may be read.
        assert after - before < 2 * MAX_BYTES, f"it costs {(after - before) / 1e6:.0f} MB"
    else:
        assert after - before < 10 * size, f"it costs {(after - before) / 1e6:.0f} MB"
