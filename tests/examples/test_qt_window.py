"""The window of jobs: driven by its buttons in a process of its own, without a screen, and photographed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("qtpy", reason="the extra 'qt' is not installed")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "qt" / "window.py"
DRIVER = """
    import json, runpy, sys, time
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    app = QApplication([])
    example = runpy.run_path(sys.argv[1])
    window = example["make_window"]()
    window.show()

    def until(found):
        end = time.monotonic() + 60
        while not found():
            assert time.monotonic() < end, [window.events.item(i).text() for i in range(window.events.count())]
            app.processEvents()
            time.sleep(0.005)

    def texts():
        model = window.table
        return [[model.data(model.index(row, column)) for column in range(4)] for row in range(model.rowCount())]

    def select(name):
        window.view.selectRow([row[0] for row in texts()].index(name))

    def click(button):
        QTest.mouseClick(window.buttons[button], Qt.MouseButton.LeftButton)

    def said(text):
        return any(text in window.events.item(i).text() for i in range(window.events.count()))

    until(lambda: said("fetch mail ran") and said("back up") and window.clock.text())
    click("Add")
    until(lambda: len(texts()) == 5)
    select("tidy up"); click("Run now")
    until(lambda: said("tidy up ran"))
    click("Pause job")
    until(lambda: ["tidy up", "paused"] in [row[::2] for row in texts()])
    click("Resume job")
    until(lambda: ["tidy up", "paused"] not in [row[::2] for row in texts()])
    select("fetch mail 2"); click("Remove")
    until(lambda: len(texts()) == 4)
    click("Pause all")
    assert window.scheduler.state == 2
    click("Pause all")
    until(lambda: all(row[3] for row in texts()))
    app.processEvents()
    picture = window.grab()
    assert picture.save(sys.argv[2])
    image = picture.toImage()
    colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
    rows = texts()
    window.close()
    stopped = window.scheduler.shutdown(timeout=10)
    print(json.dumps({"rows": rows, "colours": len(colours), "size": [image.width(), image.height()], "stopped": stopped}))
"""


def test_the_window_of_jobs(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    picture = Path(os.environ.get("SCHEDCORE_SCREENSHOT") or tmp_path / "window.png")
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(DRIVER), str(EXAMPLE), str(picture)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(row[0] for row in found["rows"]) == ["back up", "clock", "fetch mail", "tidy up"]
    by_name = {row[0]: row for row in found["rows"]}
    assert by_name["fetch mail"][1] == "interval[0:00:02]"
    assert " in " in by_name["fetch mail"][2]
    assert by_name["fetch mail"][3].startswith("ok in ")
    assert found["stopped"] is True
    # Not blank: text is drawn in many shades.
    assert found["colours"] > 20
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize("end", ["window.close()", "os.kill(os.getpid(), signal.SIGINT)"], ids=["closed", "Ctrl-C"])
def test_the_program_ends_in_order(tmp_path: Path, end: str) -> None:
    program = f"""
        import os, runpy, signal
        from qtpy.QtCore import QTimer
        example = runpy.run_path({str(EXAMPLE)!r})
        make = example["main"].__globals__["make_window"]
        def make_and_end():
            window = make()
            QTimer.singleShot(400, lambda: {end})
            return window
        example["main"].__globals__["make_window"] = make_and_end
        print("code", example["main"]())
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("code 0\n")
    for complaint in ("QThread", "Timers cannot", "KeyboardInterrupt"):
        assert complaint not in done.stderr
