"""What an import brings in, judged by ``sys.modules`` and not by time: names do not depend on how busy the machine is.

Importing the background scheduler is what most programs pay for, in start-up time and memory. The modules below are what
it must not make them pay for; each is either needed by a part that loads on first use, or has a cheaper neighbour.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = [
    "asyncio",
    "gevent",
    "greenlet",
    "PyQt5",
    "PyQt6",
    "PySide2",
    "PySide6",
    "qtpy",
    "tornado",
    "twisted",
    "zope",
]
OPTIONAL = [
    "dateutil",
    "google.protobuf",
    "h2",
    "holidays",
    "hpack",
    "kazoo",
    "msgspec",
    "psycopg",
    "pymongo",
    "pymysql",
    "redis",
    "rethinkdb",
    "rich",
    "sqlalchemy",
    "typer",
]
HEAVY = [
    "concurrent.futures",
    "ctypes",
    "dataclasses",
    "email",
    "importlib.metadata",
    "inspect",
    "json",
    "multiprocessing",
    "pickle",
    "sqlite3",
    "ssl",
    "tomllib",
    "unittest",
    "urllib.request",
]


def imported_by(statement: str) -> set[str]:
    """The modules that a statement adds to those of a bare interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before), sep='\\n')"
    # -I: neither the working directory nor PYTHONPATH may offer a second schedcore.
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def unwanted(loaded: set[str], forbidden: list[str]) -> list[str]:
    return [name for name in forbidden if any(module == name or module.startswith(f"{name}.") for module in loaded)]


def test_package_imports_no_framework_and_no_extra() -> None:
    assert unwanted(imported_by("import schedcore"), FRAMEWORKS + OPTIONAL + HEAVY) == []


def test_package_loads_its_parts_on_first_use() -> None:
    loaded = imported_by("import schedcore")
    assert not any(name.startswith(("schedcore.schedulers.", "schedcore.cli", "schedcore.adapters")) for name in loaded)


def test_background_scheduler_imports_what_it_needs() -> None:
    loaded = imported_by("import schedcore.schedulers.background")
    assert unwanted(loaded, FRAMEWORKS + OPTIONAL + HEAVY) == []


@pytest.mark.parametrize("trigger", ["base", "date", "interval", "cron"])
def test_triggers_import_no_scheduler(trigger: str) -> None:
    loaded = imported_by(f"import schedcore.triggers.{trigger}")
    assert unwanted(loaded, FRAMEWORKS + OPTIONAL + HEAVY) == []
    assert (
        unwanted(loaded, ["schedcore.schedulers", "schedcore.executors", "schedcore.jobstores", "schedcore.cli"]) == []
    )


def test_the_release_of_the_zone_data_is_read_with_the_codec_that_is_there() -> None:
    """It is read between a start on a database and its first run."""
    loaded = imported_by("from schedcore.triggers._zone_data import release; release()")
    assert "schedcore.triggers._zone_data" in loaded
    assert [name for name in loaded if name.startswith("encodings.")] == []
