"""What somebody else on a framework's loop has to wait for, as the suite measures it: see ``tests/same_everywhere/neighbour``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from benchmarks._environment import ROOT
from benchmarks._plan import Figures, Target

__all__ = ["gap", "neighbour_targets", "slip"]


def _here(call: Callable[[], Any]) -> Any:
    return call()


def _runtime(name: str) -> Any:
    """How the suites drive a framework."""
    # By its path: these modules are called like the frameworks, and their folder is no package.
    path = ROOT / "tests" / "conformance" / "runtimes" / f"{name}.py"
    spec = spec_from_file_location(f"conformance_runtime_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gap(name: str, subject: str, n: int, *, native: bool) -> Figures:
    """A ticker's longest gap while ``n`` jobs run that were due at once."""
    from tests.same_everywhere.neighbour import KINDS, gaps_in_a_burst

    runtime = _runtime(name)
    host = getattr(runtime, "host", _here)
    kind = KINDS[-1] if native else KINDS[0]
    gaps = host(partial(gaps_in_a_burst, runtime.runtime, runtime.TRAITS, kind, n))
    return {
        "gap_ms": max(gap.length_s for gap in gaps) * 1e3,
        "own_gap_ms": max(gap.ours_s for gap in gaps) * 1e3,
    }


def slip(name: str, subject: str, store_ms: int) -> Figures:
    """By how much a ticker is late beyond its own noise."""
    from tests.same_everywhere.neighbour import slip_beside_a_slow_store

    runtime, bare = _runtime(name), _runtime("asyncio")
    host = getattr(runtime, "host", _here)
    measure = partial(slip_beside_a_slow_store, runtime.runtime, runtime.TRAITS, bare.runtime, store_ms / 1e3)
    return {"slip_ms": host(measure) * 1e3}


def neighbour_targets(name: str) -> tuple[Target, ...]:
    """What a scheduler on a framework's loop may keep others from."""
    burst_text, store_text = f"burst of 50,000, {name}", f"a store of 500 ms, {name}"
    return (
        Target(f"{burst_text}, its own kind: longest gap", f"{name}-gap-native", 50_000, "gap_ms", "value", 50),
        Target(f"{burst_text}, functions: longest gap", f"{name}-gap-plain", 50_000, "gap_ms", "value", 50),
        Target(f"{store_text}: a ticker slips by", f"{name}-slip", 500, "slip_ms", "value", 20),
    )
