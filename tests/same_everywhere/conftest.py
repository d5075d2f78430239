"""The frameworks are those of the conformance suites."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

# By its path: the folders of the tests are no packages.
_spec = spec_from_file_location("conformance_runtimes", Path(__file__).parents[1] / "conformance" / "_runtimes.py")
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
    _runtimes.parametrize(metafunc, "case", [(case.name, None, case) for case in cases])
    _runtimes.parametrize(metafunc, "loop_case", [(case.name, None, case) for case in cases if case.traits.on_loop])
