"""The frameworks' parts of ``python -m benchmarks frameworks``: a module for each, alike.

A part says how its framework is driven (``Framework``) and what it has to reach (``targets``)::

    REQUIREMENTS = ("tornado==6.6.1",)
    TARGETS = targets("tornado", against_apscheduler=3, of_bare=0.65)

    class TornadoFramework(Framework): …

    def make() -> Framework: …

A part imports its framework inside ``make`` and the methods, because its targets are also read where that is not installed.
``benchmarks.frameworks`` takes up every part whose name is in ``PARTS``. The measurements are written once, in ``_measure``, in
callbacks, because that is what all the frameworks have in common.
"""

from __future__ import annotations

from benchmarks._frameworks._measure import Framework, targets

__all__ = ["PARTS", "Framework", "targets"]

#: The modules beside this one, in the order in which they are measured.
PARTS = ("tornado", "twisted", "gevent", "qt")
