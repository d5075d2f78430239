"""The frameworks are those of the conformance suites."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

# By its path: the folders of the tests are no packages.
_spec = spec_from_file_location("conformance_runtimes", Path(__file__).parents[1] / "conformance" / "_runtimes.py")
assert _spec is not None
assert _spec.loader is not None
_runtimes = module_from_spec(_spec)
_spec.loader.exec_module(_runtimes)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    _runtimes.parametrize(metafunc, "case", [(case.name, None, case) for case in _runtimes.cases()])
