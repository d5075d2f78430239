"""The conformance suite of job stores.

``check_store(make)`` runs every behaviour of the contract (``schedcore.jobstores.base``) against a store of any kind, without
pytest:

    check_store(lambda folder: SQLAlchemyJobStore(f"sqlite:///{folder}/jobs.sqlite"), SQLAlchemyJobStore.traits)

``make(folder)`` gives a new store that was not started; with the same folder it is to find what an earlier one kept there.
What a store cannot have follows from its traits or is declared (``lacks``), and ``store_behaviours(…)`` lists each behaviour with
the reason why it is left out, or None, so that a test run can show it. A *crash* is a store that is closed in the middle of
things: closing writes nothing.

The behaviours are in ``_store_jobs``, ``_store_runs``, ``_store_crashes``, ``_store_set_aside`` and ``_store_threads``; what
they share is in ``_store_bench``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from schedcore.errors import did_you_mean
from schedcore.jobstores.base import StoreTraits
from schedcore.testing._store_bench import Behaviour, Bench, Make, behaviours

# Each registers its behaviours. What others build on comes first: of a store that lacks it, it is the one to be named.
# isort: off
from schedcore.testing import _store_jobs, _store_runs, _store_crashes, _store_set_aside, _store_threads  # noqa: F401

# isort: on

__all__ = ["check_store", "store_behaviours", "work"]

_REASONS = {
    "jobs": "its jobs do not outlive it",
    "runs": "its runs do not outlive it",
    "journal": "it has no journal",
}


def work(*args: Any, **kwargs: Any) -> Any:
    """The function of the suite's jobs. It is never called."""


def store_behaviours(
    traits: StoreTraits, *, keeps_jobs: bool | None = None, lacks: Mapping[str, str] | None = None
) -> list[tuple[str, str | None]]:
    """The behaviours, each with the reason why a store with these traits is not held to it, or None.

    ``keeps_jobs``: whether jobs outlive a store whose runs do not (``traits.durable`` speaks of both). ``lacks``: what this store
    cannot have besides, name of the behaviour to reason.
    """
    known = [behaviour.name for behaviour in behaviours]
    lacks = {} if lacks is None else lacks
    for name in lacks:
        if name not in known:
            raise ValueError(f"there is no behaviour {name!r}{did_you_mean(name, known)}")
    has = {
        "runs": traits.durable,
        "journal": traits.journals,
        "jobs": traits.durable if keeps_jobs is None else keeps_jobs,
    }

    def left_out(behaviour: Behaviour) -> str | None:
        if behaviour.name in lacks:
            return lacks[behaviour.name]
        return next((_REASONS[need] for need in behaviour.needs if not has[need]), None)

    return [(behaviour.name, left_out(behaviour)) for behaviour in behaviours]


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
    wanted = dict(store_behaviours(traits, keeps_jobs=keeps_jobs, lacks=lacks))
    if only is not None and only not in wanted:
        raise ValueError(f"there is no behaviour {only!r}{did_you_mean(only, wanted)}")
    checked: list[str] = []
    for behaviour in behaviours:
        if only not in (None, behaviour.name) or wanted[behaviour.name] is not None:
            continue
        with tempfile.TemporaryDirectory(prefix="schedcore-check-") as folder:
            bench = Bench(make, folder)
            try:
                behaviour.check(bench)
            except AssertionError as error:
                raise AssertionError(f"a job store {behaviour.name}: {error}") from error
            finally:
                bench.close()
        checked.append(behaviour.name)
    return checked
