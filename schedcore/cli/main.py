"""The entry point of the command ``schedcore``. It imports nothing optional, so that it can say what is missing."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["main"]

# What the extra 'cli' brings, and the command cannot do without.
_NEEDED = ("rich", "typer")


def _prepare_streams() -> None:
    """Make standard streams of those that this process was given, or was not (``schedcore run … >&-``)."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one. Otherwise the job store's file would get it, and what is printed.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A letter that the terminal's encoding lacks is no reason to lose the line that it is in.
        sys.stdout.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command with the arguments of this process."""
    _prepare_streams()
    try:
        from schedcore.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print(
            f"schedcore: the command line needs {error.name}, which is not installed; "
            f"install it with: pip install 'schedcore[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:  # while it was still being read
        sys.exit(130)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        from schedcore.cli.lines import let_go

        let_go(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            print(f"schedcore: cannot write to standard output: {error.strerror}", file=sys.stderr)
        sys.exit(1)
