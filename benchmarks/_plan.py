"""What there is to measure: cases, and the targets that their figures have to meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

__all__ = ["ALL_SUBJECTS", "GROUPS", "LIBRARIES", "Case", "Figures", "Target", "load"]

LIBRARIES = ("schedcore", "apscheduler")
ALL_SUBJECTS = (*LIBRARIES, "bare")

#: The files of measurements, in the order in which they are made.
GROUPS = ("jobs", "dispatch", "steady", "lateness", "idle", "imports", "sqlite", "stores", "triggers", "frameworks")

#: What one measurement gives: a number for each name. Names end in their unit, and less is better for all of them.
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One thing to measure, at one or several sizes.

    ``measure(subject, size)`` runs in a process of its own. ``repeats`` replaces the number of repeats given on the command
    line where that is smaller.

    ``on_one_processor``: where the system lets a process choose. For what is over in a moment: where another program keeps one of
    two processors busy, what has no threads often has the other one to itself.

    ``share(size)`` makes what all measurements of one size have in common, such as a server, and keeps it until the last of them
    is over; it too runs in a process of its own. The text that it gives is then the third argument of ``measure``.
    """

    name: str
    text: str  #: what is measured, for the table
    measure: Callable[..., Figures]
    sizes: tuple[int, ...]
    quick_sizes: tuple[int, ...]
    subjects: tuple[str, ...] = ALL_SUBJECTS
    repeats: int = 1
    on_one_processor: bool = False
    timeout_s: float = 120.0
    share: Callable[[int], AbstractContextManager[str]] | None = None


@dataclass(frozen=True)
class Target:
    """A figure of schedcore, and what it has to be.

    ``kind``: "faster": the figure of ``against`` divided by ours is at least ``limit``; "share": ours divided by that of
    ``against`` is at most ``limit``; "value": ours itself is at most ``limit``.
    """

    text: str
    case: str
    size: int
    figure: str
    kind: Literal["faster", "share", "value"]
    limit: float
    against: str = ""
    cpu_figure: str = ""  #: the same in CPU time, shown beside: other programs on the machine disturb it less
    quick_size: int | None = None  #: the size that stands for it in a quick run


@dataclass(frozen=True)
class Group:
    """The cases and targets of one file."""

    name: str
    cases: tuple[Case, ...]
    targets: tuple[Target, ...]
    requirements: tuple[str, ...] = ()  #: what pip has to install for it alone

    def case(self, name: str) -> Case:
        """The case with this name. Raises ``KeyError``."""
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(name)


def load(name: str) -> Group:
    """The group in the file of this name."""
    module = import_module(f"benchmarks.{name}")
    return Group(name, module.CASES, module.TARGETS, getattr(module, "REQUIREMENTS", ()))
