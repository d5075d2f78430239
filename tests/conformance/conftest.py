"""One test for each behaviour on each framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schedcore.testing.scheduler_suite import scheduler_behaviours
from schedcore.testing.wakeup_suite import wakeup_behaviours
from tests.conformance import _runtimes


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
