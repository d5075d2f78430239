"""The measurements at tiny sizes, in this process, and the arithmetic of the report. What they measure is not judged here."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

# Behind everything else: what is tested is the schedcore that is installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks import _report, dispatch, jobs, sqlite, triggers
from benchmarks._frameworks import PARTS
from benchmarks._meters import percentile
from benchmarks._plan import GROUPS, Group, Target, load
from benchmarks._report import Sample
from benchmarks._schedules import KINDS


def sample(subject: str, value: float, repeat: int = 0, figure: str = "run_us") -> Sample:
    return Sample("group", "case", 10, subject, repeat, {figure: value})


def verdict(target: Target, *samples: Sample) -> _report.Verdict:
    return _report.judge(Group("group", (), (target,)), samples)[0]


FASTER = Target("it", "case", 10, "run_us", "faster", 4, "apscheduler")
SHARE = Target("it", "case", 10, "run_us", "share", 0.8, "apscheduler")
VALUE = Target("it", "case", 10, "run_us", "value", 50)


def test_median_of_each_figure() -> None:
    found = _report.medians(sample("bare", value, i) for i, value in enumerate((9.0, 1.0, 2.0)))
    assert found == {("group", "case", 10, "bare", "run_us"): 2.0}


@pytest.mark.parametrize(
    ("target", "ours", "other", "ratio", "met"),
    [
        (FASTER, 2.0, 8.0, 4.0, True),
        (FASTER, 2.1, 8.0, 8.0 / 2.1, False),
        (SHARE, 8.0, 10.0, 0.8, True),
        (SHARE, 9.0, 10.0, 0.9, False),
        (VALUE, 50.0, 1.0, None, True),
        (VALUE, 51.0, 1.0, None, False),
        (FASTER, 0.0, 8.0, math.inf, True),
    ],
)
def test_verdict(target: Target, ours: float, other: float, ratio: float | None, met: bool) -> None:
    found = verdict(target, sample("schedcore", ours), sample("apscheduler", other))
    assert (found.ratio, found.met) == (ratio, met)


def test_verdict_on_a_machine_that_becomes_slower() -> None:
    """Each measurement is compared with the one beside it."""
    samples = [
        sample(subject, value * slow, turn)
        for turn, slow in enumerate((1, 2, 2, 1, 1))
        for subject, value in (("schedcore", 2.0), ("apscheduler", 8.0 if turn != 1 else 5.0))
    ]
    found = verdict(FASTER, *samples, sample("schedcore", 1.0, 5))
    assert (found.ours, found.other, found.ratio, found.met) == (2.0, 8.0, 4.0, True)


def test_verdict_without_a_subject() -> None:
    assert verdict(FASTER, sample("schedcore", 1.0)).met is None
    assert verdict(VALUE, sample("apscheduler", 1.0)).met is None
    assert "not measured" in _report.verdict_table([verdict(FASTER)])


def test_tables_line_up() -> None:
    samples = [sample("schedcore", 2.0), sample("apscheduler", 12_345.0), sample("bare", 0.0)]
    lines = _report.figure_table(_report.medians(samples)).split("\n")
    assert lines[0].split() == ["measured", "size", "figure", "schedcore", "apscheduler", "bare"]
    assert lines[2].split() == ["group", "case", "10", "run_us", "2", "12,345", "0"]
    assert lines[2].index("12,345") + len("12,345") == lines[0].index("apscheduler") + len("apscheduler")
    table = _report.verdict_table([verdict(FASTER, *samples)])
    assert table.split("\n")[2].endswith("met")


def test_percentile() -> None:
    values = [float(i) for i in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([3.0], 0.99) == 3.0
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize("name", GROUPS)
def test_targets_name_what_is_measured(name: str) -> None:
    group = load(name)
    for target in group.targets:
        case = group.case(target.case)
        assert target.size in case.sizes
        assert (target.quick_size or target.size) in case.quick_sizes
        assert not target.against or target.against in case.subjects
        assert (target.kind == "value") == (not target.against)


@pytest.mark.parametrize("subject", ["schedcore", "bare"])
@pytest.mark.parametrize("measure", [jobs.running, jobs.paused, dispatch.threads])
def test_tiny_measurement(measure: object, subject: str) -> None:
    assert callable(measure)
    figures = measure(subject, 100)
    assert figures
    assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("subject", ["schedcore", "bare"])
def test_tiny_burst_on_a_loop(subject: str) -> None:
    if subject == "schedcore" and importlib.util.find_spec("schedcore.adapters.asyncio") is None:
        pytest.skip("schedcore.adapters.asyncio is not installed here")
    figures = dispatch.coroutines(subject, 100)
    assert figures["run_us"] > 0
    assert figures["blocked_ms"] > 0


def in_a_framework(name: str, case: str, subject: str, size: int) -> dict[str, float]:
    """The figures of a case. In a process of its own, as it is measured: frameworks keep what they once have set up."""
    needs = {"qt": "PyQt5"}.get(name, name)
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed here")
    code = "import sys; sys.path.append({!r}); from benchmarks._child import main; sys.exit(main(sys.argv[1:]))"
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-P", "-c", code.format(root), "frameworks", f"{name}-{case}", subject, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("subject", ["schedcore", "bare"])
def test_tiny_burst_in_a_framework(name: str, subject: str) -> None:
    figures = in_a_framework(name, "burst", subject, 100)
    assert figures["run_us"] > 0
    assert figures["blocked_ms"] > 0


@pytest.mark.parametrize("name", ["asyncio", *PARTS])
def test_tiny_neighbour_in_a_framework(name: str) -> None:
    for case in ("gap-native", "gap-plain"):
        assert in_a_framework(name, case, "schedcore", 100)["gap_ms"] > 0
    assert math.isfinite(in_a_framework(name, "slip", "schedcore", 1)["slip_ms"])


def test_tiny_search() -> None:
    figures = triggers.searching("schedcore", 1)
    for kind in KINDS:
        for what in ("made", "first", *(["later"] if f"{kind}_later_worst_ms" in figures else [])):
            name = f"{kind}_{what}"
            assert figures[f"{name}_worst_ms"] >= figures[f"{name}_99_percent_ms"] >= figures[f"{name}_median_ms"] >= 0
    assert "cron_later_worst_ms" in figures
    for what in ("made", "first", "later"):
        assert figures[f"{what}_worst_ms"] == max(figures.get(f"{kind}_{what}_worst_ms", 0) for kind in KINDS)


def test_tiny_bare_database() -> None:
    assert sqlite.sqlite("bare", 100)["recorded_us"] > 0
