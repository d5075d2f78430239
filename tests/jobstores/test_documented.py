"""What the page on job stores shows, works: its blocks of code, the constructors in its table, and its URLs."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from schedcore import config, plugins
from schedcore.errors import MissingExtraError
from schedcore.jobstores.base import JobStore
from schedcore.testing import EventLog, VirtualScheduler

PAGE = Path(__file__).resolve().parents[2] / "docs" / "job-stores.md"
TEXT = PAGE.read_text(encoding="utf-8")
OWN = TEXT.index("## A job store of your own")
BLOCKS = [
    pytest.param(match[1], id=f"line {TEXT.count(chr(10), 0, match.start()) + 1}")
    for match in re.finditer(r"^```python\n(.*?)^```$", TEXT[:OWN], re.MULTILINE | re.DOTALL)
]
CALLS = re.findall(r"^\| `([\w.]+)\.(\w+)\((.*?)\)` \|", TEXT, re.MULTILINE)
URLS = re.findall(r"[\w+]+://\S+", TEXT[TEXT.index("### URLs") : TEXT.index("### Redis")])


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_code_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(compile(block, str(PAGE), "exec"), names)
    except MissingExtraError as error:
        pytest.skip(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("schedcore"):
            raise
        pytest.skip(f"needs the driver {error.name}")
    assert isinstance(names["store"], JobStore)


@pytest.mark.parametrize(("module", "name", "arguments"), CALLS, ids=[name for _, name, _ in CALLS])
def test_constructors_take_what_the_table_says(module: str, name: str, arguments: str) -> None:
    try:
        cls = getattr(importlib.import_module(module), name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    taken = inspect.signature(cls).parameters
    said = [argument.strip().partition("=") for argument in arguments.split(",")]
    assert [name.strip("*") for name, _, _ in said] == [
        parameter
        for parameter in taken
        if taken[parameter].kind is inspect.Parameter.VAR_KEYWORD or parameter in {name for name, _, _ in said}
    ]
    for parameter, _, default in said:
        if default not in ("", "…"):
            assert repr(taken[parameter].default) == default.replace('"', "'")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_store_of_ones_own_is_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block holds the first one's store to the contract, and raises if something is missing."""
    monkeypatch.chdir(tmp_path)
    store, check = re.findall(r"^```python\n(.*?)^```$", TEXT[OWN:], re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(store, str(PAGE), "exec"), names)
    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": names["store"]})
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.add_job(dict, "interval", hours=1, id="a")
    scheduler.advance(3 * 3600)
    assert len(log.executed("a")) == 3
    scheduler.shutdown()
    exec(compile(check, str(PAGE), "exec"), names)


def test_there_is_a_table_and_blocks() -> None:
    # Or they are misspelt, and nothing of the above was run.
    assert len(BLOCKS) == 7
    assert len(CALLS) == 5
    assert len(URLS) == 8


@pytest.mark.parametrize("url", URLS)
def test_urls_lead_to_stores(url: str) -> None:
    stores = pytest.importorskip("schedcore.cli.stores", reason="the command needs the extra 'cli'")
    place = stores.of_option(url)
    try:
        store = config.build(config.component(place.options, "jobstore"), plugins.JOBSTORES)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert isinstance(store, JobStore)
