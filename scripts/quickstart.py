#!/usr/bin/env python3
"""Set up schedcore inside this checkout and run the schedule in ``examples/quickstart.toml``; Ctrl-C ends it.

Arguments are handed to ``schedcore run``: ``python3 scripts/quickstart.py --for 20`` stops by itself after 20 seconds.
"""

from __future__ import annotations

from _bootstrap import ROOT, ensure_environment, main, run, say, scratch

__all__ = ["quickstart"]


def quickstart(arguments: list[str]) -> int:
    with scratch() as env:
        project = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
        python = ensure_environment(ROOT / ".venv", ["--editable", ".[cli]"], env, because=project)
        say("schedcore run examples/quickstart.toml")
        command = python.with_name("schedcore" + python.suffix)
        return run([command, "run", ROOT / "examples" / "quickstart.toml", *arguments], env)


if __name__ == "__main__":
    main("quickstart", quickstart)
