"""What every test shares: the check that it left nothing running or open, hypothesis' profiles, and what is not collected.

**The leak check.** After each test, and after the fixtures that it used for itself, the process must have no thread, file
descriptor, child process, unfinished asyncio task or file in the temporary folder that it did not have before. What is
just ending gets ``PATIENCE_S`` to be gone; a test that leaves nothing waits for nothing. What a wider fixture (module,
session) made before the test began belongs to that fixture.

**Folders that need an extra.** ``NEEDS`` says which folder needs which library. Without it the folder is not collected, and
the line above the results says so. A single test that needs one says ``pytest.importorskip("…", reason="…")``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Qt without a screen; and where several of its bindings are installed, PyQt5, which is the reference, for pytest-qt too.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
for _binding in ("PyQt5", "PyQt6", "PySide6"):
    if importlib.util.find_spec(_binding) is not None:
        os.environ.setdefault("QT_API", _binding.lower())
        os.environ.setdefault("PYTEST_QT_API", os.environ["QT_API"])
        break

# Folder under tests/: the module that it needs, and the extra that brings it.
NEEDS = {
    "adapters/gevent": ("gevent", "gevent"),
    "adapters/qt": ("pytestqt", "test-qt"),
    "adapters/tornado": ("tornado", "tornado"),
    "adapters/twisted": ("twisted", "twisted"),
    "cli": ("typer", "cli"),
    "jobstores/etcd": ("h2", "etcd"),
    "jobstores/mongodb": ("pymongo", "mongodb"),
    "jobstores/redis": ("redis", "redis"),
    "jobstores/rethinkdb": ("rethinkdb", "rethinkdb"),
    "jobstores/zookeeper": ("kazoo", "zookeeper"),
}

# Seconds. How long something that is just ending may take on a busy machine.
PATIENCE_S = 10.0
POLL_S = 0.01

# How long an example takes says how busy the machine is, and nothing of the code.
_PATIENT = [HealthCheck.too_slow]
settings.register_profile("dev", deadline=None, suppress_health_check=_PATIENT)
# The same examples on every machine and at every run: a red result is about the change, not about luck.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=_PATIENT)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


# --- folders that need an extra -------------------------------------------------------------------------------------

_not_collected: dict[str, str] = {}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    with contextlib.suppress(ValueError):
        folder = collection_path.relative_to(Path(__file__).parent).as_posix()
        if folder in NEEDS:
            module, extra = NEEDS[folder]
            if importlib.util.find_spec(module) is None:
                _not_collected[folder] = (
                    f"not collected: tests/{folder} needs {module}, which the extra {extra!r} brings"
                )
                return True
    return None


def pytest_report_collectionfinish() -> list[str]:
    return [_not_collected[folder] for folder in sorted(_not_collected)]


# --- the leak check -------------------------------------------------------------------------------------------------


def _children() -> set[int]:
    """The process ids of all descendants."""
    if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
        return {child.pid for child in psutil.Process().children(recursive=True)}
    # psutil reads the whole process table for this; the kernel keeps the list of each thread's children.
    found: set[int] = set()
    parents = [os.getpid()]
    while parents:
        parent = parents.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{task}/children", "rb") as children:
                    new = {int(pid) for pid in children.read().split()} - found
                    found |= new
                    parents += new
    return found


def _descriptors() -> dict[int, str]:
    """Open file descriptors and what they are open on; empty where the system does not tell."""
    found: dict[int, str] = {}
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            for name in os.listdir(folder):
                # The one through which the folder was listed is closed again by now.
                with contextlib.suppress(OSError):
                    found[int(name)] = os.readlink(f"{folder}/{name}") if folder.startswith("/proc") else "open"
                    os.fstat(int(name))
            break
    return found


def _tracker() -> tuple[int | None, int | None]:
    """The process id and the descriptor of multiprocessing's resource tracker.

    It starts with the first process pool, serves all of them and lives as long as this process: it is no test's leak.
    """
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    return getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)


def _tasks() -> set[asyncio.Task[object]]:
    """Unfinished asyncio tasks of all loops: ``asyncio.all_tasks`` needs a loop, and a leaked one is not at hand."""
    found: set[asyncio.Task[object]] = set()
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):  # 3.11, 3.12 and 3.13
        for _ in range(10):
            try:
                found.update(list(getattr(asyncio.tasks, name, ())))
                break
            except RuntimeError:  # another thread made a task meanwhile
                continue
    return {task for task in found if not task.done()}


def _files() -> set[str]:
    return set(os.listdir(tempfile.gettempdir()))


@dataclass(slots=True)
class Snapshot:
    """What this process holds at one moment."""

    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))
    children: set[int] = field(default_factory=_children)
    descriptors: dict[int, str] = field(default_factory=_descriptors)
    tasks: set[asyncio.Task[object]] = field(default_factory=_tasks)
    files: set[str] = field(default_factory=_files)

    def leaks(self) -> list[str]:
        """What there is now and was not then, a line for each."""
        now = Snapshot()
        tracker_pid, tracker_fd = _tracker()
        return [
            *(_describe_thread(thread) for thread in now.threads - self.threads),
            *(_describe_child(pid) for pid in now.children - self.children - {tracker_pid}),
            *(
                f"file descriptor {fd}, open on {_describe_target(fd, target)}"
                for fd, target in sorted(now.descriptors.items())
                if self.descriptors.get(fd) != target and fd != tracker_fd
            ),
            *(f"asyncio task {task!r}" for task in now.tasks - self.tasks),
            *(f"temporary file {os.path.join(tempfile.gettempdir(), name)}" for name in now.files - self.files),
        ]


def _describe_thread(thread: threading.Thread) -> str:
    kind = "daemon thread" if thread.daemon else "thread"
    # Python 3.11 hangs when the garbage collector comes by in the middle of this.
    gc.disable()
    try:
        frame = sys._current_frames().get(thread.ident or 0)
    finally:
        gc.enable()
    where = "".join(traceback.format_stack(frame)[-2:]).rstrip() if frame is not None else "  (ending)"
    return f"{kind} {thread.name!r}, now in\n{where}"


def _describe_target(fd: int, target: str) -> str:
    """A socket by its two ends: of it the system says a number only."""
    if target.startswith("socket:"):
        for connection in psutil.Process().net_connections("all"):
            if connection.fd == fd:
                return f"{target} from {connection.laddr!r} to {connection.raddr!r} ({connection.status})"
    return target


def _describe_child(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return f"child process {pid} ({process.status()}): {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return f"child process {pid}"


def _after(before: Snapshot) -> list[str]:
    """What is left of ``before``'s future when it has had its time to end."""
    left = before.leaks()
    if left:
        # What only waits for the collector to close it gives its ResourceWarning here, in the test that is to blame.
        gc.collect()
        end_s = time.monotonic() + PATIENCE_S
        while (left := before.leaks()) and time.monotonic() < end_s:
            time.sleep(POLL_S)
    return left


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary files go to a folder that no other process uses, so that what is left there was left by a test."""
    folder = str(tmp_path_factory.mktemp("t"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _nothing_is_left(_own_temporary_folder: None) -> Iterator[None]:
    """Fails a test that left something behind, and says what."""
    before = Snapshot()
    yield
    if left := _after(before):
        pytest.fail("this test left behind:\n" + _bullets(left), pytrace=False)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
