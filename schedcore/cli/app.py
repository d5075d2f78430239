"""The command ``schedcore``: its arguments, its help and its errors. What it does is in the modules beside this one.

Errors are one readable message on standard error. Exit codes: 0 done; 1 something failed (a store that cannot be opened); 2 the
input is wrong (command line, schedule file); 130 ended by a second Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from schedcore.cli import explain
from schedcore.cli.arguments import file_name, text
from schedcore.cli.words import clean
from schedcore.errors import MissingExtraError, SchedcoreError, UsageError

__all__ = ["LogLevel", "app", "jobs", "root", "run", "runs"]

# Help is plain text: it is read in pipes and logs as often as on terminals, and frames take the room of words.
app = typer.Typer(
    name="schedcore",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_FAILED = 1
_WRONG = 2


class LogLevel(StrEnum):
    """What ``--log-level`` takes."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@contextlib.contextmanager
def _readable(debug: bool, prints: bool = True) -> Iterator[None]:
    """Errors become one message and an exit code; with ``debug`` the traceback comes before it.

    ``prints``: what the system says of no file is about standard output, and told by ``main``.
    """
    try:
        yield
    except BrokenPipeError:
        from schedcore.cli.lines import let_go

        let_go(sys.stdout)
        raise typer.Exit(_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except typer.Exit:
        raise
    except Exception as error:
        if prints and isinstance(error, OSError) and error.filename is None:
            raise
        if debug:
            traceback.print_exc()
        wrong = isinstance(error, UsageError) and not isinstance(error, MissingExtraError)
        message = str(error) if isinstance(error, SchedcoreError) else f"unexpected {type(error).__name__}: {error}"
        if not isinstance(error, SchedcoreError) and not debug:
            message += "; --debug shows where"
        # A store's error may quote what somebody else has written there.
        print(f"schedcore: {clean(message)}", file=sys.stderr)
        raise typer.Exit(_WRONG if wrong else _FAILED) from error


def _version(value: bool) -> None:
    if value:
        import schedcore

        print(f"schedcore {schedcore.__version__}")
        raise typer.Exit


_Debug = Annotated[bool, typer.Option("--debug", help="On an error, show where in the code it arose.")]
_Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        callback=file_name,
        help="The job store: a database URL, or the path of an SQLite file.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON: a list of objects with stable field names.")]


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run jobs on a schedule, and look at what ran.

    \b
    schedcore run jobs.toml        run a schedule until Ctrl-C
    schedcore run crontab          the same for a crontab
    schedcore jobs                 what is scheduled, and when it runs next
    schedcore runs --failed        what failed, and why
    schedcore explain "0 9 * * 1"  what a schedule means, and when it fires
    """


@app.command(short_help="Run the jobs of a schedule in the foreground.")
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE", callback=file_name, help="A schedule: a TOML file or a crontab.")
    ],
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0.0, help="Stop by itself after this time.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            callback=file_name,
            help="Where jobs and runs are kept: a database URL, the path of an SQLite file, or memory. "
            "Default: an SQLite file beside FILE (jobs.sqlite for jobs.toml).",
        ),
    ] = None,
    system: Annotated[
        bool | None,
        typer.Option("--system/--no-system", help="Whether a crontab has a column with users. Default: recognise it."),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="The least level of what is logged.")
    ] = LogLevel.INFO,
    plain: Annotated[bool, typer.Option("--plain", help="Log lines instead of a table, also on a terminal.")] = False,
    debug: _Debug = False,
) -> None:
    """Run the jobs of a schedule in the foreground, until Ctrl-C or SIGTERM.

    Then nothing new begins, what runs may finish, and the exit code is 0. A second Ctrl-C sends SIGTERM to commands
    that still run and ends with exit code 130.

    On a terminal a table shows the jobs and how they do; elsewhere there is a log line for each event. Jobs, next run
    times and what ran are kept in the store: at the next start runs that were missed meanwhile are made up for. Jobs
    that are no longer in FILE are removed; those that others put into the store are left alone.

    \b
    Examples:
      schedcore run jobs.toml
      schedcore run jobs.toml --for 60 --store memory
      schedcore run /etc/crontab --store /var/lib/schedcore/cron.sqlite
    """
    with _readable(debug, prints=False):
        from schedcore.cli import files
        from schedcore.cli.lines import LEVELS
        from schedcore.cli.runner import RunOptions, run_file

        schedule = files.load(file, system)
        options = RunOptions(for_s=for_s, store=store, level=LEVELS[log_level.value], plain=plain)
        code = run_file(schedule, options)
    raise typer.Exit(code)


_Target = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        callback=file_name,
        help="A schedule or an SQLite file. Default: the only *.sqlite file in this folder.",
    ),
]


@app.command(short_help="List the jobs: schedules, next runs, latest outcomes.")
def jobs(
    file: _Target = None,
    store: _Store = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only jobs that are set aside, and why.")] = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    """List the jobs: their schedules, next runs and latest outcomes. Also while `schedcore run` runs them.

    \b
    Examples:
      schedcore jobs
      schedcore jobs jobs.toml
      schedcore jobs --json | jq -r '.[].next_run'
    """
    with _readable(debug):
        from schedcore.cli import report, stores

        places = stores.to_read(file, store)
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(stores.Reader(place)) for place in places]
            report.print_jobs(report.collect_jobs(readers, broken=broken), as_json=as_json)
        sys.stdout.flush()


@app.command(short_help="List what ran, and why something did not run.")
def runs(
    file: _Target = None,
    store: _Store = None,
    job: Annotated[
        str | None, typer.Option("--job", metavar="ID", callback=text, help="Only runs of this job.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only runs that failed or were lost.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=2**31 - 1, help="How many, latest first.")
    ] = 20,
    output: Annotated[bool, typer.Option("--output", "-o", help="With the output or traceback of each run.")] = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    """List what ran, latest first: outcome, duration, exit code, and why something did not run.

    \b
    Examples:
      schedcore runs
      schedcore runs jobs.toml --failed --output
      schedcore runs --job backup --limit 1 --json
    """
    with _readable(debug):
        from schedcore.cli import report, stores

        places = stores.to_read(file, store)
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(stores.Reader(place)) for place in places]
            found = report.collect_runs(readers, job, failed=failed, limit=limit)
            if job is not None and not found:
                report.refuse_unknown_job(readers, job)
            report.print_runs(found, as_json=as_json, output=output)
        sys.stdout.flush()


explain.register(app, _readable)
