"""The commands ``schedcore explain`` and ``schedcore next``: what a schedule means, when it fires, and why not at some time.

``explain`` and ``next_times`` are the commands as functions from plain arguments to the text that is printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from schedcore.cli.arguments import text
from schedcore.errors import InvalidTriggerError

if TYPE_CHECKING:
    from schedcore.triggers.explain import Explanation

__all__ = ["Dialect", "Dst", "Reading", "explain", "next_times", "register"]


class Dialect(StrEnum):
    """What ``--dialect`` takes."""

    UNIX = "unix"
    QUARTZ = "quartz"
    APSCHEDULER3 = "apscheduler3"


class Dst(StrEnum):
    """What ``--dst`` takes."""

    CRON = "cron"
    LITERAL = "literal"


class Reading(NamedTuple):
    """How the text of a schedule is read. ``timezone=None``: that of this machine."""

    dialect: str = "unix"
    timezone: str | None = None
    seed: str | None = None
    dst: str = "cron"
    seconds: bool = False
    year: bool = False

    def explain(self, schedule: str, count: int, at: str | None, now: datetime | None) -> Explanation:
        """All about a schedule. Raises ``InvalidTriggerError`` for what is not understood."""
        from schedcore.triggers.cron import CronTrigger

        trigger = CronTrigger.from_str(
            schedule,
            self.timezone,
            dialect=self.dialect,
            seed=self.seed,
            dst="literal" if self.dst == "literal" else "cron",
            seconds=self.seconds,
            year=self.year,
        )
        try:
            return trigger.explain(now=now, count=count, at=at, zone_guessed=self.timezone is None)
        except InvalidTriggerError as error:
            if error.field != "seed":
                raise
            raise InvalidTriggerError(
                f"crontab {schedule!r}: 'H' stands for a number that the id of the job picks; give it with --seed",
                field="seed",
            ) from None


_USUAL = Reading()


def explain(
    schedule: str,
    reading: Reading = _USUAL,
    *,
    count: int = 5,
    at: str | None = None,
    as_json: bool = False,
    now: datetime | None = None,
) -> str:
    """All about a schedule, as text or as JSON. Raises ``InvalidTriggerError`` for what is not understood."""
    found = reading.explain(schedule, count, at, now)
    return json.dumps(found.as_data(), indent=2, ensure_ascii=False) if as_json else str(found)


def next_times(
    schedule: str,
    reading: Reading = _USUAL,
    *,
    count: int = 5,
    as_json: bool = False,
    now: datetime | None = None,
) -> str:
    """The next fire times alone, one to a line, or as JSON: a list of objects.

    Raises ``InvalidTriggerError`` for what is not understood.
    """
    from schedcore.triggers.explain import shown

    found = reading.explain(schedule, count, None, now)
    if as_json:
        return json.dumps(found.as_data()["next"], indent=2, ensure_ascii=False)
    lines = [shown(fire.at) + (f"  {fire.note}" if fire.note else "") for fire in found.next]
    return "\n".join(lines) or "never"


_Schedule = Annotated[
    str,
    typer.Argument(
        metavar="SCHEDULE", callback=text, help="Crontab text in quotes, such as '*/5 9-17 * * mon-fri' or @daily."
    ),
]
_Dialect = Annotated[Dialect, typer.Option("--dialect", "-d", help="How the text is read.")]
_Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", "-z", metavar="ZONE", callback=text, help="Such as Europe/Berlin. Default: that of this machine."
    ),
]
# Some seconds' work. All of them are in memory before the first is shown.
_MOST = 100_000
_Count = Annotated[
    int, typer.Option("--count", "-n", metavar="N", min=0, max=_MOST, help="How many fire times to show.")
]
_Seed = Annotated[
    str | None,
    typer.Option("--seed", metavar="ID", callback=text, help="The id of the job, for a schedule with H in it."),
]
_Dst = Annotated[
    Dst,
    typer.Option("--dst", help="When the clocks change: each time once (cron), or as the clock shows it (literal)."),
]
_Seconds = Annotated[bool, typer.Option("--seconds", help="A field of seconds comes first (dialect unix).")]
_Year = Annotated[bool, typer.Option("--year", help="A field of years comes last (dialect unix).")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, with stable names.")]
_Debug = Annotated[bool, typer.Option("--debug", help="On an error, show where in the code it arose.")]


# Without quotes a schedule is several arguments, in which the shell has put names of files in the place of ``*``.
_SEVERAL = {"allow_extra_args": True}


def _check_quotes(context: typer.Context) -> None:
    if context.args:
        raise typer.BadParameter(
            f"it is one argument, and there are {len(context.args) + 1}; write it in quotes", param_hint="SCHEDULE"
        )


def register(app: typer.Typer, readable: Callable[[bool], AbstractContextManager[None]]) -> None:
    """Add the two commands to ``app``. ``readable(debug)`` turns errors into messages and exit codes."""

    @app.command(
        "explain", context_settings=_SEVERAL, short_help="Explain a schedule, and why it does not run at some time."
    )
    def _explain(
        context: typer.Context,
        schedule: _Schedule,
        dialect: _Dialect = Dialect.UNIX,
        timezone: _Zone = None,
        count: _Count = 5,
        at: Annotated[
            str | None,
            typer.Option(
                "--at",
                metavar="INSTANT",
                callback=text,
                help="Why does it run then, or not? ISO 8601, such as 2026-03-29T02:30; local without an offset.",
            ),
        ] = None,
        seed: _Seed = None,
        dst: _Dst = Dst.CRON,
        seconds: _Seconds = False,
        year: _Year = False,
        as_json: _Json = False,
        debug: _Debug = False,
    ) -> None:
        """Explain a schedule: in words, its next times, why it does not run at some time, and what may surprise.

        \b
        Examples:
          schedcore explain "*/5 9-17 * * mon-fri"
          schedcore explain "30 2 * * *" --timezone Europe/Berlin --at 2026-03-29T02:30
          schedcore explain "0 0 9 ? * 6#2" --dialect quartz --json
        """
        _check_quotes(context)
        with readable(debug):
            reading = Reading(dialect.value, timezone, seed, dst.value, seconds, year)
            typer.echo(explain(schedule, reading, count=count, at=at, as_json=as_json))

    @app.command("next", context_settings=_SEVERAL)
    def _next(
        context: typer.Context,
        schedule: _Schedule,
        dialect: _Dialect = Dialect.UNIX,
        timezone: _Zone = None,
        count: Annotated[
            int, typer.Option("--count", "-n", metavar="N", min=1, max=_MOST, help="How many fire times to show.")
        ] = 5,
        seed: _Seed = None,
        dst: _Dst = Dst.CRON,
        seconds: _Seconds = False,
        year: _Year = False,
        as_json: _Json = False,
        debug: _Debug = False,
    ) -> None:
        """Show the next times of a schedule.

        \b
        Examples:
          schedcore next "0 9 * * mon-fri" --timezone Europe/Berlin
          schedcore next @monthly --count 3 --json | jq -r '.[].at'
        """
        _check_quotes(context)
        with readable(debug):
            reading = Reading(dialect.value, timezone, seed, dst.value, seconds, year)
            typer.echo(next_times(schedule, reading, count=count, as_json=as_json))
