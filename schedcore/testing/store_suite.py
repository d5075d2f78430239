"""The conformance suite of job stores.

``check_store(make)`` runs every behaviour of the contract (``schedcore.jobstores.base``) against a store of any kind, without
pytest:

    check_store(lambda folder: SQLAlchemyJobStore(f"sqlite:///{folder}/jobs.sqlite"), SQLAlchemyJobStore.traits)

``make(folder)`` gives a new store that was not started; with the same folder it is to find what an earlier one kept there. A
store of the 3.x kind (ten methods) is held to what ``schedcore.jobstores.simple.SimpleStore`` makes of it, whose ``traits`` these
are.
What a store cannot have follows from its traits or is declared (``lacks``), and ``store_behaviours(…)`` lists each behaviour with
the reason why it is left out, or None, so that a test run can show it. A *crash* is a store that is closed in the middle of
things: closing writes nothing.

The behaviours are in ``_store_jobs``, ``_store_runs``, ``_store_crashes``, ``_store_set_aside`` and ``_store_threads``; what
they share is in ``_store_bench``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedcore.jobstores.base import StoreTraits
from schedcore.testing._store_bench import Held, Make, bench_for, suite

# Each registers its behaviours. What others build on comes first: of a store that lacks it, it is the one to be named.
# isort: off
from schedcore.testing import _store_jobs, _store_runs, _store_crashes, _store_set_aside, _store_threads  # noqa: F401

# isort: on

__all__ = ["check_store", "store_behaviours", "work"]


def work(*args: Any, **kwargs: Any) -> Any:
    """The function of the suite's jobs. It is never called."""


def store_behaviours(
    traits: StoreTraits, *, keeps_jobs: bool | None = None, lacks: Mapping[str, str] | None = None
) -> list[tuple[str, str | None]]:
    """The behaviours, each with the reason why a store with these traits is not held to it, or None.

    ``keeps_jobs``: whether jobs outlive a store whose runs do not (``traits.durable`` speaks of both). ``lacks``: what this store
    cannot have besides, name of the behaviour to reason.
    """
    return suite.wanted(_held(traits, keeps_jobs, lacks))


def _held(traits: StoreTraits, keeps_jobs: bool | None, lacks: Mapping[str, str] | None) -> Held:
    return Held(traits, traits.durable if keeps_jobs is None else keeps_jobs, {} if lacks is None else lacks)


def check_store(
    make: Make,
    traits: StoreTraits,
    *,
    keeps_jobs: bool | None = None,
    lacks: Mapping[str, str] | None = None,
    only: str | None = None,
) -> list[str]:
    """Hold a store to its contract. Returns the names of the behaviours checked; ``AssertionError`` names what is missing.

    ``only`` names a single behaviour; for the rest see ``store_behaviours``.
    """
    return suite.check(_held(traits, keeps_jobs, lacks), only, lambda: bench_for(make))
