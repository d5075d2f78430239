"""What the pages show that no other test runs: the index, those on jobs, testing and cron, and the one on prefork servers."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from schedcore import events
from schedcore.events import EVENT_SCHEDULER_STARTED
from schedcore.run import RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import until

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(block: str, page: str, names: dict[str, Any]) -> str:
    """What a block prints; ``names`` are there, and are added to."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block, page, "exec"), names)
    return out.getvalue()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_code_of_every_page_is_run_by_a_test(page: str) -> None:
    tests = [path.read_text(encoding="utf-8") for path in ROOT.joinpath("tests").rglob("test_*.py")]
    assert not blocks(page) or any(f'"{page}"' in text for text in tests)


def test_index() -> None:
    (block,) = blocks("index.md")
    names: dict[str, Any] = {}
    run(block, "index.md", names)
    try:
        (job,) = names["scheduler"].get_jobs()
        assert (job.id, job.func, job.args) == ("morning report", names["send_report"], ("the board",))
    finally:
        names["scheduler"].shutdown()


@pytest.mark.slow
def test_jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks are one program."""
    # A module of its own, which names what a child process is given.
    module = ModuleType("the_page_on_jobs")
    monkeypatch.setitem(sys.modules, "the_page_on_jobs", module)
    names = vars(module)

    def have_run(*ids: str) -> bool:
        records = names["scheduler"].get_runs(limit=100)
        return {record.job_id for record in records if record.state is RunState.SUCCEEDED} >= set(ids)

    first, *others, last = [compile(block, "jobs.md", "exec") for block in blocks("jobs.md")]
    try:
        exec(first, names)
        until(lambda: have_run("greeting"), "it never greeted")
        for block in others:
            exec(block, names)
        until(lambda: have_run("backup", "a number", "a program"), "not all ran")
        assert {job.id for job in names["scheduler"].get_jobs()} == {"report", "greet Ann", "greet Bob"}
    finally:
        exec(last, names)
    said = capsys.readouterr().out
    assert "hello, world" in said
    assert "backup for " in said


def test_the_page_on_jobs_names_every_argument_and_every_event() -> None:
    text = (DOCS / "jobs.md").read_text(encoding="utf-8")
    parameters = inspect.signature(BackgroundScheduler.add_job).parameters
    arguments = [name for name in parameters if name not in ("self", "trigger_args")]
    codes = [
        name.removeprefix("EVENT_") for name in events.__all__ if name.startswith("EVENT_") and name != "EVENT_ALL"
    ]
    assert [name for name in (*arguments, *codes) if f"`{name}`" not in text] == []


def test_testing() -> None:
    names: dict[str, Any] = {}
    for block in blocks("testing.md"):
        run(block, "testing.md", names)
    tests = [name for name in names if name.startswith("test_")]
    assert len(tests) == 3
    for name in tests:
        names[name]()


def test_cron() -> None:
    names: dict[str, Any] = {}
    for block in blocks("cron.md"):
        said = "".join(f"{line.removeprefix('# ')}\n" for line in block.splitlines() if line.startswith("# "))
        assert run(block, "cron.md", names) == said


def test_the_files_that_contributors_are_led_to_are_there() -> None:
    folders = ("schedcore", "adapters", "tests", "benchmarks", "docs", "scripts")
    there = {path.relative_to(ROOT).as_posix() for folder in folders for path in ROOT.joinpath(folder).rglob("*.py")}
    named = re.findall(r"`([\w/]+\.py)`", ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in there)] == []


class TestPrefork:
    """The servers themselves are in ``tests/examples``."""

    @pytest.fixture
    def app(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What a server's module calls in the application."""
        called: list[str] = []
        app: Any = ModuleType("app")
        app.begin = lambda: called.append("begin")
        app.end = lambda: called.append("end")
        app.application = None
        monkeypatch.setitem(sys.modules, "app", app)
        return called

    def test_gunicorn(self, app: list[str]) -> None:
        names: dict[str, Any] = {}
        run(blocks("prefork.md")[0], "prefork.md", names)
        names["post_worker_init"](None)
        names["worker_exit"](None, None)
        assert app == ["begin", "end"]

    def test_taking_turns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {}
        run(blocks("prefork.md")[1], "prefork.md", names)
        started = threading.Event()
        names["scheduler"].add_listener(lambda event: started.set(), EVENT_SCHEDULER_STARTED)
        names["begin"]()
        try:
            assert started.wait(PATIENCE_S)
        finally:
            names["end"]()
        assert not names["scheduler"].running

    def test_uwsgi(self, app: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        uwsgidecorators: Any = ModuleType("uwsgidecorators")
        uwsgidecorators.postfork = lambda call: call()
        monkeypatch.setitem(sys.modules, "uwsgidecorators", uwsgidecorators)
        lazy, postfork = blocks("prefork.md")[2:]
        run(lazy, "prefork.md", {})
        run(postfork, "prefork.md", {})
        assert app == ["begin", "begin"]
