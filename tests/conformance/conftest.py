"""One test for each behaviour on each framework."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from schedcore.testing.scheduler_suite import scheduler_behaviours
from schedcore.testing.wakeup_suite import wakeup_behaviours

# By its path: the folders of the tests are no packages.
_spec = spec_from_file_location("conformance_runtimes", Path(__file__).with_name("_runtimes.py"))
assert _spec is not None
assert _spec.loader is not None
_runtimes = module_from_spec(_spec)
_spec.loader.exec_module(_runtimes)


@pytest.fixture(scope="session")
def case_named() -> Callable[[str], Any]:
    """The framework with this name."""
    cases = {case.name: case for case in _runtimes.cases()}
    return cases.__getitem__


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = _runtimes.cases()
    _runtimes.parametrize(
        metafunc,
        "scheduler_case",
        [
            (f"{case.name}: {name}", left_out, (case, name))
            for case in cases
            for name, left_out in scheduler_behaviours(case.traits)
        ],
    )
    _runtimes.parametrize(
        metafunc,
        "wakeup_case",
        [
            (f"{case.name}: {name}", left_out, (case, name))
            for case in cases
            if case.wakeup is not None
            for name, left_out in wakeup_behaviours(case.wakeup_traits)
        ],
    )
