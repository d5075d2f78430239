"""Finding out what a schedule file is, and what cannot be one."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedcore.cli.files import load, parse
from schedcore.cli.schedule import CRONTAB, RUN_COMMAND, STARTUP, TriggerSpec
from schedcore.cli.triggers import build_trigger
from schedcore.errors import ConfigurationError, FileSyntaxError

TOML = '[[jobs]]\nfunc = "m:f"\ninterval = { hours = 1 }\n'


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


class TestFormat:
    @pytest.mark.parametrize("name", ["s.toml", "S.TOML", "plain"])
    @pytest.mark.parametrize("start", ["", "# c\n\n \t# d\r\n ", "\ufeff"])
    def test_toml(self, tmp_path: Path, name: str, start: str) -> None:
        assert load(write(tmp_path, name, start + TOML)).format == "toml"

    @pytest.mark.parametrize("name", ["crontab", "x.txt", "jobs.cron"])
    def test_crontab(self, tmp_path: Path, name: str) -> None:
        assert load(Path(write(tmp_path, name, "# [c]\n* * * * * [ -e x ]\n"))).format == "crontab"

    def test_the_name_decides(self) -> None:
        with pytest.raises(FileSyntaxError, match=r"^s\.toml:1:1: not valid TOML: "):
            parse("* * * * * x\n", "s.toml")


class TestCrontab:
    def test_jobs_are_commands(self, tmp_path: Path) -> None:
        text = "@reboot up\nSHELL=/bin/bash\nCRON_TZ=Asia/Tokyo\nHOME=/srv\n\n  0 3 * * * root  cat  %in\n"
        path = write(tmp_path, "tab", text.replace("up", "root up"))
        file = load(path)
        assert (file.path, file.folder) == (path, str(tmp_path))
        assert file.configuration() == {"jobstores": {}, "executors": {}}
        first, second = file.jobs
        assert first.trigger == TriggerSpec(kind=STARTUP)
        assert first.target() == (
            RUN_COMMAND,
            ("up",),
            {"shell": "/bin/sh", "cwd": "~", "env": {"SHELL": "/bin/sh"}, "user": "root"},
        )
        arguments = {"expr": "0 3 * * *", "timezone": "Asia/Tokyo"}
        assert second.trigger == TriggerSpec(kind=CRONTAB, arguments=arguments)
        assert second.name == "cat"
        assert second.id.startswith("cat-")
        assert second.target() == (
            RUN_COMMAND,
            ("cat  ",),
            {
                "shell": "/bin/bash",
                "cwd": "/srv",
                "env": {"SHELL": "/bin/bash", "CRON_TZ": "Asia/Tokyo", "HOME": "/srv"},
                "stdin": "in\n",
                "user": "root",
            },
        )
        assert (second.line, second.column) == (6, 3)
        assert file.where("jobs", 1) == (6, 3)
        assert str(file.error("no", "jobs", 1)) == f"{path}:6:3: no"

    def test_triggers(self) -> None:
        file = parse("@reboot a\n@daily b\n", "tab")
        now = datetime(2030, 1, 1, tzinfo=UTC)
        for job in file.jobs:
            assert build_trigger(file, job, timezone="UTC", now=now).get_next_fire_time(None, now) == now

    def test_the_system_form_on_request(self) -> None:
        assert parse("@daily root sync\n", "tab", system=False).jobs[0].command == "root sync"
        assert parse("@daily root sync\n", "tab", system=True).jobs[0].command == "sync"

    def test_notes_are_kept(self) -> None:
        assert [note.line for note in parse("MAILTO=x\n@daily x\n", "tab").notes] == [1]


class TestCannotBeRead:
    def refused(self, path: str) -> str:
        with pytest.raises(ConfigurationError) as caught:
            load(path)
        return str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        path = str(tmp_path / "none.toml")
        assert self.refused(path) == (f"schedule file {path!r} does not exist; give the path of a TOML or crontab file")

    def test_folder(self, tmp_path: Path) -> None:
        assert self.refused(str(tmp_path)) == f"schedule file {str(tmp_path)!r} is a folder; give the file in it"

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path, "x", "")

        def refuse(*args: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
        assert self.refused(path) == f"schedule file {path!r} may not be read by this user"

    def test_other_reasons(self, tmp_path: Path) -> None:
        path = write(tmp_path, "x", "")
        assert self.refused(path + "/y") == f"schedule file {path + '/y'!r} cannot be read: Not a directory"
        assert self.refused("a\0b") == "schedule file 'a\\x00b' cannot be read: embedded null byte"

    @pytest.mark.parametrize("content", ["", " \n\t\n"])
    def test_empty(self, tmp_path: Path, content: str) -> None:
        path = write(tmp_path, "x", content)
        assert self.refused(path) == (
            f"schedule file {path!r} is empty; "
            'add a [[jobs]] table (TOML) or a line such as "*/5 * * * * command" (crontab)'
        )

    @pytest.mark.parametrize(("name", "content"), [("x", "# c\nA=1\n"), ("x.toml", "[scheduler]\n")])
    def test_no_jobs(self, tmp_path: Path, name: str, content: str) -> None:
        path = write(tmp_path, name, content)
        assert self.refused(path) == (
            f"schedule file {path!r} has no jobs; "
            'add a [[jobs]] table (TOML) or a line such as "*/5 * * * * command" (crontab)'
        )

    def test_binary(self, tmp_path: Path) -> None:
        path = write(tmp_path, "x", b"\x7fELF\0\0")
        assert self.refused(path) == f"schedule file {path!r} is no text: byte 5 is zero; is it the right file?"

    def test_utf_16(self, tmp_path: Path) -> None:
        path = write(tmp_path, "x", TOML.encode("utf-16"))
        assert self.refused(path) == f"schedule file {path!r} is in UTF-16; save it as UTF-8"

    def test_latin_1(self, tmp_path: Path) -> None:
        path = write(tmp_path, "x", "# ä\n@daily é".encode() + "ü\n".encode("latin-1"))
        with pytest.raises(FileSyntaxError) as caught:
            load(path)
        assert str(caught.value) == f"{path}:2:9: byte 0xfc is not UTF-8; save the file as UTF-8"

    def test_too_large(self, tmp_path: Path) -> None:
        path = str(tmp_path / "x")
        with open(path, "wb") as file:
            os.truncate(file.fileno(), 17 * 2**20)
        assert self.refused(path) == f"schedule file {path!r} is larger than 16 MiB; is it the right file?"


def test_a_number_of_the_jobs_own() -> None:
    """``H`` is the same at every start, and known before a scheduler has the job."""
    file = parse("H H * * * x\n", "crontab")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = build_trigger(file, file.jobs[0]).get_next_fire_time(None, now)
    assert first is not None
    assert first == build_trigger(file, file.jobs[0]).get_next_fire_time(None, now)
