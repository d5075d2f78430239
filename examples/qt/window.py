"""A window with a table of jobs that run while one looks at them.

    pip install 'schedcore[qt]'
    python examples/qt/window.py

Written for PyQt5; by way of qtpy it runs with PyQt6 and PySide6 as well.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from schedcore.events import JobExecutionEvent, JobSkippedEvent
from schedcore.job import Job

try:
    from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, QTimer
    from qtpy.QtGui import QColor
    from qtpy.QtWidgets import (
        QAbstractItemView,
        QApplication,
        QHBoxLayout,
        QHeaderView,
        QLabel,
        QListWidget,
        QMainWindow,
        QPushButton,
        QSplitter,
        QTableView,
        QVBoxLayout,
        QWidget,
    )

    from schedcore.adapters.qt import QtMainThreadExecutor, QtScheduler
except ImportError as error:
    sys.exit(f"{error}; this example needs: pip install 'schedcore[qt]'")

COLUMNS = ("Job", "Trigger", "Next run", "Last outcome")
EVENTS_SHOWN = 200
GREEN, RED, GREY = QColor("#1b7f3b"), QColor("#b3261e"), QColor("#777777")


def fetch_mail() -> str:
    time.sleep(random.uniform(0.05, 0.3))
    return f"{random.randrange(4)} new"


def back_up() -> None:
    time.sleep(0.5)
    if random.random() < 0.5:
        raise OSError("no space left on device")


class JobTable(QAbstractTableModel):
    """The scheduler's jobs, a row for each. Only ever touched in the Qt thread."""

    def __init__(self, scheduler: QtScheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._jobs: list[Job] = []
        self._outcomes: dict[str, tuple[str, QColor]] = {}
        self.reload()

    def job_at(self, row: int) -> Job | None:
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def reload(self, *_: object) -> None:
        """The jobs are others than before."""
        jobs = sorted(self._scheduler.get_jobs(), key=lambda job: job.name)
        if [job.id for job in jobs] == [job.id for job in self._jobs]:
            self._jobs = jobs
            self.refresh()
            return
        self.beginResetModel()
        self._jobs = jobs
        self.endResetModel()

    def refresh(self) -> None:
        """Their texts are others than before: a countdown, an outcome."""
        if self._jobs:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._jobs) - 1, len(COLUMNS) - 1))

    def note(self, job_id: str, text: str, colour: QColor) -> None:
        self._outcomes[job_id] = (text, colour)
        self.reload()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._jobs)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        job = self._jobs[index.row()]
        outcome, colour = self._outcomes.get(job.id, ("", GREY))
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 3:
            return colour
        if role == Qt.ItemDataRole.DisplayRole:
            return (job.name, str(job.trigger), countdown(job.next_run_time), outcome)[index.column()]
        return None


def countdown(at: datetime | None) -> str:
    if at is None:
        return "paused"
    left_s = max(0.0, (at - datetime.now(UTC)).total_seconds())
    minutes = int(left_s / 60)
    left = (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{left_s:.1f} s"
    )
    return f"{at.astimezone():%H:%M:%S}   in {left}"


class Window(QMainWindow):
    def __init__(self, scheduler: QtScheduler) -> None:
        super().__init__()
        self.scheduler = scheduler
        self._added = 0
        self.setWindowTitle("Jobs")
        self.resize(960, 520)

        self.table = JobTable(scheduler)
        self.view = QTableView()
        self.view.setModel(self.table)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.setAlternatingRowColors(True)
        self.view.setShowGrid(False)
        self.view.verticalHeader().hide()
        header = self.view.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        for column, width in enumerate((130, 260, 240)):
            self.view.setColumnWidth(column, width)

        self.events = QListWidget()
        self.clock = QLabel()
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        for text, slot in (
            ("Add", self.add),
            ("Remove", self.remove),
            ("Run now", self.run_now),
            ("Pause job", self.pause_job),
            ("Resume job", self.resume_job),
            ("Pause all", self.pause_all),
        ):
            button = self.buttons[text] = QPushButton(text)
            button.clicked.connect(slot)
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(self.clock)

        lower = QWidget()
        below = QVBoxLayout(lower)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(QLabel("Events"))
        below.addWidget(self.events)
        both = QSplitter(Qt.Orientation.Vertical)
        both.addWidget(self.view)
        both.addWidget(lower)
        both.setSizes([300, 180])
        middle = QWidget()
        layout = QVBoxLayout(middle)
        layout.addLayout(row)
        layout.addWidget(both)
        self.setCentralWidget(middle)

        # Signals arrive in the Qt thread, wherever the job ran: slots may touch widgets.
        scheduler.signals.finished.connect(self.job_finished)
        scheduler.signals.skipped.connect(self.job_skipped)
        for changed in (scheduler.signals.added, scheduler.signals.modified, scheduler.signals.removed):
            changed.connect(self.table.reload)
        self._second = QTimer(self)
        self._second.timeout.connect(self.table.refresh)
        self._second.start(100)

    def show_time(self) -> None:
        """A job of the Qt thread's: it touches a widget."""
        self.clock.setText(f"{datetime.now():%H:%M:%S}")  # noqa: DTZ005  # the time on the wall

    def say(self, text: str) -> None:
        self.events.insertItem(0, f"{datetime.now():%H:%M:%S}  {text}")  # noqa: DTZ005
        while self.events.count() > EVENTS_SHOWN:
            self.events.takeItem(self.events.count() - 1)

    # -- events --------------------------------------------------------------------------------------------------------

    def job_finished(self, event: JobExecutionEvent) -> None:
        job = self.scheduler.get_job(event.job_id)
        name = job.name if job is not None else event.job_id
        took = f" in {event.duration_s * 1e3:.0f} ms" if event.duration_s is not None else ""
        if event.exception is not None:
            self.table.note(event.job_id, f"failed{took}: {event.exception}", RED)
            self.say(f"{name} failed: {event.exception}")
        else:
            result = f": {event.retval}" if event.retval is not None else ""
            self.table.note(event.job_id, f"ok{took}{result}", GREEN)
            if name != "clock":
                self.say(f"{name} ran{took}{result}")

    def job_skipped(self, event: JobSkippedEvent) -> None:
        self.say(f"{event.count} run(s) of {event.job_id} skipped: {event.reason}")

    # -- buttons -------------------------------------------------------------------------------------------------------

    def _with_job(self, act: Callable[[Job], object]) -> None:
        job = self.table.job_at(self.view.currentIndex().row())
        if job is None:
            self.say("select a job first")
        else:
            act(job)
            self.table.reload()

    def add(self) -> None:
        self._added += 1
        job = self.scheduler.add_job(fetch_mail, "interval", seconds=3, name=f"fetch mail {self._added + 1}")
        self.say(f"{job.name} added")
        self.table.reload()

    def remove(self) -> None:
        def remove(job: Job) -> None:
            job.remove()
            self.say(f"{job.name} removed")

        self._with_job(remove)

    def run_now(self) -> None:
        self._with_job(lambda job: job.modify(next_run_time=datetime.now(UTC)))

    def pause_job(self) -> None:
        def pause(job: Job) -> None:
            job.pause()
            self.say(f"{job.name} paused")

        self._with_job(pause)

    def resume_job(self) -> None:
        def resume(job: Job) -> None:
            job.resume()
            self.say(f"{job.name} goes on")

        self._with_job(resume)

    def pause_all(self) -> None:
        button = self.buttons["Pause all"]
        if button.text() == "Pause all":
            self.scheduler.pause()
            button.setText("Resume all")
        else:
            self.scheduler.resume()
            button.setText("Pause all")


def make_window() -> Window:
    """The window, with a scheduler that runs. The ``QApplication`` has been made."""
    scheduler = QtScheduler(executors={"gui": QtMainThreadExecutor()})
    scheduler.start()
    window = Window(scheduler)
    scheduler.add_job(fetch_mail, "interval", seconds=2, name="fetch mail", next_run_time=datetime.now(UTC))
    scheduler.add_job(back_up, "interval", seconds=5, name="back up", next_run_time=datetime.now(UTC))
    scheduler.add_job(print, "cron", hour=3, minute=30, args=["tidied up"], name="tidy up")
    scheduler.add_job(window.show_time, "interval", seconds=1, name="clock", executor="gui")
    window.table.reload()
    return window


def main() -> int:
    app = QApplication(sys.argv)
    window = make_window()
    window.show()
    # The exception that Ctrl-C is in Python would come up in some slot, and PyQt5 aborts the program then.
    signal.signal(signal.SIGINT, lambda *_: app.quit())
    # When the last window is closed the application quits, and the scheduler stops by itself.
    return int(app.exec_())


if __name__ == "__main__":
    sys.exit(main())
