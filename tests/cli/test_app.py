"""The command as it is typed: what it prints, as text and as JSON, and how it says that something is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

import schedcore
from schedcore.cli import files, register, report, stores
from schedcore.cli.app import app
from schedcore.cli.scheduler import make_scheduler
from schedcore.events import EVENT_JOB_BROKEN, EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, SchedulerEvent
from schedcore.schedulers.background import BackgroundScheduler

if TYPE_CHECKING:
    from tests.cli.conftest import World

FUNCTIONS = """
def quick():
    return "done"

def fails():
    raise ValueError("the cheese was moved")
"""

JOBS = """
[[jobs]]
id = "quick"
func = "filled_functions:quick"
interval = { days = 1 }

[[jobs]]
id = "fails"
func = "filled_functions:fails"
cron = { crontab = "30 6 * * mon-fri", timezone = "Europe/Berlin" }

[[jobs]]
id = "wrong"
name = "A command"
command = "echo one; echo two >&2; exit 3"
interval = { days = 2 }

[[jobs]]
id = "resting"
func = "filled_functions:quick"
interval = { days = 1 }
paused = true
"""


def call(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.output}"
    return result


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A schedule of which three jobs have run once."""
    folder = tmp_path_factory.mktemp("filled")
    folder.joinpath("filled_functions.py").write_text(FUNCTIONS)
    path = folder / "jobs.toml"
    path.write_text(JOBS)
    file = files.load(path)
    places = stores.of_file(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        scheduler = make_scheduler(file, places)
        ended = threading.Semaphore(0)

        def count(event: SchedulerEvent) -> None:
            ended.release()

        scheduler.add_listener(count, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        scheduler.start(paused=True)
        register.sync(scheduler, file, places, "jobs.toml")
        for job in ("quick", "fails", "wrong"):
            scheduler.modify_job(job, next_run_time=datetime.now().astimezone())
        scheduler.resume()
        for _ in range(3):
            assert ended.acquire(timeout=150)
        scheduler.shutdown()
    yield path
    sys.modules.pop("filled_functions", None)


def is_instant(text: Any) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", text)) and bool(datetime.fromisoformat(text))


class TestJobs:
    def test_json(self, filled: Path) -> None:
        jobs = {job["id"]: job for job in json.loads(call("jobs", filled, "--json").stdout)}
        assert set(jobs) == {"quick", "fails", "wrong", "resting"}  # and not the register
        wrong = jobs["wrong"]
        assert list(wrong) == [
            *("id", "name", "store", "state", "reason", "schedule", "trigger", "timezone", "next_run"),
            *("func", "command", "executor", "last_run"),
        ]
        assert (wrong["name"], wrong["store"], wrong["state"], wrong["reason"]) == (
            "A command",
            "default",
            "active",
            None,
        )
        assert (wrong["schedule"], wrong["executor"]) == ("every 2 days", "default")
        assert wrong["func"] == "schedcore.executors.command:run_command"
        assert wrong["command"] == "echo one; echo two >&2; exit 3"
        assert is_instant(wrong["next_run"])
        assert wrong["last_run"]["exit_code"] == 3
        assert jobs["fails"]["schedule"].startswith("at 06:30 on Monday to Friday")
        assert jobs["quick"]["func"] == "filled_functions:quick"
        assert jobs["quick"]["command"] is None
        assert jobs["fails"]["timezone"] == "Europe/Berlin"
        assert (jobs["resting"]["state"], jobs["resting"]["next_run"], jobs["resting"]["last_run"]) == (
            "paused",
            None,
            None,
        )

    def test_text(self, filled: Path) -> None:
        lines = call("jobs", filled).stdout.splitlines()
        assert re.split(r"  +", lines[0]) == ["JOB", "SCHEDULE", "NEXT RUN", "LAST RUN", "NAME"]
        rows = {line.split()[0]: re.split(r"  +", line) for line in lines[1:]}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT06:30:00\+0[12]:00", rows["fails"][2])  # in the zone of its schedule
        assert re.fullmatch(r"failed (< 1|\d+) ms, \d{4}-.*", rows["fails"][3])
        assert re.fullmatch(r"exit 3 \d+ ms, \d{4}-.*", rows["wrong"][3])
        assert rows["wrong"][4] == "A command"
        assert rows["resting"][2] == "paused"
        # Aligned: every column starts where its title does.
        for line in lines[1:]:
            assert line[lines[0].index("SCHEDULE") - 1] == " "
            assert line[lines[0].index("NEXT RUN") - 1] == " "

    def test_broken(self, filled: Path) -> None:
        assert call("jobs", filled, "--broken").stdout == "no jobs\n"
        assert json.loads(call("jobs", filled, "--broken", "--json").stdout) == []

    def test_a_store_by_its_path_or_url(self, filled: Path) -> None:
        store = filled.with_suffix(".sqlite")
        expected = call("jobs", filled, "--json").stdout
        assert call("jobs", store, "--json").stdout == expected
        assert call("jobs", "--store", store, "--json").stdout == expected
        assert call("jobs", f"sqlite:///{store}", "--json").stdout == expected


class TestRuns:
    def test_json(self, filled: Path) -> None:
        runs = {run["job"]: run for run in json.loads(call("runs", filled, "--json").stdout)}
        assert set(runs) == {"quick", "fails", "wrong"}
        wrong = runs["wrong"]
        assert list(wrong) == [
            *("id", "job", "store", "scheduled", "attempt", "state", "reason", "times", "until"),
            *("submitted", "started", "finished", "duration", "exit_code", "error", "result", "output", "traceback"),
        ]
        assert re.fullmatch(r"wrong@.*Z#1", wrong["id"])
        assert (wrong["state"], wrong["exit_code"], wrong["output"]) == ("failed", 3, "one\ntwo\n")
        assert "failed with exit code 3" in wrong["error"]
        for name in ("scheduled", "submitted", "started", "finished"):
            assert is_instant(wrong[name])
        assert wrong["duration"] > 0
        assert (runs["quick"]["state"], runs["quick"]["result"], runs["quick"]["output"]) == (
            "succeeded",
            "'done'",
            None,
        )
        assert runs["fails"]["error"] == "ValueError: the cheese was moved"
        assert "in fails" in runs["fails"]["traceback"]

    def test_text(self, filled: Path) -> None:
        lines = call("runs", filled).stdout.splitlines()
        assert lines[0].split() == ["DUE", "JOB", "OUTCOME", "TOOK", "DETAIL"]
        text = "\n".join(lines[1:])
        assert re.search(r"^\d{4}\S+ +quick +ok +(< 1|\d+) ms +'done'$", text, re.MULTILINE)
        assert re.search(
            r"^\d{4}\S+ +fails +failed +(< 1|\d+) ms +ValueError: the cheese was moved$", text, re.MULTILINE
        )
        assert re.search(r"^\d{4}\S+ +wrong +exit 3 +\d+ ms +two$", text, re.MULTILINE)

    def test_failed(self, filled: Path) -> None:
        runs = json.loads(call("runs", filled, "--failed", "--json").stdout)
        assert {run["job"] for run in runs} == {"fails", "wrong"}

    def test_job_and_output(self, filled: Path) -> None:
        lines = call("runs", filled, "--job", "wrong", "--output").stdout.splitlines()
        assert lines[2:] == ["    one", "    two"]
        text = call("runs", filled, "--job", "fails", "-o").stdout
        assert "    Traceback (most recent call last):" in text

    def test_why_a_command_could_not_be_started(self, filled: Path) -> None:
        with stores.Reader(stores.to_read(str(filled), None)[0]) as reader:
            (record,) = reader.runs("fails", limit=1)
        error = "CommandStartError: command 'x' could not be started: no program 'x' on PATH"
        unstarted = record._replace(error=error, traceback=f"Traceback (most recent call last):\n  …\n{error}\n")
        out = io.StringIO()
        report.print_runs([report.RunReport("default", unstarted)], as_json=False, output=True, out=out)
        assert out.getvalue().splitlines()[2:] == [f"    {error}"]

    def test_limit(self, filled: Path) -> None:
        assert len(json.loads(call("runs", filled, "--limit", "2", "--json").stdout)) == 2
        assert "--limit" in call("runs", filled, "--limit", "0", code=2).output

    def test_a_job_without_runs_is_not_unknown(self, filled: Path) -> None:
        assert call("runs", filled, "--job", "resting").stdout == "no runs\n"
        assert call("runs", filled, "--job", "quick", "--failed").stdout == "no runs\n"

    def test_an_unknown_job(self, filled: Path) -> None:
        message = call("runs", filled, "--job", "quik", code=2).stderr
        assert message == "schedcore: there is no job 'quik', and no run of one; did you mean 'quick'?\n"

    def test_what_others_call_their_jobs_is_shown_as_text(self, tmp_path: Path) -> None:
        """Ids are anybody's, and may be many."""
        store = {"type": "sqlalchemy", "url": f"sqlite:///{tmp_path}/jobs.sqlite"}
        scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
        scheduler.start(paused=True)
        names = ["\x1b[31mn0body\n", *map(str, range(10, 10_010))]
        scheduler.add_jobs([{"func": "builtins:int", "trigger": "interval", "hours": 1, "id": name} for name in names])
        scheduler.shutdown()
        message = call("runs", tmp_path / "jobs.sqlite", "--job", "else", code=2).stderr
        assert message == "schedcore: there is no job 'else', and no run of one\n"
        message = call("runs", tmp_path / "jobs.sqlite", "--job", "n0bodies", code=2).stderr
        assert message.endswith("did you mean 'n0body'?\n")

    def test_reading_writes_nothing(self, filled: Path) -> None:
        store = filled.with_suffix(".sqlite")
        before = store.read_bytes()
        call("runs", filled)
        call("jobs", filled)
        assert store.read_bytes() == before
        assert not store.with_suffix(".sqlite-wal").exists()


class TestOnATerminal:
    """What ``isatty`` changes."""

    @pytest.fixture
    @staticmethod
    def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
        import io

        class Out(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("TERM", "xterm")
        return Out()

    def show(self, filled: Path, screen: Any, what: str, **options: Any) -> str:
        from schedcore.cli import report

        with stores.Reader(stores.to_read(str(filled), None)[0]) as reader:
            if what == "jobs":
                report.print_jobs(report.collect_jobs([reader]), as_json=False, out=screen)
            else:
                report.print_runs(report.collect_runs([reader], None), as_json=False, out=screen, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())

    def test_jobs(self, filled: Path, screen: Any) -> None:
        text = self.show(filled, screen, "jobs")
        assert re.search(r"^quick +every day +\S+ \S+ in \d+ h", text, re.MULTILINE) or " in 1 d" in text
        assert re.search(r"^Job +Schedule +Next run +Last run +Name", text)
        assert "\x1b[" in screen.getvalue()  # in colour
        assert max(len(line) for line in text.splitlines()) <= 100

    def test_runs(self, filled: Path, screen: Any) -> None:
        text = self.show(filled, screen, "runs")
        assert re.search(r" wrong +exit 3 +\d+ ms +two", text)

    def test_runs_with_output(self, filled: Path, screen: Any) -> None:
        text = self.show(filled, screen, "runs", output=True)
        assert re.search(r"wrong  exit 3  \d+ ms  two\n    one\n    two\n", text)

    def test_where_columns_would_be_too_narrow_to_read(
        self, filled: Path, screen: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "60")
        text = self.show(filled, screen, "jobs")
        assert re.search(r"^wrong  \S+ \S+ in .*  exit 3 .*\n    every 2 days\n    A command\n", text, re.MULTILINE)
        assert max(len(line) for line in text.splitlines()) <= 60


class TestErrors:
    """One readable message, on standard error, and an exit code."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[[jobs]\n", r"jobs\.toml:1:\d+: not valid TOML: "),
            ('[[jobs]]\nfunc = "os:getpid"\ninterval = { secnds = 5 }\n', r"jobs\.toml:3:14: .*did you mean 'seconds'"),
            ('[[jobs]]\nfunc = "os:getpid"\ncron = "61 * * * *"\n', r"jobs\.toml:3:9: "),
            (
                '[[jobs]]\nfunc = "os:getpd"\ninterval = { seconds = 5 }\n',
                r"jobs\.toml:2:8: cannot resolve .*did you mean",
            ),
            ("", "schedule file 'jobs.toml' is empty; "),
        ],
    )
    def test_toml(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path("jobs.toml").write_text(text)
        result = call("run", "jobs.toml", "--for", "0", code=2)
        assert re.match(rf"schedcore: {message}", result.stderr)
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
        assert not Path("jobs.sqlite").exists()

    def test_crontab(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("crontab").write_text("SHELL=/bin/sh\n* * * * 8 echo\n")
        result = call("run", "crontab", "--for", "0", code=2)
        assert result.stderr.startswith("schedcore: crontab:2:9: day_of_week of '* * * * 8': 8 is out of range")

    def test_no_file(self) -> None:
        result = call("run", "nix.toml", code=2)
        assert result.stderr.startswith("schedcore: schedule file 'nix.toml' does not exist")

    def test_a_store_that_cannot_be_made(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.toml"
        path.write_text('[[jobs]]\nfunc = "os:getpid"\ninterval = { hours = 1 }\n')
        result = call("run", path, "--for", "0", "--store", tmp_path / "none" / "x.sqlite", code=1)
        assert re.match(
            r"schedcore: the store '.*x\.sqlite' cannot be made: the folder '.*none' does not exist", result.stderr
        )
        result = call("run", path, "--for", "0", "--store", path, code=1)
        assert "is not an SQLite database; give another path" in result.stderr

    @pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
    def test_a_store_that_is_no_file(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "jobs.toml"
        path.write_text('[[jobs]]\nfunc = "os:getpid"\ninterval = { hours = 1 }\n')
        place = tmp_path / kind
        if kind == "folder":
            place.mkdir()
        elif not hasattr(os, "mkfifo"):
            pytest.skip("the names of pipes and devices are no paths here")
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(os.devnull)
        real = Path(os.path.realpath(place))
        before = sorted(real.parent.glob(f"{real.name}*"))
        result = call("run", path, "--for", "0", "--store", place, code=1)
        assert f"{str(place)!r} is {'a folder' if kind == 'folder' else 'no file'}; give the path" in result.stderr
        assert sorted(real.parent.glob(f"{real.name}*")) == before, "nothing is left beside it"
        assert place.is_dir() is (kind == "folder")

    def test_a_store_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "jobs.toml"
        path.write_text('[[jobs]]\nfunc = "os:getpid"\ninterval = { hours = 1 }\n')
        if sys.platform == "linux":  # where nobody may, root included
            result = call("run", path, "--for", "0", "--store", "/proc/x.sqlite", code=1)
            assert "'/proc/x.sqlite' cannot be" in result.stderr
        locked = tmp_path / "locked"
        locked.mkdir()
        locked.chmod(0o555)
        try:
            if os.access(locked, os.W_OK):
                return  # root is refused nothing here
            result = call("run", path, "--for", "0", "--store", locked / "x.sqlite", code=1)
        finally:
            locked.chmod(0o755)
        assert re.match(
            r"schedcore: the store '.*' cannot be written by this user; give another with --store", result.stderr
        )

    def test_a_database_of_somebody_else(self, tmp_path: Path) -> None:
        import sqlite3

        path = tmp_path / "other.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE x (y)")
        connection.commit()
        connection.close()
        result = call("runs", path, code=1)
        assert "has no tables of schedcore; is it the right one?" in result.stderr

    def test_debug_shows_where(self, capfd: pytest.CaptureFixture[str]) -> None:
        result = call("run", "nix.toml", "--debug", code=2)
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("schedcore: schedule file 'nix.toml' does not exist")

    def test_what_nobody_expected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode(*args: object) -> None:
            raise ZeroDivisionError("really")

        monkeypatch.setattr(files, "load", explode)
        result = call("run", "x", code=1)
        assert result.stderr == "schedcore: unexpected ZeroDivisionError: really; --debug shows where\n"


class TestHelp:
    def test_version(self) -> None:
        assert call("--version").stdout == f"schedcore {schedcore.__version__}\n"

    @pytest.mark.parametrize("command", ["run", "jobs", "runs"])
    @pytest.mark.parametrize("option", ["--help", "-h"])
    def test_help_has_examples(self, command: str, option: str) -> None:
        text = call(command, option).stdout
        assert "Examples:\n" in text
        assert re.search(rf"^ +schedcore {command} ", text, re.MULTILINE)

    def test_what_a_command_does_is_not_cut_short(self) -> None:
        assert "..." not in call("--help").stdout.partition("Commands:")[2]

    def test_nothing_is_help(self) -> None:
        assert "schedcore run jobs.toml " in CliRunner().invoke(app, []).output

    def test_an_unknown_option_says_what_is_known(self) -> None:
        output = call("run", "x", "--fro", "3", code=2).output
        assert "No such option: --fro" in output
        assert "Usage: " in output


@pytest.mark.slow
class TestAsInstalled:
    def test_module(self, world: World) -> None:
        assert world.ask("--version") == f"schedcore {schedcore.__version__}\n"

    def test_in_a_pipe_that_closes(self, world: World) -> None:
        job = 'id = "quick"\nfunc = "functions:quick"\ninterval = { hours = 1 }'
        world.write(*(job.replace('"quick"', f'"{number:05}"', 1) for number in range(2000)))
        world.invoke("run", world.file, "--for", "0")
        process = subprocess.Popen(
            world.command("jobs", world.file), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=world.environment()
        )
        world.processes.append(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert world.end(process) == 1

    def test_a_missing_extra_is_named(self) -> None:
        code = "import sys; sys.modules['typer'] = None; from schedcore.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            "schedcore: the command line needs typer, which is not installed; "
            "install it with: pip install 'schedcore[cli]'\n"
        )


def test_a_limit_that_no_database_can_count_to(filled: Path) -> None:
    message = call("runs", filled, "--limit", "99999999999999999999", code=2).stderr
    assert "Invalid value for '--limit'" in message


def test_a_job_whose_function_is_gone_is_listed_with_the_reason(tmp_path: Path) -> None:
    module = tmp_path / "soon_gone.py"
    module.write_text("def work():\n    return 1\n")
    path = tmp_path / "jobs.toml"
    path.write_text('[[jobs]]\nid = "stays"\nfunc = "os:getpid"\ninterval = { hours = 1 }\n')
    file = files.load(path)
    set_aside = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        scheduler = make_scheduler(file, stores.of_file(file))
        scheduler.start(paused=True)
        scheduler.add_job("soon_gone:work", "interval", hours=1, id="theirs")
        scheduler.modify_job("theirs", next_run_time=datetime.now().astimezone())
        scheduler.shutdown()
        module.unlink()
        sys.modules.pop("soon_gone")
        scheduler = make_scheduler(file, stores.of_file(file))
        scheduler.add_listener(lambda event: set_aside.set(), EVENT_JOB_BROKEN)
        scheduler.start()
        assert set_aside.wait(60)
        scheduler.shutdown()
    (job,) = json.loads(call("jobs", path, "--broken", "--json").stdout)
    assert (job["id"], job["state"], job["next_run"]) == ("theirs", "broken", None)
    assert "there is no module 'soon_gone'" in job["reason"]
    lines = call("jobs", path, "--broken").stdout.splitlines()
    assert re.match(r"theirs +\S.* set aside .*there is no module 'soon_gone'", lines[1])
