"""The Tornado application and the FastAPI service of the examples, used from outside while their jobs run."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

pytestmark = pytest.mark.slow


def row(page: str, job_id: str) -> list[str]:
    """The cells of a job's row, without the forms; [] if it has none."""
    found = re.search(rf'<tr id="job-{re.escape(job_id)}">(.*?)</tr>', page, re.DOTALL)
    if found is None:
        return []
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td>(.*?)</td>", found[1], re.DOTALL)][:5]


def token(page: str) -> str:
    found = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_tornado_application_lists_and_edits_its_jobs(programs: Any, browse: Any, tmp_path: Path) -> None:
    for module in ("tornado", "sqlalchemy"):
        pytest.importorskip(module, reason="the example needs tornado and sqlalchemy")
    command = ("app.py", "--port=0", f"--database={tmp_path / 'jobs.sqlite'}")
    program = programs.start("tornado", *command)
    browser = browse(program.wait_for(r"listening on (http://127.0.0.1:\d+)")[0])

    page = browser.ask()
    assert row(page, "tick")[:3] == ["tick", "work:tick", "interval[0:00:01]"]
    xsrf = token(page)
    page = browser.ask("/", _xsrf=xsrf, name="daily report", function="report", seconds="1")
    assert row(page, "daily report")[1] == "work:report"
    deadline = time.monotonic() + 60
    while row(page, "daily report")[4] != "succeeded":
        assert time.monotonic() < deadline
        page = browser.ask()
    page = browser.ask("/pause/daily%20report", _xsrf=xsrf)
    assert row(page, "daily report")[3] == "paused"
    page = browser.ask("/resume/daily%20report", _xsrf=xsrf)
    assert row(page, "daily report")[3] != "paused"
    page = browser.ask("/reschedule/tick", _xsrf=xsrf, seconds="3600")
    assert row(page, "tick")[2] == "interval[1:00:00]"
    page = browser.ask("/remove/daily%20report", _xsrf=xsrf)
    assert row(page, "daily report") == []
    for path, fields, status, text in (
        ("/pause/nothing", {}, 404, "There is no such job"),
        ("/reschedule/tick", {"seconds": "-1"}, 400, "seconds"),
        ("/reschedule/tick", {"seconds": "soon"}, 400, "Seconds are a number"),
        ("/", {"name": "tick", "function": "tick", "seconds": "5"}, 400, "tick"),
    ):
        with pytest.raises(HTTPError) as refused:
            browser.ask(path, _xsrf=xsrf, **fields)
        assert refused.value.code == status
        assert text in refused.value.read().decode()
        refused.value.close()
    program.stop()

    # What was changed is still so after a restart, which complains of nothing.
    program = programs.start("tornado", *command)
    browser = browse(program.wait_for(r"listening on (http://127.0.0.1:\d+)")[0])
    assert row(browser.ask(), "tick")[2] == "interval[1:00:00]"
    said = program.stop()
    assert "stopped" in said
    # Tornado's mark of an error in the log.
    assert "[E " not in said


def test_a_fastapi_service_runs_its_jobs_while_it_lives(programs: Any, browse: Any) -> None:
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason="the example needs fastapi and uvicorn")
    program = programs.start("fastapi", "-m", "uvicorn", "app:app", "--port", "0")
    browser = browse(program.wait_for(r"running on (http://127.0.0.1:\d+)")[0])

    def lateness() -> dict[str, float]:
        answer: dict[str, float] = json.loads(browser.ask("/lateness"))
        return answer

    deadline = time.monotonic() + 60
    while lateness()["times"] < 2:
        assert time.monotonic() < deadline
    assert json.loads(browser.ask("/jobs"))[0]["id"] == "measure"
    assert json.loads(browser.ask("/jobs/measure/pause", "POST"))["next_run_time"] is None
    assert json.loads(browser.ask("/jobs/measure/resume", "POST"))["next_run_time"] is not None
    assert json.loads(browser.ask("/jobs/measure/interval?seconds=60", "PUT"))["trigger"] == "interval[0:01:00]"
    for path, method, status in (
        ("/jobs/none/pause", "POST", 404),
        ("/jobs/none/interval?seconds=60", "PUT", 404),
        ("/jobs/measure/interval?seconds=-1", "PUT", 422),
    ):
        with pytest.raises(HTTPError) as refused:
            browser.ask(path, method)
        assert refused.value.code == status
        refused.value.close()
    assert "Application shutdown complete" in program.stop()
