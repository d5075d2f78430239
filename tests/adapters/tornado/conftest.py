"""What the Tornado tests share."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_loop_is_made_by_the_way() -> None:
    """Up to 6.2 Tornado asks for the thread's loop before it runs its own; asyncio would make one, which nobody closes."""
    asyncio.set_event_loop(None)
