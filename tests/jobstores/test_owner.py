"""Who has a job store open, where a server keeps that: whose process is taken to be gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schedcore.jobstores._owner import TAKING_TURNS, Owner, is_gone


def name(**changes: Any) -> str:
    return json.dumps({**json.loads(Owner().text), **changes})


def test_the_page_that_says_how_processes_take_turns() -> None:
    found = re.fullmatch(r'.*: see "(.+)" in the documentation \((.+)\)', TAKING_TURNS)
    assert found
    page = Path(__file__).parents[2].joinpath(found[2]).read_text(encoding="utf-8")
    assert page.startswith(f"# {found[1]}\n")


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_a_process_of_this_machine(dead: int) -> None:
    assert is_gone(name(pid=dead))
    assert not is_gone(name(pid=os.getppid()))
    assert not is_gone(name())


@pytest.mark.parametrize(
    "changes", [{"host": "elsewhere"}, {"counted": ["another boot", "pid:[1]"]}, {"counted": None}]
)
def test_a_process_of_another_machine_or_container(dead: int, changes: dict[str, Any]) -> None:
    """Its number is another process's here, or nobody's, whatever it calls its machine."""
    assert not is_gone(name(pid=dead, **changes))


@pytest.mark.parametrize(
    "changes", [{"pid": 0}, {"pid": -1}, {"pid": 10**30}, {"pid": "1"}, {"pid": None}, {"pid": True}]
)
def test_a_number_that_is_none(changes: dict[str, Any]) -> None:
    assert not is_gone(name(**changes))
