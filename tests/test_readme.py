"""What the README shows, works: its blocks of code are run, its schedules loaded, its two commands are the scripts."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# Seconds. An example that starts a scheduler ends by itself well before this.
EXAMPLE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    text = README.read_text(encoding="utf-8")
    for match in re.finditer(r"^```([\w-]+)[^\n]*\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL):
        if match[1] == language:
            found.append(Block(language=language, line=text.count("\n", 0, match.start()) + 1, text=match[2]))
    return found


@pytest.mark.parametrize("language", ["python", "toml", "console"])
def test_readme_has_blocks_to_test(language: str) -> None:
    assert blocks(language), (
        f"the README has no ```{language} block: either it lost its example or its fence is misspelt"
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    pytest.importorskip(
        "sqlalchemy", reason="the README's examples may use the durable store, from the extra 'sqlalchemy'"
    )
    # A file, because process pools import the main module again; numbered as in the README, so that errors point there.
    script = tmp_path / "example.py"
    script.write_text("\n" * block.line + block.text, encoding="utf-8")
    command = [sys.executable, "-P", "-W", "error", str(script)]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=EXAMPLE_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"README.md:{block.line}: the example does not end by itself within {EXAMPLE_S} s")
    assert done.returncode == 0, f"README.md:{block.line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_schedule_loads(block: Block, tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="schedule files are read by the command line, from the extra 'cli'")
    path = tmp_path / "schedule.toml"
    path.write_text(block.text, encoding="utf-8")
    importlib.import_module("schedcore.cli.files").load(path)


def test_the_two_commands_are_the_scripts() -> None:
    commands = [line.removeprefix("$ ") for block in blocks("console") for line in block.text.splitlines()]
    for script in ("scripts/quickstart.py", "scripts/test.py"):
        assert (ROOT / script).is_file()
        assert f"python3 {script}" in commands, f"no console block of the README runs {script} in one line"
    assert "python3 scripts/test.py" in ROOT.joinpath(".ci", "run").read_text(encoding="utf-8")
