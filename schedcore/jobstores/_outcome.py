"""What a run record keeps of how a run ended: short text that every store can hold, whatever the job returned or raised."""

from __future__ import annotations

from typing import Any, NamedTuple

from schedcore.errors import error_text
from schedcore.run import Finish, RunRecord, RunState, result_text

__all__ = ["NOTHING", "Outcome", "ended_record", "outcome", "storable"]

# Characters. An exception's line and its traceback can be of any length; a record of them is not.
_ERROR_LIMIT = 1000
_TRACEBACK_LIMIT = 20_000


class Outcome(NamedTuple):
    """The columns of a run record that the job itself decides about."""

    reason: str | None
    error: str | None
    traceback: str | None
    result: str | None
    output: str | None
    exit_code: int | None


#: What is kept of a run that neither returned nor raised anything.
NOTHING = Outcome(None, None, None, None, None, None)


def outcome(finish: Finish) -> Outcome:
    """What is kept. What a command returns or raises has an exit code and output, which fill columns of their own."""
    _, state, _, _, retval, exception, traceback = finish
    if retval is None and exception is None and traceback is None:
        return NOTHING
    if state is RunState.SKIPPED:
        return NOTHING._replace(reason=None if retval is None else str(retval))
    source: Any = retval if exception is None else exception
    output, exit_code = getattr(source, "output", None), getattr(source, "exit_code", None)
    if not (isinstance(output, str) and isinstance(exit_code, int)):
        output = exit_code = None
    return Outcome(
        None,
        None if exception is None else storable(_error_text(exception)),
        None if traceback is None else storable(_shorten(traceback)),
        storable(result_text(retval)) if output is None else None,
        storable(output),
        # Within 32 bits, as columns are: Windows has exit codes up to 2**32.
        None if exit_code is None else (exit_code + 2**31) % 2**32 - 2**31,
    )


def ended_record(finish: Finish) -> RunRecord:
    """What is kept of a run that ended, where that is one value."""
    run, state, started_us, finished_us, *_ = finish
    reason, error, traceback, result, output, exit_code = outcome(finish)
    return RunRecord(
        run.job.id,
        run.fire_us,
        run.attempt,
        state,
        reason,
        started_us=started_us,
        finished_us=finished_us,
        error=error,
        traceback=traceback,
        result=result,
        output=output,
        exit_code=exit_code,
    )


def _error_text(error: Exception) -> str:
    text = error_text(error)
    return text if len(text) <= _ERROR_LIMIT else text[: _ERROR_LIMIT - 1] + "…"


def _shorten(traceback: str) -> str:
    """The beginning and the end of a long traceback: where it came from, and what it was."""
    if len(traceback) <= _TRACEBACK_LIMIT:
        return traceback
    half = _TRACEBACK_LIMIT // 2
    return f"{traceback[:half]}\n  […]\n{traceback[-half:]}"


def storable(text: str | None) -> str | None:
    """Text without what databases refuse: NUL, and halves of surrogate pairs (file names that are no text have them)."""
    if not isinstance(text, str) or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
