"""Every wakeup of ours, held to the one conformance suite. How another is added: ``_runtimes.py`` beside this."""

from __future__ import annotations

from typing import Any

from schedcore.testing.wakeup_suite import check_wakeup


def test_conformance(wakeup_case: tuple[Any, str]) -> None:
    case, name = wakeup_case
    assert case.host(lambda: check_wakeup(case.wakeup, case.wakeup_traits, only=name)) == [name]
