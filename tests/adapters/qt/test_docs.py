"""The blocks of code in the page about Qt run, each as a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from qtpy import API_NAME

PAGE = Path(__file__).resolve().parents[3] / "docs" / "qt.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int) -> None:
    binding = API_NAME.partition(" ")[0]
    program = BLOCKS[number].replace("PyQt5", binding)
    if binding == "PyQt6":
        program = program.replace("exec_()", "exec()")
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stderr) == (0, "")
