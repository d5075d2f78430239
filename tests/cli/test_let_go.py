"""A reader that goes away: the program ends as it would have, with its own exit code."""

from __future__ import annotations

import subprocess
import sys


def test_what_was_still_to_be_written_goes_nowhere() -> None:
    program = (
        "import sys\n"
        "from datetime import UTC\n"
        "from schedcore.cli.lines import LineWriter\n"
        "writer = LineWriter(sys.stdout, 0, lambda: UTC)\n"
        "sys.stdin.readline()\n"
        "for number in range(100):\n"
        "    writer.write(20, 'a line that nobody reads')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.write(b"go on\n")
    process.stdin.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (0, b"")
