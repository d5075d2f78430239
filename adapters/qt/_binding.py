"""Which of the Qt bindings this program uses: the one that it has imported. Imported before ``qtpy`` is.

PyQt5 is the reference, PyQt6 and PySide6 are tested likewise; all of them are reached by way of ``qtpy``. In order: the one
binding that is imported already; where there are several, the one that the environment variable ``QT_API`` names (``pyqt5``,
``pyqt6``, ``pyside6``); where none is, the same, or the first that ``qtpy`` finds installed.
"""

from __future__ import annotations

import os
import sys

from schedcore.errors import MissingExtraError

__all__ = ["choose", "imported_bindings"]

_BINDINGS = ("PyQt5", "PyQt6", "PySide6", "PySide2")


def imported_bindings() -> list[str]:
    """The bindings that this program has imported."""
    return [name for name in _BINDINGS if f"{name}.QtCore" in sys.modules]


def choose() -> None:
    """Have ``qtpy`` take the binding of this program. Raises ``ImportError`` where that is not clear, ``MissingExtraError``
    (an ``ImportError``) where there is none.
    """
    if "qtpy.QtCore" not in sys.modules:
        imported = imported_bindings()
        wanted = os.environ.get("QT_API", "").lower()
        if len(imported) == 1:
            os.environ["QT_API"] = imported[0].lower()
        elif imported and wanted not in [name.lower() for name in imported]:
            both = " and ".join(imported)
            says = f"QT_API={wanted} names neither" if wanted else "QT_API is not set"
            raise ImportError(
                f"this program has imported {both}, and {says}; say which of them the application is made with, before "
                f"schedcore.adapters.qt is imported: os.environ['QT_API'] = {imported[0].lower()!r}"
            )
    try:
        import qtpy.QtCore  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("schedcore.adapters.qt (qtpy, and PyQt5, PyQt6 or PySide6)", "qt") from error
