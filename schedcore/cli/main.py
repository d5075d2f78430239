"""The entry point of the command ``schedcore``. It imports nothing optional, so that it can say what is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]

# What the extra 'cli' brings, and the command cannot do without.
_NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command with the arguments of this process."""
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
    app()
