"""The example: a server that is asked 500 times while hundreds of jobs run, and stopped while they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "gevent" / "server.py"
# Straight to this machine, whatever the environment says of proxies.
_open = build_opener(ProxyHandler({})).open


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", str(EXAMPLE), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=150)


def get(url: str) -> str:
    with _open(url, timeout=150) as answer:
        text: str = answer.read().decode()
        return text


def counts(url: str) -> Any:
    return json.loads(get(f"{url}counts"))


def until_over(url: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while counts(url)["over"] < number:
        assert time.monotonic() < deadline, counts(url)
        time.sleep(0.02)


@pytest.mark.slow
def test_requests_are_served_while_hundreds_of_jobs_run(server: tuple[subprocess.Popen[str], str]) -> None:
    process, url = server
    assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=150)
    assert "look 19" in get(url)
    took_s: list[float] = []

    def ask(number: int) -> None:
        if number % 100 == 0:
            assert get(f"{url}burst?n=200") == "200 jobs are due\n"
        begun_s = time.monotonic()
        assert "<h1>Jobs</h1>" in get(url)
        took_s.append(time.monotonic() - begun_s)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(500)))
    until_over(url, 1000)
    assert len(took_s) == 500
    # The jobs of one burst alone wait for 100 s, one after the other.
    assert max(took_s) < 5, f"a request took {max(took_s):.1f} s"
    assert counts(url)["most"] >= 200

    with pytest.raises(HTTPError) as refused:
        get(f"{url}nowhere")
    refused.value.close()

    get(f"{url}burst?n=100")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=150)
    assert (out, err) == ("stopped, 0 jobs were left\n", "")
