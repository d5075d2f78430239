"""The example: started, used as a browser would, and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "twisted" / "web_server.py"
# Straight to this machine, whatever the environment says of proxies.
_open = build_opener(ProxyHandler({})).open


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-P", str(EXAMPLE), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error,ignore:'cgi' is deprecated"},
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=150)


def post(url: str, **fields: str) -> str:
    with _open(url, urlencode(fields).encode(), timeout=150) as answer:
        return unescape(answer.read().decode())


def page_with(url: str, text: str) -> str:
    """The page, as soon as it has this text."""
    deadline = time.monotonic() + 60
    while True:
        with _open(url, timeout=150) as answer:
            page = unescape(answer.read().decode())
        if text in page or time.monotonic() > deadline:
            assert text in page, page
            return page
        time.sleep(0.02)


@pytest.mark.slow
def test_jobs_are_listed_and_edited_while_they_run(server: tuple[subprocess.Popen[str], str]) -> None:
    process, url = server
    assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=150)
    page = page_with(url, "check queue")
    assert "interval[0:00:05]" in page

    for job in ("queue", "peer", "lines"):
        post(url, do="run", id=f"check {job}")
    for text in ("check queue: mail is empty", "check peer: db answers", "check lines: "):
        page_with(url, text)

    assert "<td>paused" in post(url, do="pause", id="check peer")
    assert "<td>paused" not in post(url, do="resume", id="check peer")
    assert "interval[0:02:00]" in post(url, do="change", id="check peer", seconds="120")
    assert "check lines<td>" not in post(url, do="remove", id="check lines")
    post(url, do="add", id="<b>mine", kind="queue", seconds="1")
    page_with(url, "<b>mine: mail is empty")

    for fields, text in (
        ({"do": "pause", "id": "nobody"}, "nobody"),
        ({"do": "add", "id": "check queue", "kind": "queue"}, "check queue"),
        ({"do": "dance", "id": "check queue"}, "dance"),
    ):
        with pytest.raises(HTTPError) as refused:
            post(url, **fields)
        with refused.value as answer:
            assert answer.code == 400
            assert text in answer.read().decode()

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=150)
    assert (out, err) == ("stopped\n", "")


@pytest.mark.slow
def test_on_a_port_that_is_in_use_it_says_so_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        done = subprocess.run(
            [sys.executable, "-P", str(EXAMPLE), str(used.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done.returncode == 1
    assert "Couldn't listen" in done.stderr
