"""What the page for asyncio's users shows, works."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.schedulers.base import STATE_STOPPED

PAGE = Path(__file__).resolve().parents[3] / "docs" / "asyncio.md"
PROGRAM, *PARTS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shown() -> dict[str, Any]:
    """The functions that the page shows, by name."""
    names: dict[str, Any] = {}
    for part in PARTS:
        exec(compile(part, str(PAGE), "exec"), names)
    return names


@pytest.mark.slow
def test_the_program_runs(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-P", "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) == {"polling"}


def test_the_parts_run(shown: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        app = SimpleNamespace(state=SimpleNamespace())
        async with shown["lifespan"](app):
            scheduler = app.state.scheduler
            scheduler.add_job(int, "interval", hours=1, id="int")
            assert [job.id for job in await shown["list_jobs"](scheduler)] == ["int"]
        assert scheduler.state == STATE_STOPPED
        scheduler = AsyncIOScheduler()
        scheduler.start()
        await shown["stop"](scheduler)
        scheduler.start()
        assert await asyncio.to_thread(shown["stop_and_wait"], scheduler) == []
        assert scheduler.state == STATE_STOPPED

    asyncio.run(main())
    assert capsys.readouterr().out == ""
