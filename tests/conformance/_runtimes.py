"""The frameworks that the suites are run on: one module for each in ``runtimes/``.

To add one, put a module there that defines

``NAME``            as it is to be shown in the names of the tests
``NEEDS``           the module without which it cannot be imported (its tests are skipped then), or None
``TRAITS``          the ``SchedulerTraits``
``runtime``         gives the context manager around a ``Runtime`` (``schedcore.testing.runtime``)

and, if it has a wakeup of its own,

``WAKEUP_TRAITS``   the ``WakeupTraits``
``wakeup``          gives the context manager around a ``WakeupBench`` (``schedcore.testing.wakeup_suite``)

The runtime of one that runs a loop has a method more, for ``tests/same_everywhere/neighbour``:

``call_later``      ``call_later(delay_s, callback)``, called on the loop, has the framework's own timer call back

and, if the framework wants the main thread for itself,

``host``            ``host(call)`` makes a call in another thread while the framework's loop runs in this one, and returns
                    what it returns, or raises what it raises. ``runtime`` and ``wakeup`` are used inside of it

and nothing else: ``test_wakeups``, ``test_schedulers`` and ``tests/same_everywhere`` find it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from schedcore.testing.runtime import Runtime, SchedulerTraits
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

FOLDER = Path(__file__).with_name("runtimes")


class Case(NamedTuple):
    """One framework to run on."""

    name: str
    runtime: Callable[[], AbstractContextManager[Runtime]]
    traits: SchedulerTraits
    wakeup: Callable[[], AbstractContextManager[WakeupBench]] | None
    wakeup_traits: WakeupTraits
    host: Callable[[Callable[[], Any]], Any]


def _here(call: Callable[[], Any]) -> Any:
    return call()


def _load(path: Path) -> ModuleType:
    name = f"conformance_runtime_{path.stem}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def cases() -> list[Case]:
    """All whose framework is installed."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        # What it needs is read, not asked: without it the module cannot be imported.
        needs = next((line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("NEEDS")), "")
        wanted = needs.partition("=")[2].strip().strip("\"'")
        if wanted not in ("", "None") and find_spec(wanted) is None:
            continue
        module = _load(path)
        found.append(
            Case(
                module.NAME,
                module.runtime,
                module.TRAITS,
                getattr(module, "wakeup", None),
                getattr(module, "WAKEUP_TRAITS", WakeupTraits()),
                getattr(module, "host", _here),
            )
        )
    return found


def parametrize(metafunc: pytest.Metafunc, argument: str, rows: list[tuple[str, str | None, Any]]) -> None:
    """One test for each row: (its name, why it is skipped or None, the argument's value)."""
    if argument in metafunc.fixturenames:
        metafunc.parametrize(
            argument,
            [
                pytest.param(value, id=name, marks=[] if left_out is None else [pytest.mark.skip(reason=left_out)])
                for name, left_out, value in rows
            ],
        )
