"""A fork of which Python is told nothing, as by uWSGI: the child's copy of a scheduler is stopped, whoever looks at it first."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

# Seconds. Only a failure waits as long.
LIMIT_S = 60.0

PREAMBLE = """
import asyncio, atexit, ctypes, logging, os, signal, sys, time
from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.schedulers.background import BackgroundScheduler

logging.getLogger("asyncio").setLevel(logging.ERROR)  # in development mode it warns of callbacks that a busy machine makes slow
libc = ctypes.PyDLL(None)  # its calls are made with the interpreter's lock, and ``fork`` without the interpreter's hooks
# A thread that was asked to let another one have that lock waits until it has it, and in the child there is no other one.
sys.setswitchinterval(1000)

def fork():
    child = libc.fork()
    if child == 0:
        signal.alarm(20)  # one that hangs is killed
    return child

def in_child(look):
    '''What ``look`` says in a child of its own, in which nobody has looked before.'''
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            said = repr(look())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text if status == 0 else f"it ended with {status}"
"""


def said(source: str) -> list[str]:
    program = subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", PREAMBLE + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (program.returncode, program.stderr) == (0, "")
    return program.stdout.splitlines()


STOPPED = {
    "scheduler.running": "False",
    "scheduler.state": "0",
    "scheduler.shutdown()": "[]",
    "scheduler.shutdown(wait=False)": "[]",
    "scheduler.pause()": "SchedulerNotRunningError: the scheduler is not running; call start() first",
    "scheduler.wakeup()": "SchedulerNotRunningError: the scheduler is not running; call start() first",
    "scheduler.add_job(time.time).pending": "True",
    "scheduler.add_jobs([{'func': time.time}])[0].pending": "True",
    "scheduler.get_jobs()": "[]",
    "scheduler.get_job('job')": "None",
    "scheduler.modify_job('job', name='other')": "JobLookupError: no job by the id of 'job' was found",
    "scheduler.remove_job('job')": "JobLookupError: no job by the id of 'job' was found",
    "scheduler.remove_all_jobs()": "None",
}


def test_each_call_finds_the_scheduler_stopped_in_the_child() -> None:
    lines = said(
        f"""
        scheduler = BackgroundScheduler(timezone="UTC")
        scheduler.start()
        scheduler.add_job(time.time, "interval", hours=1, id="job")
        for call in {list(STOPPED)!r}:
            print(in_child(lambda: eval(call)))
        print(in_child(scheduler.start).partition(",")[0])
        print(in_child(lambda: (atexit._run_exitfuncs(), scheduler._state)))
        print(scheduler.running, [job.id for job in scheduler.get_jobs()])
        scheduler.shutdown()
        """
    )
    assert dict(zip(STOPPED, lines, strict=False)) == STOPPED
    assert lines[len(STOPPED) :] == [
        "SchedulerStartError: this scheduler was running when its process was forked",
        "(None, 0)",
        "True ['job']",
    ]


def test_a_loop_that_goes_on_in_the_child_fires_nothing_there() -> None:
    lines = said(
        """
        ran = []

        async def job():
            ran.append(os.getpid())

        def look_in_child():
            # Nobody asks the scheduler: it looks by itself when its timer rings.
            if not scheduler._state:
                os._exit(1 if os.getpid() in ran else 0)
            loop.call_later(0.001, look_in_child)

        def look(child=0, before=0):
            if ran and not child:
                child = fork()
                if child == 0:
                    look_in_child()
                    return
            if child and not before:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    print(os.waitstatus_to_exitcode(status))
                    before = len(ran)
            if before and len(ran) > before:
                loop.stop()
            else:
                loop.call_later(0.001, look, child, before)

        async def main():
            scheduler.start()
            scheduler.add_job(job, "interval", seconds=0.01)

        loop = asyncio.new_event_loop()
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"max_instances": 1000})
        loop.run_until_complete(main())
        look()
        loop.run_forever()
        print(set(ran) == {os.getpid()}, scheduler.running)

        async def end():
            await scheduler.shutdown()

        loop.run_until_complete(end())
        loop.close()
        """
    )
    assert lines == ["0", "True True"]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("fork", ["fork", "os.fork"])
def test_what_was_about_to_begin_on_a_loop_begins_in_the_parent_alone(fork: str, jobs: int) -> None:
    """The child has the loop's callbacks as well, and among them those that were to begin runs."""
    lines = said(
        f"""
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of forks beside threads
        ran = []
        said = None  # what the child ended with

        async def job():
            ran.append(os.getpid())

        def look_in_child(turns=10):
            if turns:
                loop.call_soon(look_in_child, turns - 1)
            else:
                os._exit(len(ran))

        class Scheduler(AsyncIOScheduler):
            def _tick(self):
                global said
                super()._tick()
                if said is None and len(self._executors["default"].live_runs()) == {jobs}:
                    assert not ran
                    child = {fork}()
                    if child == 0:
                        said = "nothing"
                        signal.alarm(20)
                        look_in_child()
                    else:
                        # At once: the child reads what wakes this loop up, which is the same pipe.
                        said = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        def look():
            if len(ran) == {jobs}:
                if said is not None:
                    loop.stop()
                    return
                add()  # they were not all there after one tick: the machine stood still
            loop.call_later(0.001, look)

        def add():
            ran.clear()
            scheduler.pause()
            for _ in range({jobs}):
                scheduler.add_job(job)
            scheduler.resume()

        async def main():
            scheduler.start()
            add()

        async def end():
            await scheduler.shutdown()

        loop = asyncio.new_event_loop()
        scheduler = Scheduler(timezone="UTC")
        loop.run_until_complete(main())
        look()
        loop.run_forever()
        loop.run_until_complete(end())
        loop.close()
        print(ran == [os.getpid()] * {jobs}, said)
        """
    )
    assert lines == ["True 0"]
