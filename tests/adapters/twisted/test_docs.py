"""What docs/twisted.md shows, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "twisted.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = [
    pytest.param(
        match[1], TEXT.count("\n", 0, match.start()) + 1, id=f"line {TEXT.count(chr(10), 0, match.start()) + 1}"
    )
    for match in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
]
# On one line, so that errors point to the page: the reactor of an example that runs for ever is stopped after a while. (Not
# that of one that ends by itself: on a busy machine it would find its reactor stopped.)
STOP = "from twisted.internet import reactor as _r; _r.callLater(0.5, lambda: _r._stopped or _r.stop())"


@pytest.mark.slow
@pytest.mark.parametrize(("block", "line"), BLOCKS)
def test_block_runs(block: str, line: int, tmp_path: Path) -> None:
    if "sqlalchemy" in block:
        pytest.importorskip("sqlalchemy", reason="it stores its jobs with the extra 'sqlalchemy'")
    script = tmp_path / "example.py"
    stop = "" if "VirtualReactor" in block or "reactor.stop()" in block else STOP
    script.write_text(stop + "\n" * line + block, encoding="utf-8")
    command = [sys.executable, "-P", "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{PAGE.name}:{line}\n{done.stdout}\n{done.stderr}"


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 5


SERVICE = """
import logging

from twisted.application.service import Application, Service
from twisted.internet import reactor

from schedcore.adapters.twisted import TwistedScheduler
from schedcore.events import EVENT_JOB_ERROR


class Jobs(Service):
    def startService(self):
        super().startService()
        logging.basicConfig(level="INFO")
        self.scheduler = TwistedScheduler()
        self.scheduler.add_listener(lambda event: reactor.callFromThread(reactor.stop), EVENT_JOB_ERROR)
        self.scheduler.add_job("math:sqrt", args=[-1], id="root")
        self.scheduler.start()

    def stopService(self):
        super().stopService()
        return self.scheduler.shutdown()


application = Application("jobs")
Jobs().setServiceParent(application)
"""


@pytest.mark.slow
def test_the_log_is_among_twistd_s_own_lines_where_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "jobs.tac").write_text(SERVICE, encoding="utf-8")
    program = "from twisted.scripts.twistd import run; run()"
    options = ["--nodaemon", "--pidfile=", "--logfile=jobs.log", "--python=jobs.tac"]
    command = [sys.executable, "-P", "-c", program, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (tmp_path / "jobs.log").read_text(encoding="utf-8")
    for line in ("scheduler started", "job 'root' ('sqrt') failed: ValueError", "scheduler has been shut down"):
        assert line in log
