"""The frameworks are those of the conformance suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance import _runtimes


@pytest.fixture(scope="session")
def case_named() -> Callable[[str], Any]:
    """The framework with this name."""
    cases = {case.name: case for case in _runtimes.cases()}
    return cases.__getitem__


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = _runtimes.cases()
    _runtimes.parametrize(metafunc, "case", [(case.name, None, case) for case in cases])
    _runtimes.parametrize(metafunc, "loop_case", [(case.name, None, case) for case in cases if case.traits.on_loop])
