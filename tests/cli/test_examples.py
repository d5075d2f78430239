"""The examples and the schedules in the documentation are right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schedcore.cli import files
from schedcore.cli.app import app

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("name", ["quickstart.toml", "crontab"])
def test_examples_start(name: str) -> None:
    result = CliRunner().invoke(app, ["run", str(ROOT / "examples" / name), "--store", "memory", "--for", "0"])
    assert result.exit_code == 0, result.output
    assert " warn " not in result.stdout  # there is nothing to note about them
    assert not re.search(r"\.sqlite", result.stdout)


def blocks(language: str, page: str = "command-line.md") -> list[str]:
    text = ROOT.joinpath("docs", page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_documented_toml_loads() -> None:
    assert [len(files.parse(text, "jobs.toml", stores_do=True).jobs) for text in blocks("toml")] == [0, 3]


def test_documented_crontab_loads() -> None:
    (crontab,) = (text for text in blocks("text") if text.startswith("CRON_TZ"))
    file = files.parse(crontab, "crontab")
    assert (len(file.jobs), file.notes) == (2, ())


def test_documented_explanation_is_what_is_said() -> None:
    (block,) = blocks("console", "cron.md")
    command, *shown = block.splitlines()
    result = CliRunner().invoke(app, shlex.split(command.removeprefix("$ schedcore ")))
    assert result.exit_code == 0, result.output
    said = result.stdout.splitlines()
    begin = shown.index("next:")
    # The fire times from now on are others each week.
    assert said[: begin + 1] == shown[: begin + 1]
    begin, said_from = shown.index("", begin), said.index("", begin)
    assert said[said_from:] == shown[begin:]


def test_documented_fields_are_those_of_the_json() -> None:
    from schedcore.cli import report
    from schedcore.job import JobEntry, JobPolicy, JobRecord, JobState
    from schedcore.run import RunRecord, RunState
    from schedcore.triggers.interval import IntervalTrigger

    text = ROOT.joinpath("docs", "command-line.md").read_text(encoding="utf-8")
    record = RunRecord("a", 0, 1, RunState.SUCCEEDED)
    job = JobRecord("a", "a", None, "m:f", (), {}, IntervalTrigger(hours=1, timezone="UTC"), JobPolicy())
    shown = report.JobReport("default", JobEntry(job, JobState.ACTIVE), "m:f", record)
    for what, fields in (("job", report.job_fields(shown)), ("run", report.run_fields(record, "default"))):
        section = re.search(rf"^Fields of a {what}\n: (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        assert section is not None
        documented = set(re.findall(r"`(\w+)`", re.sub(r"`state` \(.*?\)", "`state`", section[1], flags=re.DOTALL)))
        assert documented == set(fields)
