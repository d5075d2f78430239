"""Crontab files: the documented rules of cron, and an error with line and column for everything else."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcore.cli import crontab
from schedcore.cli.crontab import CrontabFile, CrontabJob, parse_crontab, slug
from schedcore.errors import FileSyntaxError


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four users, of which mail and sync are programs as well."""
    names = ["root", "mail", "sync", "www-data", "deploy"]
    monkeypatch.setattr(crontab, "_user_exists", names.__contains__)
    monkeypatch.setattr(crontab, "_user_names", lambda: names)
    programs = ("mail", "sync", "sh", "echo")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)


def parse(*lines: str, path: str = "tab", system: bool | None = False) -> CrontabFile:
    return parse_crontab("".join(f"{line}\n" for line in lines), path, system=system)


def one(*lines: str, system: bool | None = False) -> CrontabJob:
    (job,) = parse(*lines, system=system).jobs
    return job


def fails(*lines: str, system: bool | None = False) -> str:
    with pytest.raises(FileSyntaxError) as caught:
        parse(*lines, system=system)
    return str(caught.value)


class TestJobs:
    def test_five_fields(self) -> None:
        job = one("*/5 0-6 1,15 * mon  echo  hello # not a comment")
        assert job.schedule_text == "*/5 0-6 1,15 * mon"
        assert job.command == "echo  hello # not a comment"
        assert (job.line, job.column) == (1, 1)
        assert job.timezone is None
        assert job.user is None
        assert job.stdin is None
        assert job.environment == {}
        assert job.shell == "/bin/sh"
        assert not job.at_start

    def test_blanks_and_tabs(self) -> None:
        job = one("", "  # comment", "\t", " \t0\t3  * *\t* \techo a\tb  ")
        assert job.schedule_text == "0 3 * * *"
        assert job.command == "echo a\tb  "
        assert (job.line, job.column) == (4, 3)

    @pytest.mark.parametrize("word", ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"])
    def test_nicknames(self, word: str) -> None:
        job = one(f"{word} echo x")
        assert job.schedule_text == word
        assert not job.at_start

    def test_reboot(self) -> None:
        job = one("@reboot\techo up")
        assert job.at_start
        assert job.command == "echo up"

    def test_an_equals_sign_in_a_command_is_no_variable(self) -> None:
        assert one("@daily X=1 cmd").command == "X=1 cmd"
        assert one("* * * * * X=1 cmd").command == "X=1 cmd"

    def test_no_jobs(self) -> None:
        assert parse("# nothing").jobs == ()
        assert parse_crontab("").jobs == ()


class TestPercent:
    @pytest.mark.parametrize(
        ("line", "command", "stdin"),
        [
            ("cat", "cat", None),
            ("cat%one", "cat", "one\n"),
            ("cat%one%two%", "cat", "one\ntwo\n"),
            ("mail -s 'It is 10pm' joe%Joe,%%Where are you?%", "mail -s 'It is 10pm' joe", "Joe,\n\nWhere are you?\n"),
            (r"date +\%F", "date +%F", None),
            (r"date +\%F%a\%b", "date +%F", "a%b\n"),
            (r"echo \\ \n", r"echo \\ \n", None),
            ("cat%", "cat", ""),
        ],
    )
    def test_newline_and_stdin(self, line: str, command: str, stdin: str | None) -> None:
        job = one(f"* * * * * {line}")
        assert (job.command, job.stdin) == (command, stdin)

    def test_an_empty_command(self) -> None:
        assert fails("* * * * * %in") == (
            "tab:1:11: the command is empty: an unescaped % ends it; write \\% for a percent sign"
        )


class TestVariables:
    @pytest.mark.parametrize(
        ("line", "name", "value"),
        [
            ("A=b", "A", "b"),
            ("  A \t=  b c  ", "A", "b c"),
            ('A="  b  "', "A", "  b  "),
            ("A = ' \"b\" ' ", "A", ' "b" '),
            ('A=""', "A", ""),
            ("A=", "A", ""),
            ("A=b=c", "A", "b=c"),
            ("A=it's", "A", "it's"),
            ('"A B" = c', "A B", "c"),
            ("'A'=c", "A", "c"),
            ("my-var.x=1", "my-var.x", "1"),
            ("A=100%", "A", "100%"),
        ],
    )
    def test_lines(self, line: str, name: str, value: str) -> None:
        assert parse(line).env == {name: value}

    def test_they_hold_for_the_lines_below(self) -> None:
        file = parse("@daily a", "A=1", "SHELL=/bin/bash", "@daily b", "A=2", "B=3", "@daily c")
        assert [dict(job.environment) for job in file.jobs] == [
            {},
            {"A": "1", "SHELL": "/bin/bash"},
            {"A": "2", "SHELL": "/bin/bash", "B": "3"},
        ]
        assert [job.shell for job in file.jobs] == ["/bin/sh", "/bin/bash", "/bin/bash"]
        assert file.env == {"A": "2", "SHELL": "/bin/bash", "B": "3"}

    def test_cron_tz(self) -> None:
        file = parse("@daily a", "CRON_TZ=Europe/Berlin", "@daily b", "CRON_TZ=", "@daily c")
        assert [job.timezone for job in file.jobs] == [None, "Europe/Berlin", None]

    def test_values_are_frozen(self) -> None:
        file = parse("A=1", "@daily a")
        with pytest.raises(TypeError):
            file.env["A"] = "2"  # type: ignore[index]
        with pytest.raises(AttributeError):
            file.jobs[0].command = "x"  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            (
                'A="b',
                'tab:1:3: the quote " is not closed; put " at the end of the value, or use none',
            ),
            (
                "A='b' # c",
                "tab:1:6: there is text after the closing quote; put the whole value into one pair of quotes "
                "(cron knows no comments at the end of a line)",
            ),
            ("''=x", "tab:1:1: a variable needs a name without '='; write NAME=value"),
            ("SHELL=", "tab:1:7: SHELL is empty; give the path of a shell such as /bin/sh, or leave the line out"),
            (
                "CRON_TZ = Europe/Belrin",
                "tab:1:11: CRON_TZ: no time zone is called 'Europe/Belrin'; did you mean 'Europe/Berlin'?",
            ),
            (
                "CRON_TZ=europe/berlin",
                "tab:1:9: CRON_TZ: no time zone is called 'europe/berlin'; did you mean 'Europe/Berlin'?",
            ),
            (
                "CRON_TZ=!",
                "tab:1:9: CRON_TZ: no time zone is called '!'; give a name such as 'Europe/Berlin' or 'UTC'",
            ),
            ("export A=b", "tab:1:1: a variable is set without 'export'; write NAME=value"),
        ],
    )
    def test_errors(self, line: str, text: str) -> None:
        assert fails(line) == text


class TestUsers:
    def test_system_form_on_request(self) -> None:
        job = one("17 * * * * www-data  cd / && x", system=True)
        assert (job.user, job.command) == ("www-data", "cd / && x")
        assert one("@daily root x", system=True).user == "root"

    @pytest.mark.parametrize("path", ["/etc/crontab", "/etc/cron.d/php", "cron.d/x"])
    def test_by_its_place(self, path: str) -> None:
        file = parse("* * * * * sync now", path=path, system=None)
        assert file.system
        assert file.jobs[0].user == "sync"

    def test_by_its_users(self) -> None:
        file = parse("A=1", "* * * * * root a", "@daily mail b", "@reboot deploy c", system=None)
        assert file.system
        assert [job.user for job in file.jobs] == ["root", "mail", "deploy"]
        assert file.notes == ()

    @pytest.mark.parametrize(
        "lines",
        [
            ["* * * * * mail -s subject joe", "@daily sync -f x"],  # programs of the same name
            ["* * * * * sync"],
            ["* * * * * root"],  # no command after it
            ["* * * * * other a"],
            [],
        ],
    )
    def test_not_the_system_form(self, lines: list[str]) -> None:
        file = parse(*lines, system=None)
        assert not file.system
        assert all(job.user is None for job in file.jobs)
        assert file.notes == ()

    def test_one_line_without_a_user(self) -> None:
        file = parse("* * * * * root a", "* * * * * echo b", system=None)
        assert not file.system
        (note,) = file.notes
        assert (note.line, note.column) == (1, 11)
        assert note.message == (
            "'root' is a user's name, but it is taken for the command because line 2 has none; "
            "if the file is in the system form, say so"
        )

    def test_it_can_be_denied(self) -> None:
        job = one("* * * * * root a", system=False)
        assert (job.user, job.command) == (None, "root a")

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            (
                "* * * * * deplyo a",
                "tab:1:11: there is no user 'deplyo' on this machine; did you mean 'deploy'?; "
                "a line of the system form is: schedule user command",
            ),
            (
                "* * * * * root",
                "tab:1:15: the command is missing after the user's name 'root' (the file is in the system form)",
            ),
            ("@daily", "tab:1:7: the user's name and the command are missing after the schedule '@daily'"),
        ],
    )
    def test_errors(self, line: str, text: str) -> None:
        assert fails(line, system=True) == text


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "text"),
        [
            (
                "* * *",
                "tab:1:6: a job needs five fields and a command "
                "(minute hour day-of-month month day-of-week command); this line ends after 3",
            ),
            ("0 0 * * *", "tab:1:10: the command is missing after the schedule '0 0 * * *'"),
            ("@daily  ", "tab:1:9: the command is missing after the schedule '@daily'"),
            (
                "0\N{NO-BREAK SPACE}3 * * * x",
                "tab:1:2: the blank U+00A0 separates nothing for cron; write a space or a tab",
            ),
            (
                "0\N{NO-BREAK SPACE}3\N{NO-BREAK SPACE}* * * x",
                "tab:1:2: the blank U+00A0 separates nothing for cron; write a space or a tab",
            ),
            (
                "@daily\N{EM SPACE}x y",
                "tab:1:7: the blank U+2003 separates nothing for cron; write a space or a tab",
            ),
            (
                "0~30 * * * * x",
                "tab:1:2: minute of '0~30 * * * *': '~' cannot stand here; a list is separated by ','; "
                "for a number that is picked once (cronie's a~b) write H(a-b)",
            ),
            ("@dayly x", "tab:1:1: cron knows no schedule '@dayly'; did you mean '@daily'?"),
            ("@Daily x", "tab:1:1: cron knows no schedule '@Daily'; did you mean '@daily'?"),
            (
                "@every 5m x",
                "tab:1:1: cron knows no schedule '@every'; write an interval as fields, for example "
                "*/5 * * * * for every five minutes",
            ),
            ("@every_minute x", "tab:1:1: cron knows no schedule '@every_minute'; write * * * * *"),
            (
                " -*/5 * * * * x",
                "tab:1:2: a schedule cannot start with '-' (cronie's mark for a job that is not logged); remove the '-'",
            ),
            (
                "0 */5 * * * * x",
                "tab:1:13: a schedule has five fields, and this is a sixth; cron knows no seconds: "
                "write minute hour day-of-month month day-of-week command",
            ),
            (
                "echo hello",
                "tab:1:1: this is neither a job (minute hour day-of-month month day-of-week command, or @daily command) "
                "nor a variable (NAME=value)",
            ),
            (
                "MY VAR = 1",
                "tab:1:1: this is neither a job (minute hour day-of-month month day-of-week command, or @daily command) "
                "nor a variable (NAME=value); a name has no blanks unless it is in quotes",
            ),
        ],
    )
    def test_lines(self, line: str, text: str) -> None:
        assert fails(line) == text

    def test_the_place_of_a_bad_field(self) -> None:
        with pytest.raises(FileSyntaxError) as caught:
            parse("# first", " \t*  61 * * * x")
        error = caught.value
        assert (error.path, error.line, error.column) == ("tab", 2, 6)
        assert str(error).startswith("tab:2:6: ")
        assert "61" in str(error)
        assert "column" not in str(error)
        assert error.__cause__ is not None

    def test_a_missing_field(self) -> None:
        text = fails("*/5 * * * /usr/bin/backup --all")
        assert text.startswith("tab:1:11: ")
        assert text.endswith("; if '/usr/bin/backup' begins the command, one of the five fields before it is missing")

    @pytest.mark.parametrize("word", ["99", "fry", "?", "1-x"])
    def test_a_bad_field_that_is_one(self, word: str) -> None:
        assert "is missing" not in fails(f"*/5 * * * {word} x")


class TestNotes:
    def notes(self, text: str) -> list[tuple[int, int, str]]:
        return [(note.line, note.column, note.message) for note in parse_crontab(text).notes]

    def test_none(self) -> None:
        assert self.notes("PATH=/bin\n@daily x\n") == []

    def test_no_newline_at_the_end(self) -> None:
        assert self.notes("@daily x") == [
            (1, 9, "the last line does not end with a newline; cron would not accept the file")
        ]

    def test_crlf(self) -> None:
        text = "A=1\r\n\r\n@daily x\r\n"
        assert self.notes(text) == [
            (1, 4, "lines end with CR LF; cron would take the CR for a part of each command; it is left out")
        ]
        file = parse_crontab(text)
        assert file.env == {"A": "1"}
        assert file.jobs[0].command == "x"

    def test_byte_order_mark(self) -> None:
        assert self.notes("\ufeff@daily x\n") == [
            (1, 1, "the file starts with a byte order mark, which cron does not understand; it is left out")
        ]

    @pytest.mark.parametrize(
        ("line", "column", "message"),
        [
            ("PATH=$HOME/bin:/bin", 6, "cron does not expand variables: PATH is exactly '$HOME/bin:/bin'"),
            ("A=b # c", 5, "cron knows no comments at the end of a line: this is a part of the value"),
            ("LOGNAME=x", 1, "LOGNAME cannot be changed in a crontab; this line is left out"),
            ("MAILTO=joe", 1, "no mail is sent; the output of a job is in the record of its run"),
            ("RANDOM_DELAY=5", 1, "RANDOM_DELAY does not delay jobs here; it is only a variable"),
            ("@daily a \\", 10, "cron knows no continuation lines: this backslash is a part of the command"),
        ],
    )
    def test_of_a_line(self, line: str, column: int, message: str) -> None:
        assert self.notes(line + "\n") == [(1, column, message)]

    def test_an_empty_mailto_is_what_happens_anyway(self) -> None:
        assert self.notes('MAILTO=""\n') == []

    def test_logname_stays(self) -> None:
        assert parse("LOGNAME=x").env == {}


class TestIds:
    def ids(self, *lines: str) -> list[str]:
        return [job.id for job in parse(*lines).jobs]

    def test_readable(self) -> None:
        (job_id,) = self.ids("@daily /usr/local/bin/backup.sh --full /data")
        assert job_id.startswith("backup-sh-full-data-")

    def test_unrelated_lines_do_not_change_it(self) -> None:
        (alone,) = self.ids("*/5 * * * * echo a")
        lines = ["# new", "A=1", "@daily echo b", "*/5  * * *\t* echo a", "@hourly echo a"]
        ids = self.ids(*lines)
        assert ids[1] == alone
        assert len(set(ids)) == 3

    def test_duplicates_are_counted(self) -> None:
        ids = self.ids("@daily a", "@daily a", "@daily b")
        assert len(set(ids)) == 3
        assert ids[0] == self.ids("@daily a")[0]

    def test_everything_that_makes_another_job_makes_another_id(self) -> None:
        ids = self.ids("@daily a", "@daily a%x", "@daily a%y", "@hourly a", "CRON_TZ=UTC", "@daily a")
        assert len(set(ids)) == 5
        assert one("@daily root a", system=True).id != one("@daily deploy a", system=True).id

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/usr/bin/backup.sh --full", "backup-sh-full"),
            ("a/b/ c/d", "b-c-d"),
            ("", "job"),
            ("***", "job"),
            ("x" * 100, "x" * 40),
            ("Ärger", "rger"),
        ],
    )
    def test_slug(self, text: str, expected: str) -> None:
        assert slug(text) == expected


@given(st.text(alphabet="*/0159,-@= \t\n\r%\\\"'#abdilyx", max_size=60), st.sampled_from([True, False, None]))
def test_any_text_is_read_or_refused_with_its_place(text: str, system: bool | None) -> None:
    lines = text.split("\n")
    try:
        file = parse_crontab(text, system=system)
    except FileSyntaxError as error:
        place = error.line, error.column
    else:
        assert len({job.id for job in file.jobs}) == len(file.jobs)
        return
    assert 1 <= place[0] <= len(lines)
    assert 1 <= place[1] <= len(lines[place[0] - 1]) + 1
