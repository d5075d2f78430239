"""``schedcore explain`` and ``schedcore next``."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from schedcore.cli.app import app
from schedcore.cli.explain import Reading, explain, next_times
from schedcore.errors import InvalidTriggerError

NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_next_as_text() -> None:
    assert next_times("30 2 * * *", Reading(timezone="Europe/Berlin"), count=2, now=NOW).splitlines() == [
        "Sat 2026-03-28 02:30:00 +01:00",
        "Sun 2026-03-29 03:00:00 +02:00  moved from 02:30; the clocks go forward from 02:00 to 03:00 on this day",
    ]
    assert next_times("0 0 30 2 *", Reading(timezone="UTC")) == "never"


def test_next_as_json() -> None:
    found = json.loads(
        next_times("0 0 9 ? * 6#2", Reading(dialect="quartz", timezone="UTC"), count=1, as_json=True, now=NOW)
    )
    assert found == [{"at": "2026-04-10T09:00:00+00:00", "note": ""}]
    assert json.loads(next_times("0 0 30 2 *", Reading(timezone="UTC"), as_json=True)) == []


def test_explain_takes_what_a_trigger_shows() -> None:
    text = explain("cron[hour='7', minute='30']", Reading(timezone="UTC"), at="2026-03-30T07:31", now=NOW)
    assert text.splitlines()[:2] == ["cron[hour='7', minute='30']  (UTC)", "at 07:30"]
    assert "  minute 31 is not in 30" in text.splitlines()


def test_explain_as_json() -> None:
    data = json.loads(explain("0 9 * * 1", Reading(timezone="UTC"), now=NOW, as_json=True))
    assert set(data) == {"schedule", "dialect", "words", "timezone", "next", "at", "lint"}
    assert [finding["code"] for finding in data["lint"]] == ["weekday-number"]
    guessed = json.loads(explain("0 9 * * mon", now=NOW, as_json=True))
    assert "host-zone" in [finding["code"] for finding in guessed["lint"]]


def test_errors_pass_through() -> None:
    with pytest.raises(InvalidTriggerError, match="column 5"):
        explain("0 0 x * *", Reading(timezone="UTC"))


def test_six_fields_name_what_reads_them() -> None:
    result = command("explain", "0 30 2 * * *", "-z", "UTC")
    assert (
        result.exit_code,
        "seconds before them or years after them have to be asked for (options seconds, year)" in result.stderr,
    ) == (2, True)
    assert command("explain", "0 30 2 * * *", "-z", "UTC", "--seconds").exit_code == 0


def test_the_commands() -> None:
    result = command("next", "H 2 * * *", "--seed", "backup", "-z", "UTC", "-n", "3")
    assert (result.exit_code, len(result.output.splitlines())) == (0, 3)
    result = command("next", "0 2 * * *", "-n", "0")
    assert result.exit_code == 2, "none at all would read as never"
    for name in ("next", "explain"):
        result = command(name, "0 2 * * *", "-n", "1000000000")
        assert result.exit_code == 2, "it would take hours, and all the memory there is"
    result = command("explain", "0 */5 * * * *", "--seconds", "--dst", "literal", "--timezone", "UTC", "--count", "1")
    assert result.exit_code == 0
    assert result.output.splitlines()[1] == "every 5 minutes"
    result = command("explain", "0 9 13 * fri", "-d", "apscheduler3", "-z", "UTC", "--at", "2026-03-27T09:00", "--json")
    assert json.loads(result.output)["at"]["reasons"] == ["day 27 is not in 13"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["next", "0 0 x * *"], "schedcore: day of '0 0 x * *', column 5: 'x' is not understood"),
        (
            ["next", "H 0 * * *"],
            "crontab 'H 0 * * *': 'H' stands for a number that the id of the job picks; give it with --seed",
        ),
        (["explain", "0 9 * * *", "--at", "soon"], "at: 'soon' is not a date"),
        (["explain", "0 9 * * *", "--timezone", "Berlin"], "no zone is called 'Berlin'; did you mean 'Europe/Berlin'?"),
        (["explain", "0 9 * * *", "--dialect", "cron"], "'cron' is not one of"),
        (["explain", "0", "9", "README.md", "docs", "mon"], "it is one argument, and there are 5; write it in quotes"),
        (["next", "0", "9", "*", "*", "*"], "write it in quotes"),
        (["next", "FREQ=DAILY"], "this is a recurrence rule, which the trigger 'rrule' takes"),
    ],
)
def test_wrong_input_is_one_message(arguments: list[str], text: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
