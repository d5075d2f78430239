"""What errors say, and that saying it cannot fail."""

from __future__ import annotations

import copy
import pickle

import pytest

from schedcore import errors
from schedcore.errors import SchedcoreError, did_you_mean, error_text


class MuteError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (MuteError(), "MuteError (it cannot be shown: its text raised RuntimeError)"),
    ],
)
def test_an_error_in_one_line(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_no_hint_for_what_nobody_mistyped() -> None:
    assert did_you_mean("interval" * 1_000_000, ["interval"]) == "; known: interval"


ERRORS = [
    errors.SchedcoreError("wrong"),
    errors.FailureError("away", transient=True),
    errors.UnknownOptionError("colour", ["color"]),
    errors.UnknownAliasError("no such alias"),
    errors.MissingExtraError("The command line", "cli"),
    errors.InvalidTriggerError("what?", field="hour", column=3),
    errors.ReferenceNotAllowedError("os:system", "not that"),
    errors.SerializationError("no", path="args[0]"),
    errors.FileSyntaxError("jobs.toml", 3, 4, "what?"),
    errors.JobLookupError("backup"),
    errors.ConflictingIdError("backup"),
    errors.TransientJobError("backup"),
    errors.MaxInstancesReachedError("backup"),
    errors.SchedulerNotRunningError(),
    errors.JobStoreError("default", "away", transient=True),
    errors.RunCancelledError(),
    errors.BrokenJobError("backup", "its module is gone"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_when_it_was_pickled_or_copied(error: SchedcoreError) -> None:
    """As it is on its way out of a process of a pool."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
