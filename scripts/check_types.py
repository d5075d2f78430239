"""Type-check schedcore as its users get it, and everything around it. Run inside an environment that has the wheel.

mypy looks for ``schedcore`` in the working directory before it looks among the installed packages, and the source tree
has no ``schedcore/adapters``: that package exists only where the library is installed. So mypy runs in a scratch folder
that holds copies of the tests and tools but not the library, and finds the library where Python finds it.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
# Checked as namespace packages, so that files of the same name in two folders stay apart.
PACKAGES = ("tests", "benchmarks", "examples")
# Checked as the top-level modules that they are.
LOOSE = ("scripts", "docs")


def main() -> int:
    spec = importlib.util.find_spec("schedcore")
    if spec is None or spec.origin is None:
        print(
            "check_types: schedcore is not installed here; run `python scripts/test.py types`",
            file=sys.stderr,
        )
        return 2
    installed = Path(spec.origin).parent
    if installed == ROOT / "schedcore":
        print(
            "check_types: this would check the source tree, where schedcore.adapters does not exist; "
            "run `python scripts/test.py types`, which installs the wheel first",
            file=sys.stderr,
        )
        return 2
    mypy = [sys.executable, "-P", "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    mypy += ["--cache-dir", str(ROOT / ".mypy_cache" / "wheel")]
    with tempfile.TemporaryDirectory(prefix="types-") as scratch:
        present = []
        for name in (*PACKAGES, *LOOSE):
            if any((ROOT / name).rglob("*.py")):
                ignore = shutil.ignore_patterns("__pycache__", "_build", "*.sqlite*")
                shutil.copytree(ROOT / name, Path(scratch, name), ignore=ignore)
                present.append(name)
        packages = [arg for name in ("schedcore", *PACKAGES) if name in ("schedcore", *present) for arg in ("-p", name)]
        checks = [(packages, Path(scratch))]
        checks += [(["."], Path(scratch, name)) for name in LOOSE if name in present]
        codes = []
        for arguments, folder in checks:
            done = subprocess.run([*mypy, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
            codes.append(done.returncode)
            # Named as in the source tree, where they are mended.
            report = done.stdout.replace(str(installed / "adapters"), "adapters")
            print(report.replace(str(installed), "schedcore"), end="", flush=True)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
