"""The system's libraries that Qt's widgets need, without a screen: install what is missing, as far as that is possible.

    python -m tests.services.qt_libraries PROGRAM [ARGUMENT…]

runs a program when they are there, and says so, with exit code 0, when it was left out for want of them.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

from tests.services.install import _from_debian, say

__all__ = ["missing"]

# What PyQt5, PyQt6 and PySide6 load with QtWidgets and the platform "offscreen" -> the package of Debian's that has it.
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
# Without any font a picture of a window has no text in it.
FONT = "fonts-dejavu-core"


def missing() -> list[str]:
    """The libraries that cannot be loaded."""
    found = []
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            found.append(name)
    return found


def main(program: list[str]) -> int:
    if sys.platform == "linux" and (lacking := missing()):
        _from_debian([*(LIBRARIES[name] for name in lacking), FONT])
        # Asked in a new process: this one has its libraries by now.
        ask = [sys.executable, "-c", "from tests.services.qt_libraries import missing; print(' '.join(missing()))"]
        if left := subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout.strip():
            say(f"SKIPPED, because Qt's widgets need libraries of the system's that are not here: {left}")
            return 0
    return subprocess.run(program, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
