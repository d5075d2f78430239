"""Whole programs, with the standard library patched by gevent and without: what a test process can be only one of."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.adapters.gevent.programs import both, run


@both
def test_jobs_of_all_kinds_events_and_a_shutdown_that_waits(patched: bool) -> None:
    printed = run(
        """
        import asyncio, logging
        logging.disable()  # what fails is logged, as it should be
        executors = {"default": GeventExecutor(), "threads": GeventThreadExecutor(2), "pool": ThreadPoolExecutor(2)}
        scheduler = GeventScheduler(executors=executors)
        events, tellers = [], set()
        def listen(event):
            events.append((event.code, getattr(event, "job_id", None), getattr(event, "retval", None)))
            tellers.add(real_ident())
            time.sleep(0.001)
        scheduler.add_listener(listen)
        scheduler.start()
        def wait():
            time.sleep(0.02) if PATCHED else gevent.sleep(0.02)
            return real_ident()
        async def coroutine():
            await asyncio.sleep(0.01)
            return real_ident()
        def block():
            real_sleep(0.02)
            return real_ident()
        scheduler.add_job(wait, id="greenlet")
        scheduler.add_job(coroutine, id="coroutine")
        scheduler.add_job(block, id="threads", executor="threads")
        scheduler.add_job(wait if PATCHED else block, id="pool", executor="pool")
        scheduler.add_job(lambda: 1 / 0, id="fails")
        until(lambda: [code for code, *_ in events].count(EVENT_JOB_STARTED) == 5)
        result = scheduler.shutdown()
        assert result.ready() and result.get() == [], result
        values = {job_id: value for code, job_id, value in events if code == EVENT_JOB_EXECUTED}
        assert values["greenlet"] == MAIN
        assert values["coroutine"] != MAIN and values["threads"] != MAIN
        assert (values["pool"] == MAIN) is PATCHED, "in a patched program its threads are greenlets"
        assert [code for code, *_ in events].count(EVENT_JOB_ERROR) == 1
        assert events[0][0] == EVENT_SCHEDULER_STARTED and events[-1][0] == EVENT_SCHEDULER_SHUTDOWN
        assert (tellers == {MAIN}) is PATCHED, tellers
        assert PATCHED or MAIN not in tellers, tellers
        print("as wanted")
        """,
        patched=patched,
    )
    assert printed.splitlines()[-1] == "as wanted"


@both
def test_a_slow_store_and_greenlets_that_use_it(patched: bool) -> None:
    run(
        """
        store = FarStore()
        store.delay_s = 0.02
        ran, turns = [], [0]
        def tick():
            while True:
                gevent.sleep(0.001)
                turns[0] += 1
        ticker = gevent.spawn(tick)
        events = []
        scheduler = GeventScheduler(jobstores={"default": store})
        scheduler.add_listener(lambda event: events.append(event.code))
        with gevent.Timeout(40), scheduler:
            def use(name):
                job = scheduler.add_job(ran.append, "interval", hours=1, args=[name], id=name)
                assert scheduler.get_job(name).id == name
                try:
                    scheduler.add_job(int, id=name)
                except KeyError as error:
                    pass
                else:
                    raise AssertionError("no error")
                job.modify(next_run_time=job.next_run_time - __import__("datetime").timedelta(hours=1))
            gevent.joinall([gevent.spawn(use, str(number)) for number in range(12)], raise_error=True)
            until(lambda: len(ran) == 12)
            assert len(scheduler.get_jobs()) == 12
        ticker.kill()
        assert MAIN not in store.threads, "the store was called in the main thread"
        assert turns[0] > 50, f"others had {turns[0]} turns"
        assert events.count(EVENT_JOB_EXECUTED) == 12 and events[-1] == EVENT_SCHEDULER_SHUTDOWN
        """,
        patched=patched,
    )


@both
def test_real_threads_and_greenlets_and_ticks_all_at_once(patched: bool) -> None:
    run(
        """
        scheduler = GeventScheduler(jobstores={"default": MemoryJobStore(), "far": FarStore()})
        ran, told, over, errors = [], [], [], []
        scheduler.add_listener(lambda event: told.append(event.job_id), EVENT_JOB_EXECUTED)
        scheduler.start()
        def work(name):
            try:
                for number in range(100):
                    scheduler.add_job(ran.append, args=[(name, number)])
                    scheduler.add_job(int, "interval", hours=1, id=f"{name} {number}")
                    scheduler.modify_job(f"{name} {number}", name="changed")
                    scheduler.remove_job(f"{name} {number}")
                    if number % 20 == 0:
                        scheduler.add_job(ran.append, args=[(name, "far", number)], jobstore="far")
            except BaseException as error:
                errors.append(error)
            over.append(name)
        for name in range(4):
            start_real_thread(work, (f"thread {name}",))
            gevent.spawn(work, f"greenlet {name}")
        until(lambda: len(over) == 8)
        assert not errors, errors
        until(lambda: len(ran) == 840)
        until(lambda: len(told) == 840)
        assert len(set(ran)) == 840
        stopped = []
        start_real_thread(lambda: stopped.append(scheduler.shutdown().ready()), ())
        until(lambda: stopped)
        assert stopped == [True]
        """,
        patched=patched,
    )


@both
def test_a_shutdown_by_a_real_thread_a_listener_and_the_hub(patched: bool) -> None:
    run(
        """
        def by_thread(scheduler):
            start_real_thread(scheduler.shutdown, ())
        def by_listener(scheduler):
            scheduler.add_listener(lambda event: scheduler.shutdown(), EVENT_JOB_EXECUTED)
            scheduler.add_job(int)
        def by_hub(scheduler):
            gevent.get_hub().loop.run_callback(scheduler.shutdown)
        def by_job(scheduler):
            scheduler.add_job(scheduler.shutdown)
        def took_s(stop, store):
            scheduler = GeventScheduler(jobstores={"default": store})
            scheduler.start()
            begun, gate, over = gevent.event.Event(), gevent.event.Event(), []
            def job():
                begun.set()
                gate.wait()
                over.append(1)
            scheduler.add_job(job)
            begun.wait()
            begun_s = time.monotonic()
            stop(scheduler)
            until(lambda: not scheduler.running)
            gevent.sleep(0.005)
            assert not over
            gate.set()
            assert scheduler.shutdown().get(timeout=150) == []
            assert over == [1]
            return time.monotonic() - begun_s
        for stop in (by_thread, by_listener, by_hub, by_job):
            for make in (MemoryJobStore, FarStore):
                # The machine may stand still for a while.
                assert any(took_s(stop, make()) < 4 for _ in range(3)), f"{stop.__name__} waited for itself"
        """,
        patched=patched,
    )


@both
def test_a_program_that_forgets_to_shut_down_ends_when_its_jobs_have(patched: bool) -> None:
    printed = run(
        """
        scheduler = GeventScheduler(jobstores={"default": MemoryJobStore(), "far": FarStore()})
        scheduler.start()
        begun = gevent.event.Event()
        def job():
            begun.set()
            gevent.sleep(0.05)
            print("over", flush=True)
        scheduler.add_job(job)
        scheduler.add_job(print, "interval", hours=1)
        begun.wait()
        print("main ends", flush=True)
        """,
        patched=patched,
    )
    assert printed.splitlines() == ["main ends", "over"]


@both
def test_the_program_ends_with_its_scheduler_in_a_hub_that_is_gone(patched: bool) -> None:
    run(
        """
        def live():
            gevent.get_hub()
            scheduler = GeventScheduler()
            scheduler.start()
            ran = gevent.event.Event()
            scheduler.add_job(ran.set)
            ran.wait()
            schedulers.append(scheduler)
            gevent.get_hub().destroy(destroy_loop=True)
        schedulers = []
        start_real_thread(live, ())
        until(lambda: schedulers)
        """,
        patched=patched,
    )


@both
def test_a_forked_child_has_a_stopped_copy_and_none_of_the_jobs(patched: bool) -> None:
    printed = run(
        """
        scheduler = GeventScheduler()
        scheduler.start()
        begun, gate = gevent.event.Event(), gevent.event.Event()
        said = []
        def job():
            begun.set()
            try:
                gate.wait()
                said.append("went on")
            except gevent.GreenletExit:
                said.append("ended")
                raise
        scheduler.add_job(job)
        scheduler.add_job(said.append, "interval", seconds=0.02, args=["fired"], id="often")
        begun.wait()
        said.clear()
        pid = gevent.os.fork()
        if not pid:
            gate.set()
            until(lambda: said)
            gevent.sleep(0.1)
            code = 0 if said == ["ended"] and not scheduler.running else 1
            if code:
                print(said, scheduler.running, flush=True)
            # A new one works.
            with GeventScheduler() as mine:
                ran = gevent.event.Event()
                mine.add_job(ran.set)
                code += 0 if ran.wait(60) else 2
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, code
        gate.set()
        until(lambda: "went on" in said and "fired" in said)
        scheduler.shutdown()
        print("as wanted")
        """,
        patched=patched,
    )
    assert printed == "as wanted\n"


@both
def test_a_job_that_forks_goes_on_in_both(patched: bool) -> None:
    run(
        """
        scheduler = GeventScheduler()
        scheduler.start()
        codes = []
        def job():
            pid = gevent.os.fork()
            if not pid:
                gevent.sleep(0.01)
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        scheduler.add_job(job)
        until(lambda: codes)
        assert codes == [7]
        scheduler.shutdown()
        """,
        patched=patched,
    )


def test_the_background_scheduler_of_a_patched_program() -> None:
    run(
        """
        scheduler = BackgroundScheduler()
        scheduler.start()
        ran = []
        scheduler.add_job(lambda: (time.sleep(0.01), ran.append(real_ident())))
        until(lambda: ran)
        assert ran == [MAIN]
        scheduler.shutdown()
        """,
        patched=True,
    )


def test_patched_after_everything_was_imported() -> None:
    run(
        """
        monkey.patch_all()
        executors = {"default": GeventExecutor(), "pool": ThreadPoolExecutor(2)}
        with gevent.Timeout(30), GeventScheduler(executors=executors, jobstores={"default": FarStore()}) as scheduler:
            events = []
            scheduler.add_listener(events.append, EVENT_JOB_EXECUTED)
            scheduler.add_job(time.sleep, args=[0.01])
            scheduler.add_job(time.sleep, args=[0.01], executor="pool")
            until(lambda: len(events) == 2)
        """,
        patched=False,
    )


@both
def test_a_record_in_the_journal_lets_no_other_greenlet_go_on(patched: bool) -> None:
    run(
        """
        import tempfile
        from schedcore.jobstores._journal import JournalFile
        from schedcore.run import Run
        with tempfile.TemporaryDirectory() as folder:
            journal = JournalFile(os.path.join(folder, "runs"), "0" * 32)
            others = []
            gevent.spawn(others.append, 1)
            journal._writer = -1  # another thread is at a record
            journal.begun(Run(None, "default", 0, 1, 1), 0)
            assert not others
            journal.close()
        """,
        patched=patched,
    )


def test_a_scheduler_that_was_made_before_the_program_was_patched() -> None:
    run(
        """
        scheduler = GeventScheduler(jobstores={"default": FarStore()})
        ran = []
        scheduler.add_listener(ran.append, EVENT_JOB_EXECUTED)
        monkey.patch_all()
        with gevent.Timeout(30), scheduler:
            scheduler.add_job(time.sleep, args=[0.01])
            until(lambda: ran)
        """,
        patched=False,
    )


def test_without_gevent_the_error_names_the_extra() -> None:
    program = """
    import sys
    sys.modules["gevent"] = None  # as if it were not there
    from schedcore import plugins
    from schedcore.errors import MissingExtraError
    for ask in (lambda: __import__("schedcore.adapters.gevent"), lambda: plugins.load(plugins.EXECUTORS, "gevent")):
        try:
            ask()
        except MissingExtraError as error:
            assert error.extra == "gevent" and "pip install 'schedcore[gevent]'" in str(error), error
        else:
            raise AssertionError("it was imported")
    """
    command = [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@both
def test_many_calls_that_may_wait_at_once(patched: bool) -> None:
    run(
        """
        with gevent.Timeout(40), GeventScheduler(jobstores={"default": FarStore()}) as scheduler:
            scheduler.add_job(int, "interval", hours=1, id="j")
            results = [scheduler.call(scheduler.get_job, "j") for _ in range(40)]
            assert {result.get().id for result in results} == {"j"}
            results = [scheduler.call(lambda: scheduler.get_job("j").id) for _ in range(40)]
            assert {result.get() for result in results} == {"j"}
            try:
                scheduler.call(scheduler.remove_job, "nobody").get()
            except KeyError:
                pass
            else:
                raise AssertionError("no error")
        """,
        patched=patched,
    )


@both
def test_a_users_trigger_is_asked_in_threads_and_whoever_calls_has_the_answer(patched: bool) -> None:
    run(
        """
        from datetime import timedelta
        from schedcore.triggers.base import BaseTrigger

        asked = set()

        class Slow(BaseTrigger):
            def get_next_fire_time(self, previous, now):
                asked.add(real_ident())
                real_sleep(0.001)
                assert scheduler.get_job("nobody") is None  # it may call the scheduler
                return now + timedelta(hours=1)

        class Wrong(BaseTrigger):
            def get_next_fire_time(self, previous, now):
                raise ZeroDivisionError

        with gevent.Timeout(40), GeventScheduler(jobstores={"far": FarStore()}) as scheduler:
            stores = ["default", "far"] * 20
            results = [scheduler.call(scheduler.add_job, int, Slow(), jobstore=store) for store in stores]
            left = []

            def in_real_thread(store):
                left.append(scheduler.add_job(int, Slow(), jobstore=store))

            for store in stores:
                start_real_thread(in_real_thread, (store,))
            for store in stores:
                gevent.spawn(scheduler.add_job, int, Slow(), jobstore=store)
            jobs = [result.get() for result in results]
            until(lambda: len(left) == 40)
            assert not any(job.pending for job in jobs + left)
            assert all(job.next_run_time for job in jobs + left)
            until(lambda: len(scheduler.get_jobs()) == 120 and not scheduler.get_jobs(pending=True))
            assert asked and MAIN not in asked
            for call in (scheduler.add_job, lambda *args: scheduler.add_job(*args)):
                try:
                    scheduler.call(call, int, Wrong()).get()
                except ZeroDivisionError:
                    pass
                else:
                    raise AssertionError("no error")
        """,
        patched=patched,
    )


@both
def test_more_calls_than_threads_before_the_store_is_open(patched: bool) -> None:
    run(
        """
        with gevent.Timeout(20), GeventScheduler(jobstores={"default": FarStore()}) as scheduler:
            results = [scheduler.call(scheduler.get_jobs) for _ in range(50)]
            assert [result.get() for result in results] == [[]] * 50
        """,
        patched=patched,
    )


@both
def test_real_threads_and_greenlets_report_to_one_journal(patched: bool) -> None:
    run(
        """
        import tempfile
        from schedcore.jobstores._journal import JournalFile
        from schedcore.run import Run

        with tempfile.TemporaryDirectory() as folder, gevent.Timeout(40):
            journal = JournalFile(folder + "/journal", "0" * 32)
            one = Run(None, "default", 10**15, 1, 1)
            over = []

            def report():
                for number in range(20_000):
                    journal.begun(one, 10**15)
                    if not number % 50:
                        journal.forget(journal.mark())
                over.append(1)

            for _ in range(4):
                start_real_thread(report, ())
            while len(over) < 4:
                for _ in range(100):
                    journal.begun(one, 10**15)
                gevent.sleep(0)
            journal.close()
        """,
        patched=patched,
    )
