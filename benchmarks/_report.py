"""From single measurements to medians, ratios and verdicts. Nothing here measures anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks._plan import LIBRARIES, Group, Target

__all__ = ["Sample", "Verdict", "figure_table", "judge", "medians", "table", "verdict_table"]


@dataclass(frozen=True)
class Sample:
    """What one process measured: its figures, or why there are none."""

    group: str
    case: str
    size: int
    subject: str
    repeat: int
    figures: dict[str, float]
    missing: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured: medians. ``ratio`` and ``met`` are None where a subject is missing.

    ``cpu_ratio`` is the same ratio by CPU time, where the target names a figure for it.
    """

    target: Target
    ours: float | None
    other: float | None
    ratio: float | None
    cpu_ratio: float | None
    met: bool | None


#: (group, case, size, subject, figure)
Key = tuple[str, str, int, str, str]


def medians(samples: Iterable[Sample]) -> dict[Key, float]:
    """The median of each figure over the repeats, in the order in which they were first seen."""
    values: dict[Key, list[float]] = {}
    for sample in samples:
        for figure, value in sample.figures.items():
            values.setdefault((sample.group, sample.case, sample.size, sample.subject, figure), []).append(value)
    return {key: median(found) for key, found in values.items()}


def judge(group: Group, samples: Sequence[Sample], quick: bool = False) -> list[Verdict]:
    """What became of the targets of a group."""
    middle = medians(samples)
    verdicts = []
    for target in group.targets:
        size = target.quick_size if quick and target.quick_size is not None else target.size
        place = (group.name, target.case, size)
        ours = middle.get((*place, "schedcore", target.figure))
        other = middle.get((*place, target.against, target.figure))
        measured = [sample for sample in samples if (sample.group, sample.case, sample.size) == place]
        ratio = _ratio(target, measured, target.figure)
        met: bool | None = None
        if target.kind == "value":
            met = None if ours is None else ours <= target.limit
        elif ratio is not None:
            met = ratio >= target.limit if target.kind == "faster" else ratio <= target.limit
        cpu_ratio = _ratio(target, measured, target.cpu_figure)
        verdicts.append(Verdict(target, ours, other, ratio, cpu_ratio, met))
    return verdicts


def _ratio(target: Target, measured: Sequence[Sample], figure: str) -> float | None:
    """The median of the ratios of which the target speaks; None where there are none.

    Each is one of two measurements that follow each other. Machines become faster and slower for seconds.
    """
    ours, other = (
        {
            sample.repeat: sample.figures[figure]
            for sample in measured
            if sample.subject == subject and figure in sample.figures
        }
        for subject in ("schedcore", target.against)
    )
    ratios = [_ratio_of(target, ours[turn], other[turn]) for turn in ours if turn in other]
    return median(ratios) if ratios else None


def _ratio_of(target: Target, ours: float, other: float) -> float:
    above, below = (other, ours) if target.kind == "faster" else (ours, other)
    if below:
        return above / below
    return float("inf") if above else 1.0


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """The targets, one to a line: what was measured, the ratio, what it has to be, and whether it is."""
    rows = [("target", "schedcore", "against", "", "ratio", "by CPU", "to be", "")]
    for verdict in verdicts:
        target = verdict.target
        sign = "≥" if target.kind == "faster" else "≤"
        rows.append(
            (
                f"{target.text} [{target.figure}]",
                _number(verdict.ours),
                target.against,
                _number(verdict.other) if target.against else "",
                "" if verdict.ratio is None else f"{verdict.ratio:.2f}",
                "" if verdict.cpu_ratio is None else f"{verdict.cpu_ratio:.2f}",
                f"{sign} {target.limit:g}",
                {True: "met", False: "NOT MET", None: "not measured"}[verdict.met],
            )
        )
    return table(rows, right=(1, 3, 4, 5, 6))


def figure_table(middle: dict[Key, float]) -> str:
    """All medians, one line for each figure, one column for each subject."""
    subjects = sorted(dict.fromkeys(key[3] for key in middle), key=lambda subject: subject not in LIBRARIES)
    lines: dict[tuple[str, str, int, str], dict[str, float]] = {}
    for (group, case, size, subject, figure), value in middle.items():
        lines.setdefault((group, case, size, figure), {})[subject] = value
    rows = [("measured", "size", "figure", *subjects)]
    for (group, case, size, figure), values in lines.items():
        name = group if group == case else f"{group} {case}"
        rows.append((name, f"{size:,}", figure, *(_number(values.get(subject)) for subject in subjects)))
    return table(rows, right=(1, *range(3, 3 + len(subjects))))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lines of aligned columns, with a rule under the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
