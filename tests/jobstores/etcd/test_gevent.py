"""A program that gevent has patched, in which schedulers and all who use them are greenlets of one thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.services import Etcd

_PROGRAM = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from schedcore.errors import JobStoreError
from schedcore.jobstores.etcd import EtcdJobStore
from schedcore.schedulers.background import BackgroundScheduler

port, path = sys.argv[1:]
turns = [0]

def tick():
    while True:
        gevent.sleep(0.005)
        turns[0] += 1

def use(name):
    scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id=name)
    assert scheduler.get_job(name).id == name

gevent.spawn(tick)
store = EtcdJobStore(path, host="127.0.0.1", port=port, timeout=3)
scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
scheduler.start()
gevent.joinall([gevent.spawn(use, f"job{number}") for number in range(9)], raise_error=True)
print("ready", len(scheduler.get_jobs()), flush=True)
assert sys.stdin.readline() == "silent\\n"
errors = []
# Several times: where the whole machine stood still for as long, nobody had a turn.
while len(errors) < 5:
    before = turns[0]
    try:
        scheduler.get_jobs()
    except JobStoreError as error:
        errors.append(type(error.__cause__).__name__)
    if turns[0] - before > 20:
        break
print(errors[0], turns[0] - before > 20, flush=True)
assert sys.stdin.readline() == "there\\n"
print(len(scheduler.get_jobs()), flush=True)
scheduler.shutdown()
"""


@pytest.mark.slow
def test_others_have_their_turns_while_one_waits(etcd: Etcd) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    place = etcd.fresh()
    command = [sys.executable, "-P", "-c", _PROGRAM, str(place.port), f"/{place.name}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stdout.readline() == "ready 9\n"
            etcd.pause()
            try:
                program.stdin.write("silent\n")
                assert program.stdout.readline() == "TimeoutError True\n"
            finally:
                etcd.resume()
            program.stdin.write("there\n")
            assert program.stdout.readline() == "9\n"
            assert program.wait(timeout=60) == 0
        finally:
            program.kill()
