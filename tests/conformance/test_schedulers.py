"""Every scheduler of ours, held to the one conformance suite. How another is added: ``_runtimes.py`` beside this."""

from __future__ import annotations

from typing import Any

from schedcore.testing.scheduler_suite import check_scheduler


def test_conformance(scheduler_case: tuple[Any, str]) -> None:
    case, name = scheduler_case
    assert case.host(lambda: check_scheduler(case.runtime, case.traits, only=name)) == [name]
