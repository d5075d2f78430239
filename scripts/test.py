#!/usr/bin/env python3
"""Set up what the tests need inside this checkout, and run them: all of them, or the tox environments that are named.

    python3 scripts/test.py                          everything that a change must pass
    python3 scripts/test.py lint core-py312          these environments only
    python3 scripts/test.py asyncio -- -k shutdown   with arguments for pytest
    python3 scripts/test.py --list                   what there is

Environments for which this machine has no interpreter are skipped, and the summary at the end says so.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import time

from _bootstrap import CACHE, ROOT, ensure_environment, find_interpreters, main, run, say, scratch, uv_settings

__all__ = ["launcher_requirements", "test"]

# The environments whose tests need servers.
SERVED = {"slow", "stores"}


def launcher_requirements() -> list[str]:
    """tox and tox-uv, with the bounds that ``tox.ini`` states."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    return config["tox"]["requires"].split()


def test(arguments: list[str]) -> int:
    started_s = time.monotonic()
    names, rest = arguments, []
    if "--" in arguments:
        split = arguments.index("--")
        names, rest = arguments[:split], arguments[split:]
    with scratch() as env:
        python = ensure_environment(CACHE / "launcher", launcher_requirements(), env)
        ask = [str(python), "-m", "pip", "config", "list"]
        listing = subprocess.run(ask, stdout=subprocess.PIPE, text=True, env=env, check=False).stdout
        env.update(uv_settings(listing, env))

        interpreters = find_interpreters()
        say("interpreters found: " + (", ".join(str(interpreters[minor]) for minor in sorted(interpreters)) or "none"))
        # At the end of PATH, where they are found by their versions and hide nothing.
        bins = [str(interpreters[minor].parent) for minor in sorted(interpreters)]
        env["PATH"] = os.pathsep.join([env.get("PATH", os.defpath), *bins])

        tox: list[str] = [str(python), "-m", "tox", "--root", str(ROOT), "--workdir", str(ROOT / ".tox")]
        if names == ["--list"]:
            return run([*tox, "list"], env)
        if not names or SERVED.intersection(names):
            # What could not be installed is said by the tests that need it, or they fail for it: that is not decided here.
            run([sys.executable, "-m", "tests.services", "install"], env)
        say("tox: " + (", ".join(names) or "all environments"))
        code = run([*tox, "run", *(["-e", ",".join(names)] if names else []), *rest], env)
    say(f"{'passed' if code == 0 else f'FAILED (exit code {code})'} after {time.monotonic() - started_s:.0f} s")
    return code


if __name__ == "__main__":
    main("test", test)
