"""TOML schedule files: what they mean, and an error with line and column for everything that is wrong."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schedcore.config
from schedcore.cli.positions import Positions
from schedcore.cli.schedule import CRONTAB, RUN_COMMAND, STARTUP, JobSpec, ScheduleFile, TriggerSpec
from schedcore.cli.tomlfile import parse_toml
from schedcore.cli.triggers import build_trigger
from schedcore.config import JobDefaults
from schedcore.errors import FileSyntaxError, InvalidTriggerError

JOB = '[[jobs]]\nfunc = "m:f"\n'


def fails(text: str) -> str:
    with pytest.raises(FileSyntaxError) as caught:
        parse_toml(text, "s.toml")
    return str(caught.value)


def one(text: str, path: str = "s.toml") -> JobSpec:
    (job,) = parse_toml(text, path).jobs
    return job


FULL = """\
[scheduler]
timezone = "Europe/Berlin"
jobstore_retry_interval = 2.5
job_defaults = { coalesce = false, misfire_grace_time = "none", max_instances = 3 }

[jobstores.default]
type = "sqlalchemy"
url = "sqlite:///x.sqlite"

[executors.cpu]
type = "processpool"
max_workers = 2

[executors.own]
class = "pkg.mod:Executor"

[[jobs]]
id = "report"
name = "The report"
func = "pkg.reports:Daily.run"
args = [7, "x"]
kwargs = { dry_run = true }
cron = "30 6 * * mon"
misfire_grace_time = 60
coalesce = true
max_instances = 2
max_catchup = 10
recovery = "lost"
executor = "cpu"
jobstore = "default"
paused = true

[[jobs]]
command = ["rsync", "-a"]
cwd = "sub/../work"
env = { A = "1" }
stdin = "in"
user = "root"
timeout = 60
interval = { minutes = 5 }

[[jobs]]
name = "shell"
command = "a | b"
shell = "/bin/bash"
cwd = "~"
cron = "@reboot"
"""


class TestMeaning:
    def test_the_whole(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s.toml")
        file = parse_toml(FULL, path)
        assert (file.path, file.format, file.folder) == (path, "toml", str(tmp_path))
        assert file.scheduler == {
            "timezone": "Europe/Berlin",
            "jobstore_retry_interval": 2.5,
            "job_defaults": {"coalesce": False, "misfire_grace_time": None, "max_instances": 3},
        }
        assert file.jobstores == {"default": {"type": "sqlalchemy", "url": "sqlite:///x.sqlite"}}
        assert file.executors == {
            "cpu": {"type": "processpool", "max_workers": 2},
            "own": {"class": "pkg.mod:Executor"},
        }
        report, rsync, shell = file.jobs
        assert report == JobSpec(
            id="report",
            name="The report",
            func="pkg.reports:Daily.run",
            args=(7, "x"),
            kwargs={"dry_run": True},
            trigger=TriggerSpec(kind=CRONTAB, arguments={"expr": "30 6 * * mon"}),
            options={
                "misfire_grace_time": 60,
                "coalesce": True,
                "max_instances": 2,
                "max_catchup": 10,
                "recovery": "lost",
                "executor": "cpu",
            },
            jobstore="default",
            paused=True,
        )
        assert (report.line, report.column) == (17, 1)
        assert report.target() == ("pkg.reports:Daily.run", (7, "x"), {"dry_run": True})
        assert rsync == JobSpec(
            id="rsync-a",
            name="rsync-a",
            command=("rsync", "-a"),
            cwd=str(tmp_path / "work"),
            env={"A": "1"},
            stdin="in",
            user="root",
            timeout=60,
            trigger=TriggerSpec(kind="interval", arguments={"minutes": 5}),
        )
        assert rsync.target() == (
            RUN_COMMAND,
            (["rsync", "-a"],),
            {"cwd": str(tmp_path / "work"), "env": {"A": "1"}, "stdin": "in", "user": "root", "timeout": 60},
        )
        assert (shell.id, shell.name, shell.command) == ("shell", "shell", "a | b")
        assert shell.trigger == TriggerSpec(kind=STARTUP)
        assert shell.target() == (RUN_COMMAND, ("a | b",), {"shell": "/bin/bash", "cwd": "~"})

    def test_the_configuration_of_the_scheduler(self) -> None:
        configuration = parse_toml(FULL, "s.toml").configuration()
        assert configuration["executors"]["own"] == {"class": "pkg.mod:Executor"}
        config = schedcore.config.parse(configuration)
        assert str(config.timezone) == "Europe/Berlin"
        assert config.job_defaults == JobDefaults(None, False, 3)
        assert set(config.jobstores) == {"default"}

    def test_a_command_runs_in_the_folder_of_the_file(self, tmp_path: Path) -> None:
        job = one('jobs = [{ command = "x", interval = { seconds = 1 } }]', str(tmp_path / "s.toml"))
        assert job.cwd == str(tmp_path)

    def test_ids(self) -> None:
        text = JOB + "interval = { hours = 1 }\n"
        assert (one(text).id, one(text).name) == ("m:f", "m:f")
        assert (one(text + 'name = "n"').id, one(text + 'name = "n"').name) == ("n", "n")
        assert (one(text + 'id = "i"').id, one(text + 'id = "i"').name) == ("i", "i")

    def test_empty(self) -> None:
        assert parse_toml("", "s.toml").jobs == ()

    def test_values_are_frozen(self) -> None:
        file = parse_toml(FULL, "s.toml")
        with pytest.raises(TypeError):
            file.jobs[0].options["coalesce"] = False  # type: ignore[index]
        with pytest.raises(AttributeError):
            file.jobs[0].id = "x"  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("line", "kind", "arguments"),
        [
            ("interval = { seconds = 5 }", "interval", {"seconds": 5}),
            ('cron = "*/5 * * * *"', CRONTAB, {"expr": "*/5 * * * *"}),
            ('cron = "@daily"', CRONTAB, {"expr": "@daily"}),
            ("cron = { hour = 3 }", "cron", {"hour": 3}),
            (
                'cron = { crontab = "0 3 * * *", timezone = "UTC" }',
                CRONTAB,
                {"expr": "0 3 * * *", "timezone": "UTC"},
            ),
            ("date = 2030-01-31", "date", {"run_date": date(2030, 1, 31)}),
            (
                "date = 2030-01-31T06:00:00Z",
                "date",
                {"run_date": datetime(2030, 1, 31, 6, tzinfo=UTC)},
            ),
            ('date = "2030-01-31 06:00:00"', "date", {"run_date": "2030-01-31 06:00:00"}),
            ('trigger = { type = "interval", hours = 2 }', "interval", {"hours": 2}),
        ],
    )
    def test_triggers(self, line: str, kind: str, arguments: dict[str, object]) -> None:
        assert one(JOB + line).trigger == TriggerSpec(kind=kind, arguments=arguments)


class TestBuiltTriggers:
    def build(self, line: str, **kwargs: Any) -> Any:
        file = parse_toml(JOB + line, "s.toml")
        return build_trigger(file, file.jobs[0], **kwargs)

    def test_interval(self) -> None:
        from schedcore.triggers.interval import IntervalTrigger

        start = "2030-01-01T00:00:00"
        trigger = self.build(f'interval = {{ minutes = 5, start_date = "{start}" }}', timezone="Asia/Tokyo")
        assert trigger == IntervalTrigger(minutes=5, start_date=start, timezone="Asia/Tokyo")

    def test_the_zone_of_the_file(self) -> None:
        from schedcore.triggers.date import DateTrigger

        text = '[scheduler]\ntimezone = "Asia/Tokyo"\n' + JOB + "date = 2030-01-31T06:00:00\n"
        file = parse_toml(text, "s.toml")
        trigger = build_trigger(file, file.jobs[0])
        assert trigger == DateTrigger("2030-01-31T06:00:00", timezone="Asia/Tokyo")

    def test_at_start(self) -> None:
        from schedcore.triggers.date import DateTrigger

        now = datetime(2030, 1, 1, tzinfo=UTC)
        assert self.build('cron = "@reboot"', now=now) == DateTrigger(now)


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a = b", '1:5: not valid TOML: Invalid value; text needs quotes: key = "text"'),
            (
                "[scheduler]\ntimezone: 'UTC'",
                "2:9: not valid TOML: Expected '=' after a key in a key/value pair; "
                "write key = value; a key with other characters than A-Z a-z 0-9 _ - needs quotes",
            ),
            (
                "a = 1\r\na = 2",
                "2:6: not valid TOML: Cannot overwrite a value; a key can be given only once in a table",
            ),
            ("a = [1,", "1:8: not valid TOML: Unclosed array; close it with ]"),
            (
                "a = 'x'\nb = 'y\nc = 1\n",
                """2:5: not valid TOML: Expected "'"; close the text with the quotes that it begins with""",
            ),
            (
                "a = 1\r\nbc = '''y\nc = 1\n",
                """2:6: not valid TOML: Expected "'''"; close the text with the quotes that it begins with""",
            ),
            (
                'a = """x"""\nb = """y "z"\n\n',
                "2:5: not valid TOML: Unterminated string; close the text with the quotes that it begins with",
            ),
            (
                'a = """x"""\nb = "y',
                "2:5: not valid TOML: Unterminated string; close the text with the quotes that it begins with",
            ),
            (
                "a = 2021-02-29",
                "1:5: not valid TOML: Invalid date or datetime; "
                "give one that the calendar has, such as 2030-01-31T06:00:00",
            ),
        ],
    )
    def test_syntax(self, text: str, message: str) -> None:
        if "Unclosed" in message:
            assert fails(text).startswith("s.toml:1:8: not valid TOML: ")
        else:
            assert fails(text) == f"s.toml:{message}"

    def test_too_deep(self) -> None:
        assert fails("a = " + "[" * 100_000).startswith("s.toml:1")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[shceduler]", "1:2: unknown table 'shceduler'; did you mean 'scheduler'?"),
            ("[job]", "1:2: unknown table 'job'; did you mean 'jobs'?"),
            (
                "[jobs]\nid = 'x'",
                "1:2: jobs is a list of tables; write [[jobs]], with two brackets, before each job",
            ),
            ("scheduler = 1", "1:13: scheduler is 1; write [scheduler] and its options below it"),
            ("[scheduler]\ntimzone = 'UTC'", "2:1: unknown scheduler option 'timzone'; did you mean 'timezone'?"),
            ("[scheduler.jobstores.x]", "1:12: jobstores stand beside [scheduler]; write [jobstores.NAME]"),
            (
                "[scheduler]\ntimezone = 1",
                "2:12: scheduler.timezone is 1; write the name of a time zone, such as 'Europe/Berlin'",
            ),
            (
                "[scheduler]\njobstore_retry_interval = -1",
                "2:27: scheduler.jobstore_retry_interval is -1; write a number of seconds, more than 0",
            ),
            (
                "[scheduler]\njob_defaults = {colaesce = true}",
                "2:17: unknown job default 'colaesce'; did you mean 'coalesce'?",
            ),
            (
                "[scheduler.job_defaults]\ncoalesce = 1",
                "2:12: scheduler.job_defaults.coalesce is 1; write true or false",
            ),
            ("jobstores = []", "1:13: jobstores is an empty list; write [jobstores.NAME] for each job store"),
            (
                "[jobstores]\ndefault = 'memory'",
                "2:11: jobstores.default is 'memory'; "
                "write [jobstores.default] and the options of the job store below it",
            ),
            (
                "[executors.x]\ntype = 'processpol'",
                "2:8: no executor is called 'processpol'; did you mean 'processpool'?",
            ),
            (
                "[executors.x]\nclass = 'pkg.Exe'",
                "2:9: executors.x.class is 'pkg.Exe'; write \"pkg:Exe\", with a colon between the module and the name",
            ),
        ],
    )
    def test_tables(self, text: str, message: str) -> None:
        assert fails(text) == f"s.toml:{message}"

    @pytest.mark.parametrize("body", ["", "type = 'memory'\nclass = 'a:b'"])
    def test_type_or_class(self, body: str) -> None:
        text = fails("\n[jobstores.x]\n" + body)
        problem = "both type and class" if body else "neither type nor class"
        assert text.startswith(f"s.toml:2:12: job store 'x' has {problem}; give type = one of ")
        assert text.endswith(', or class = "module:Class"')

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "[[jobs]]\nid = 'x'",
                '1:1: a job with neither func nor command; give either func = "module:name" '
                'or command = ["program", "argument"]',
            ),
            (
                "\n  [[jobs]]\nfunc = 'a:b'\ncommand = 'x'",
                '2:3: a job with both func and command; give either func = "module:name" '
                'or command = ["program", "argument"]',
            ),
            (JOB + "max_instance = 2", "3:1: unknown job option 'max_instance'; did you mean 'max_instances'?"),
            (
                JOB + 'trigger = "interval"\nseconds = 2',
                "4:1: seconds belongs to a trigger, and not to the job; write a table for the trigger, such as "
                "interval = { minutes = 5 }",
            ),
            (
                JOB + "hour = 2",
                "3:1: hour belongs to a trigger, and not to the job; write a table for the trigger, such as cron = { hour = 3 }",
            ),
            (JOB + "timeout = 2", "3:1: timeout is for jobs with command, and this one has func"),
            ("[[jobs]]\ncommand = 'x'\nargs = [1]", "3:1: args is for jobs with func, and this one has command"),
            (
                "[[jobs]]\nfunc = 'pkg.mod.name'",
                "2:8: func is 'pkg.mod.name'; write \"pkg.mod:name\", with a colon between the module and the name",
            ),
            (
                "[[jobs]]\nfunc = 3",
                '2:8: func is 3; write "module:name", with a colon between the module and the name',
            ),
            (JOB + "args = 1", '3:8: args is 1; write a list, such as [1, "two"]'),
            (JOB + "kwargs = [1]", '3:10: kwargs is a list; write a table, such as { name = "value" }'),
            (JOB + "id = ''", "3:6: id is ''; write a text"),
            (JOB + "name = 1", "3:8: name is 1; write a text"),
            (
                "[[jobs]]\ncommand = []",
                '2:11: command is an empty list; write a list of texts, such as ["program", "argument"], '
                "or one text for the shell",
            ),
            (
                "[[jobs]]\ncommand = [\n  'sleep',\n  5,\n]",
                '4:3: item 2 of command is 5; write a list of texts, such as ["program", "argument"], '
                "or one text for the shell (numbers in quotes)",
            ),
            ("[[jobs]]\ncommand = ['', 'a']", "2:12: the program's name is empty"),
            (
                "[[jobs]]\ncommand = ['a']\nshell = '/bin/sh'",
                "3:1: shell is for a command that is one text; a list is run without a shell",
            ),
            ("[[jobs]]\ncommand = 'a'\nstdin = 1", "3:9: stdin is 1; write a text"),
            (
                "[[jobs]]\ncommand = 'a'\ntimeout = true",
                "3:11: timeout is true; write a number of seconds, more than 0",
            ),
            ("[[jobs]]\ncommand = 'a'\ntimeout = inf", "3:11: timeout is inf; write a number of seconds, more than 0"),
            (
                "[[jobs]]\ncommand = 'a'\n[jobs.env]\nA = 1",
                "4:5: env.A is 1; a variable is a text; put it in quotes",
            ),
            ("[[jobs]]\ncommand = 'a'\nenv = 'A=1'", "3:7: env is 'A=1'; write a table, such as { NAME = \"value\" }"),
            ("[[jobs]]\ncommand = 'a'\ncwd = 1", "3:7: cwd is 1; write the path of a folder"),
        ],
    )
    def test_jobs(self, text: str, message: str) -> None:
        assert fails(text) == f"s.toml:{message}"

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("coalesce = 'yes'", "12: coalesce is 'yes'; write true or false"),
            ("paused = 0", "10: paused is 0; write true or false"),
            ("max_instances = 0", "17: max_instances is 0; write a whole number, 1 or more"),
            ("max_instances = true", "17: max_instances is true; write a whole number, 1 or more"),
            ("max_catchup = 1.5", "15: max_catchup is 1.5; write a whole number, 1 or more"),
            (
                "misfire_grace_time = 0",
                '22: misfire_grace_time is 0; write a number of seconds, more than 0, or "none" to run however late',
            ),
            (
                "misfire_grace_time = 1e13",
                "22: misfire_grace_time is 10000000000000.0; write at most 1000000000000, which is 31,000 years",
            ),
            ("recovery = 'again'", '12: recovery is \'again\'; write "rerun" or "lost"'),
            ("executor = 'cpu'", "12: no [executors.cpu] in this file; known: default"),
            ("jobstore = 'defalt'", "12: no [jobstores.defalt] in this file; did you mean 'default'?"),
        ],
    )
    def test_options(self, line: str, message: str) -> None:
        assert fails(f"{JOB}interval = {{ hours = 1 }}\n{line}") == f"s.toml:4:{message}"

    def test_duplicate_ids(self) -> None:
        job = "[[jobs]]\nfunc = 'a:b'\ninterval = { hours = 1 }\n"
        assert (
            fails(job + job) == "s.toml:4:1: job id 'a:b' is taken by the job on line 1; give each job an id of its own"
        )
        assert fails(f"{job}id = 'x'\n{job}id = 'x'\n") == (
            "s.toml:8:6: job id 'x' is taken by the job on line 1; give each job an id of its own"
        )
        assert fails(f"{job}id = 'x'\n{job}name = 'x'\n").startswith("s.toml:8:8: job id 'x' is taken")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "",
                '1:1: a job without a trigger; give interval = { minutes = 5 }, cron = "*/5 * * * *", '
                "date = a date, or trigger = { type = ... }",
            ),
            (
                "cron = '@daily'\ninterval = { hours = 1 }",
                "4:1: a job has one trigger, and this one has cron and interval",
            ),
            ("interval = 5", "3:12: interval is 5; write a table such as { minutes = 5 }"),
            ("interval = {}", "3:12: interval is an empty table; write a table such as { minutes = 5 }"),
            ("cron = 5", '3:8: cron is 5; write a text such as "*/5 * * * *" or a table such as { hour = 3 }'),
            ("date = 07:32:00", "3:8: date is 07:32:00; write a date or a time such as 2030-01-31T06:00:00"),
            (
                "cron = { crontab = '@daily', hour = 3 }",
                "3:30: unknown key beside crontab: 'hour'; known: crontab, timezone",
            ),
            (
                "interval = { secnods = 5 }",
                "3:14: unknown argument 'secnods' of trigger 'interval'; did you mean 'seconds'?",
            ),
            (
                "[jobs.cron]\nhuor = 3",
                "4:1: unknown argument 'huor' of trigger 'cron'; did you mean 'hour'?",
            ),
            (
                "trigger = { type = 'intervall', hours = 1 }",
                "3:20: no trigger is called 'intervall'; did you mean 'interval'?",
            ),
        ],
    )
    def test_triggers(self, line: str, message: str) -> None:
        assert fails(JOB + line) == f"s.toml:{message}"

    @pytest.mark.parametrize("line", ["trigger = { hours = 1 }", "trigger = 'interval'"])
    def test_generic_triggers(self, line: str) -> None:
        text = fails(JOB + line)
        assert text.startswith("s.toml:3:11: ")
        assert "write a table with type = one of " in text

    @pytest.mark.parametrize(
        ("line", "place"),
        [
            ("cron = '0 61 * * *'", "3:11"),
            ('cron = "0 \\u0036\\u0031 * * *"', "3:8"),  # columns in the text are not columns in the file
            ("cron = { timezone = 'UTC', crontab = '61 * * * *' }", "3:39"),
            ("cron = { timezone = 'No/Where', crontab = '1 * * * *' }", "3:21"),
            ("cron = { minute = 1, hour = 25 }", "3:29"),
            ("cron = { minute = 1, hour = '3-x' }", "3:32"),
            ("interval = { minutes = 'x' }", "3:24"),
            ("interval = { minutes = 1, start_date = 'x' }", "3:40"),
            ("date = '2030-13-01'", "3:8"),
        ],
    )
    def test_the_place_of_a_bad_argument(self, line: str, place: str) -> None:
        assert fails(JOB + line).startswith(f"s.toml:{place}: ")

    def test_the_column_is_told_once(self) -> None:
        assert "column" not in fails(JOB + "cron = '0 61 * * *'")
        assert "column" not in fails(JOB + "cron = { hour = '3-x' }")

    def test_for_later(self) -> None:
        file = parse_toml(FULL, "s.toml")
        assert file.where("executors", "cpu", "max_workers") == (12, 1)
        assert str(file.error("too few", "executors", "cpu", "max_workers", value=True)) == "s.toml:12:15: too few"
        assert file.where("executors", "cpu", "other") == (10, 12)
        assert file.where("nothing") == (1, 1)
        assert ScheduleFile(path="x", format="toml", folder="/").where("jobs") == (1, 0)


class TestPositions:
    def at(self, text: str, *path: str | int, value: bool = False) -> tuple[int, int]:
        tomllib.loads(text)
        return Positions(text).of(path, value=value)

    def test_all_shapes(self) -> None:
        text = '''\
# comment = 1
a . "b.c" = """
x = 1 \\""" ""\\"""" # end
'q' = 'x # y'
list = [ # c
  1, [2, "]"],
  { k = 3, l.m = 1979-05-27 07:32:00 }, # last
]

[ t . u ]
v = \'\'\'a'' = \'\'\'\'
[[x]]
[[x.y]]
[[x.y]]
z = 1
[x.y.w]
e = 2
[[x]]
y = []
"\\u00e9" = true
'''
        for path, key, value in [
            (("a", "b.c"), (2, 5), (2, 13)),
            (("q",), (4, 1), (4, 7)),
            (("list",), (5, 1), (5, 8)),
            (("list", 0), (6, 3), (6, 3)),
            (("list", 1, 1), (6, 10), (6, 10)),
            (("list", 2, "k"), (7, 5), (7, 9)),
            (("list", 2, "l", "m"), (7, 14), (7, 18)),
            (("t", "u"), (10, 7), (10, 1)),
            (("t", "u", "v"), (11, 1), (11, 5)),
            (("x", 0), (12, 1), (12, 1)),
            (("x", 0, "y", 1, "z"), (15, 1), (15, 5)),
            (("x", 0, "y", 1, "w", "e"), (17, 1), (17, 5)),
            (("x", 1, "y"), (19, 1), (19, 5)),
            (("x", 1, "é"), (20, 1), (20, 12)),
        ]:
            assert self.at(text, *path) == key, path
            assert self.at(text, *path, value=True) == value, path

    def test_crlf(self) -> None:
        assert self.at("a = 1\r\nb = '''x\r\ny'''\r\nc = 1", "c") == (4, 1)

    def test_the_nearest(self) -> None:
        assert self.at("[a]\nb = 1", "a", "x", "y") == (1, 2)
        assert self.at("", "a") == (1, 1)

    def test_text(self) -> None:
        positions = Positions("a = 'x y'\nb = '''\nx'''\nc = 1")
        assert positions.text_start(("a",), "x y") == (1, 6)
        assert positions.text_start(("b",), "x") is None
        assert positions.text_start(("c",), "1") is None
        assert positions.text_start(("d",), "") is None


KEYS = st.text(alphabet="ab.\"' é#\\=]", max_size=4)
LEAVES = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(alphabet="ab\"'\\#]},\n\t é[", max_size=6),
    st.dates().filter(lambda day: day.year >= 1000),
    st.floats(allow_nan=False),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def walk(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    items: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        yield (*path, key), item
        yield from walk(item, (*path, key))


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_value_is_found_where_it_stands(document: dict[str, Any]) -> None:
    tomli_w = pytest.importorskip("tomli_w", reason="needs a writer of TOML")
    text = tomli_w.dumps(document, multiline_strings=True)
    read = tomllib.loads(text)
    positions = Positions(text)
    lines = text.split("\n")
    for path, value in walk(read):
        assert path in positions._keys or path in positions._values
        line, column = positions.of(path, value=True)
        rest = lines[line - 1][column - 1 :]
        if isinstance(value, bool):
            assert rest.startswith(str(value).lower())
        elif isinstance(value, int | date):
            assert rest.startswith(str(value))
        elif isinstance(value, str):
            assert rest.startswith('"')
        elif isinstance(value, dict):
            assert rest.startswith(("{", "["))
        elif isinstance(value, list):
            assert rest.startswith("[")


def test_the_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_toml("", os.path.join("sub", "s.toml")).folder == str(tmp_path / "sub")


def test_a_machine_that_does_not_know_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import tzlocal

    from schedcore.triggers import _zones

    def get_localzone() -> NoReturn:
        raise KeyError("it is Nowhere/At_All")

    monkeypatch.setattr(_zones, "_local", None)
    monkeypatch.setattr(tzlocal, "get_localzone", get_localzone)
    with pytest.raises(InvalidTriggerError, match=r"^the time zone of this machine cannot be told \(it is N"):
        parse_toml(JOB + "interval = { hours = 1 }", "s.toml")
    assert parse_toml(JOB + 'interval = { hours = 1, timezone = "UTC" }', "s.toml").jobs


def test_a_recurrence_rule_that_names_its_zone_keeps_it() -> None:
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    rules = ("DTSTART;TZID=America/New_York:20260105T090000\\nRRULE:FREQ=DAILY", "FREQ=DAILY")
    job = '[[jobs]]\nid = "{0}"\ncommand = "true"\ntrigger = {{ type = "rrule", rule = "{1}" }}\n'
    text = '[scheduler]\ntimezone = "Europe/Berlin"\n' + "".join(job.format(*each) for each in enumerate(rules))
    file = parse_toml(text, "jobs.toml")
    assert [str(build_trigger(file, each).timezone) for each in file.jobs] == ["America/New_York", "Europe/Berlin"]  # type: ignore[attr-defined]
