"""A program that uses schedcore as if it ran on Windows or on macOS, for ``test_portability.py``: its argument says which.

The modules of schedcore are shown the standard library as it is there: what that system lacks is missing, ``/proc`` too, and
``sys.platform`` is its own. All other modules see this system, so that what they do goes on working. What only a real one shows
is what is there and behaves differently: files that cannot be removed while they are open, other clocks, other shells.

It prints the modules that could not be imported, each with the name of what it needs: an extra brings that, or it is a fault.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import pkgutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["PATIENCE_S", "SYSTEMS", "System"]

# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0


class System(NamedTuple):
    """How the standard library of another system differs. ``has``: by module, what is not here, or not the same."""

    modules: frozenset[str]
    lacks: Callable[[str, str], bool]
    has: dict[str, dict[str, Any]]


_OF_UNIX = """
    EX_OK O_ACCMODE O_ASYNC O_CLOEXEC O_DIRECTORY O_DSYNC O_NDELAY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC P_ALL P_PGID P_PID
    WCONTINUED WEXITED WIFEXITED WIFSIGNALED WNOHANG WNOWAIT WTERMSIG chown chroot confstr ctermid fchdir fchmod fchown fork
    forkpty fpathconf fstatvfs get_blocking getegid geteuid getgid getgrouplist getgroups getloadavg getpgid getpgrp getpriority
    getsid getuid initgroups killpg lchown lockf mkfifo mknod nice openpty pathconf posix_spawn posix_spawnp pread preadv pwrite
    pwritev readv register_at_fork sched_yield sendfile set_blocking setegid seteuid setgid setgroups setpgid setpriority setsid
    setuid statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 writev
"""
_OF_LINUX = """
    P_PIDFD eventfd fdatasync getrandom getresgid getresuid memfd_create pidfd_open pipe2 posix_fadvise posix_fallocate
    sched_getaffinity sched_setaffinity splice waitid
"""
# Modules of which Windows has little, and all of that.
_ON_WINDOWS = {
    "select": {"error", "select"},
    "signal": {"SIGABRT", "SIGBREAK", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
    | {"Signals", "default_int_handler", "getsignal", "raise_signal", "set_wakeup_fd", "signal", "strsignal"},
}


def _windows_lacks(module: str, name: str) -> bool:
    if module in _ON_WINDOWS:
        return not name.startswith("__") and name not in _ON_WINDOWS[module]
    return {
        "os": name in f"{_OF_UNIX} {_OF_LINUX}".split(),
        "selectors": name in {"DevpollSelector", "EpollSelector", "KqueueSelector", "PollSelector"},
        "socket": name in {"AF_NETLINK", "AF_UNIX", "recv_fds", "send_fds"},
        "time": name.startswith(("CLOCK_", "clock_", "pthread_")) or name == "tzset",
    }.get(module, False)


def _macos_lacks(module: str, name: str) -> bool:
    return {
        "os": name in _OF_LINUX.split(),
        "select": "epoll" in name.lower(),
        "selectors": name == "EpollSelector",
        "signal": name in {"SIGPOLL", "SIGPWR", "SIGRTMAX", "SIGRTMIN", "SIGSTKFLT", "sigtimedwait", "sigwaitinfo"},
        "socket": name == "AF_NETLINK",
        "time": name in {"CLOCK_BOOTTIME", "CLOCK_TAI", "clock_settime", "pthread_getcpuclockid"},
    }.get(module, False)


SYSTEMS = {
    "Windows": System(
        frozenset(
            ["curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"]
        ),
        _windows_lacks,
        {"sys": {"platform": "win32"}, "os": {"name": "nt"}, "subprocess": {"CREATE_NEW_PROCESS_GROUP": 0}},
    ),
    "macOS": System(frozenset(["spwd"]), _macos_lacks, {"sys": {"platform": "darwin"}}),
}


def _shown(real: ModuleType, system: System) -> ModuleType:
    """A module of the standard library as it is on another system."""
    module = ModuleType(real.__name__, real.__doc__)
    there = {name: value for name, value in vars(real).items() if not system.lacks(real.__name__, name)}
    vars(module).update(there, **system.has.get(real.__name__, {}))
    return module


class _Elsewhere:
    """Finds the modules of schedcore as they are found, and has them run on another system."""

    def __init__(self, system: System) -> None:
        names = ("os", "select", "selectors", "signal", "socket", "subprocess", "sys", "time")
        self._shown = {name: _shown(importlib.import_module(name), system) for name in names}
        self._missing = system.modules
        self._builtins = {**vars(builtins), "__import__": self._import, "open": self._open}

    def _import(self, name: str, *args: Any) -> Any:
        if name.partition(".")[0] in self._missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = builtins.__import__(name, *args)
        return self._shown.get(found.__name__, found)

    def _open(self, file: Any, *args: Any, **options: Any) -> Any:
        if str(file).startswith("/proc/"):
            raise FileNotFoundError(2, "there is no such file there", file)
        return open(file, *args, **options)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "schedcore":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                vars(module)["__builtins__"] = self._builtins
                run(module)

            loader.exec_module = exec_module
        return spec


class _ProactorLike(asyncio.SelectorEventLoop):
    """Lacks what Windows' usual loop does."""

    def __getattribute__(self, name: str) -> Any:
        if name in {
            "add_reader",
            "add_signal_handler",
            "add_writer",
            "remove_reader",
            "remove_signal_handler",
            "remove_writer",
        }:
            raise NotImplementedError(name)
        return super().__getattribute__(name)


def twice(number: int) -> int:
    """A job."""
    return 2 * number


def hang(mark: str) -> None:
    """A job that is cut short, once there is its mark."""
    Path(mark).touch()
    time.sleep(600)


async def twice_soon(number: int) -> int:
    """A job on a loop."""
    await asyncio.sleep(0)
    return 2 * number


def _import_all() -> None:
    import schedcore

    for found in pkgutil.walk_packages(schedcore.__path__, "schedcore.", onerror=lambda name: None):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ImportError as error:
                cause: BaseException = error
                while (before := cause.__cause__) is not None:
                    cause = before
                print(found.name, getattr(cause, "name", None) or repr(cause))


def _stores(folder: str) -> dict[str, Any]:
    """A file beside the memory, where the extra for it is installed."""
    try:
        from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
    except ImportError:
        return {}
    return {"file": SQLAlchemyJobStore(url=f"sqlite:///{Path(folder, 'jobs.sqlite')}")}


class _Ends:
    """A listener: how the runs of each job ended."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._changed = threading.Condition()

    def __call__(self, event: Any) -> None:
        with self._changed:
            self.found[event.job_id] = event.retval if event.exception is None else type(event.exception).__name__
            self._changed.notify()

    def wait_for(self, expected: dict[str, Any]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.found) >= len(expected), PATIENCE_S)
        assert self.found == expected, self.found


def _run_in_threads_and_processes(folder: str) -> None:
    from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
    from schedcore.executors.command import CommandResult, running_commands
    from schedcore.executors.pool import ProcessPoolExecutor
    from schedcore.schedulers.background import BackgroundScheduler
    from schedcore.testing._suite import until

    expected = {"thread": 42, "process": 42, "program": CommandResult(0, "a\n"), "text": CommandResult(3, "")}
    expected |= {"slow program": "CommandTimeoutError"}
    stores, mark, ends = _stores(folder), Path(folder, "mark"), _Ends()
    scheduler = BackgroundScheduler(jobstores=stores, executors={"processes": ProcessPoolExecutor(2)})
    scheduler.add_listener(ends, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    where: dict[str, Any] = {"jobstore": next(iter(stores), "default"), "misfire_grace_time": None}
    command = "schedcore.executors.command:run_command"
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    scheduler.start()
    try:
        scheduler.add_job("__main__:twice", args=[21], id="thread", **where)
        scheduler.add_job("__main__:twice", args=[21], id="process", executor="processes", **where)
        scheduler.add_job("__main__:hang", args=[str(mark)], id="cut", executor="processes")
        scheduler.add_job(
            command, args=[[sys.executable, "-c", "print(input())"]], kwargs={"stdin": "a\n"}, id="program"
        )
        scheduler.add_job(command, args=["exit 3"], kwargs={"ok_exit_codes": [3]}, id="text")
        scheduler.add_job(command, args=[sleep], kwargs={"timeout": 0.5, "grace": 0.5}, id="slow program")
        ends.wait_for(expected)
        until(mark.exists, "the job that is to be cut does not begin")
    finally:
        cut = scheduler.shutdown(timeout=0.1)
    assert [run.job.id for run in cut] == ["cut"]
    assert running_commands() == ()


async def _run_on_a_loop(folder: str) -> None:
    from schedcore.adapters.asyncio import AsyncIOScheduler
    from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED

    ended = asyncio.Event()
    found: dict[str, Any] = {}
    loop = asyncio.get_running_loop()

    def note(event: Any) -> None:
        found[event.job_id] = event.retval
        if len(found) == 2:
            loop.call_soon_threadsafe(ended.set)

    scheduler = AsyncIOScheduler(jobstores=_stores(folder))
    scheduler.add_listener(note, EVENT_JOB_ERROR | EVENT_JOB_EXECUTED)
    scheduler.start()
    scheduler.add_job(twice_soon, args=[21], id="on the loop")
    scheduler.add_job(twice, args=[21], id="thread")
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    await scheduler.shutdown()
    assert found == {"on the loop": 42, "thread": 42}, found


def _stop_at_a_signal() -> None:
    from schedcore.cli.signals import Bell, Signals

    bell = Bell()
    signals = Signals(bell)
    with signals.caught():
        signal.raise_signal(signal.SIGINT)
        bell.wait(PATIENCE_S)
    bell.close()
    assert signals.count == 1


# A child process of a pool comes by here, too: it is on the same system.
sys.meta_path.insert(0, _Elsewhere(SYSTEMS[sys.argv[1]]))

if __name__ == "__main__":
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        _run_in_threads_and_processes(folder)
        with asyncio.Runner(loop_factory=_ProactorLike) as runner:
            runner.run(_run_on_a_loop(folder))
    _stop_at_a_signal()
    print("done")
