"""What the page for gevent's users shows, works: each of its blocks is a program that ends by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "gevent.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PATCH = "from gevent import monkey; monkey.patch_all()\n"


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["", PATCH], ids=["plain", "patched"])
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(tmp_path: Path, number: int, patch: str) -> None:
    if "sqlalchemy" in BLOCKS[number]:
        pytest.importorskip("sqlalchemy", reason="the block uses the store of the extra 'sqlalchemy'")
    program = tmp_path / "program.py"
    program.write_text(patch + BLOCKS[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout, "it says nothing"


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 3
