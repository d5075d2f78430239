"""Every error that schedcore raises, under one root.

Two kinds are kept apart, because they ask for different reactions:

* *misuse* (``UsageError``): the call is wrong; fix the call. Raised at once, in the thread of the caller, and nothing
  was changed.
* *failure* (``FailureError``): the outside world failed. ``transient`` says whether trying again can help. The
  driver's own error is the ``__cause__``.

Classes that APScheduler 3.x names keep its names and its builtin bases (``JobLookupError`` is a ``KeyError``, …), so that
existing ``except`` clauses go on working. Attributes are for programs, the message for people: what was wrong, which
argument, and what would be right.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BrokenJobError",
    "ConfigurationError",
    "ConflictingIdError",
    "FailureError",
    "FileSyntaxError",
    "InvalidTriggerError",
    "JobArgumentsError",
    "JobLookupError",
    "JobStoreError",
    "JobStoreInUseError",
    "MaxInstancesReachedError",
    "MissingExtraError",
    "NeverFiresError",
    "ReferenceLookupError",
    "ReferenceNotAllowedError",
    "RunCancelledError",
    "SchedcoreError",
    "SchedulerAlreadyRunningError",
    "SchedulerNotRunningError",
    "SchedulerStartError",
    "SerializationError",
    "TransientJobError",
    "UnknownAliasError",
    "UnknownOptionError",
    "UnknownPluginError",
    "UsageError",
    "contained",
    "did_you_mean",
    "error_text",
    "nearest",
    "without_password",
]


def without_password(url: str) -> str:
    """The text of a URL, or of what was to be one, as messages and tables may show it."""
    return re.sub(r":(?!/)[^@]*@", ":***@", url)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message about an unknown *word*: the nearest known one, else the list of all; ``""`` if
    none is known.
    """
    names = sorted(known)
    return nearest(word, names) or (f"; known: {', '.join(names)}" if names else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message about an unknown *word*, where the known ones are too many to list; ``""`` if none is."""
    # Nobody mistypes a word of a thousand letters, and to compare one takes time and memory that grow with its length.
    near = difflib.get_close_matches(word, known, n=1) if len(word) < 1000 else ()
    return f"; did you mean {near[0]!r}?" if near else ""


def error_text(error: BaseException) -> str:
    """An error in one line: its class and its message. The message is anybody's code; where that raises, this says so."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception as again:  # noqa: BLE001  # its __str__ is anybody's code
        return f"{name} (it cannot be shown: its text raised {type(again).__name__})"
    return f"{name}: {message}" if message else name


def contained(error: BaseException) -> Exception:
    """What somebody's code raised, as a failure of that code.

    What is no ``Exception`` (``sys.exit()``, a cancellation) is one as well: it would end the scheduler's thread, without a word.
    ``SystemExit`` and ``KeyboardInterrupt`` are raised again in the main thread, because a signal handler may have raised them
    there, for the whole program.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, SystemExit | KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    what = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {error_text(error)}"
    failure = RuntimeError(f"it {what}")
    failure.__cause__ = error
    return failure


class SchedcoreError(Exception):
    """The root of all errors of schedcore. They can be pickled and copied, and have their text and attributes then."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own would give the text to the constructor, which mostly takes what the text is made of.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[SchedcoreError], args: tuple[Any, ...], attributes: dict[str, Any]) -> SchedcoreError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(SchedcoreError):
    """The call is wrong and will be wrong again: fix the call."""


class FailureError(SchedcoreError):
    """The outside world failed. ``transient``: whether trying again later can help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ConfigurationError(UsageError, ValueError):
    """A configuration value cannot be used."""


class UnknownOptionError(ConfigurationError, TypeError):
    """An option that nothing understands. ``option`` is its full name.

    Both a ``ValueError`` and a ``TypeError``: it is a bad value in a configuration mapping and a bad keyword in a call.
    """

    def __init__(self, option: str, known: Iterable[str], where: str = "scheduler") -> None:
        super().__init__(f"unknown {where} option {option!r}{did_you_mean(option, known)}")
        self.option = option


class UnknownAliasError(UsageError, KeyError):
    """No executor or job store of the scheduler has this alias."""

    __str__ = Exception.__str__


class UnknownPluginError(UsageError, LookupError):
    """No trigger, executor or job store is registered under this alias."""


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is not installed. ``extra`` names what to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency; install it with: pip install 'schedcore[{extra}]'")
        self.extra = extra


class InvalidTriggerError(UsageError, ValueError):
    """A trigger argument cannot be used. ``field`` names the argument or cron field, ``column`` the place (1-based) or None."""

    def __init__(self, message: str, *, field: str | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.column = column


class NeverFiresError(InvalidTriggerError):
    """A trigger has no fire time, or no more; not one whose search for it ended without an answer."""


class ReferenceLookupError(UsageError, LookupError):
    """A textual reference (``"package.module:qualname"``) does not lead to an object."""


class ReferenceNotAllowedError(ReferenceLookupError, ValueError):
    """A stored record names code that its job store may not hold (``schedcore.allowed``). ``reference`` is the name."""

    def __init__(self, reference: str, message: str) -> None:
        super().__init__(message)
        self.reference = reference


class JobArgumentsError(UsageError, ValueError):
    """The arguments given for a job do not fit the signature of its callable."""


class SerializationError(UsageError, ValueError):
    """A value cannot be stored. ``path`` is where it sits, for example ``"kwargs['when'][2]"``."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class FileSyntaxError(UsageError, ValueError):
    """A schedule file is wrong at ``path``:``line``:``column`` (1-based; column 0 when only the line is known)."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}" if column else f"{path}:{line}: {message}")
        self.path = path
        self.line = line
        self.column = column


class JobLookupError(UsageError, KeyError):
    """No job with this id is known."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job by the id of {job_id!r} was found")
        self.job_id = job_id

    __str__ = Exception.__str__


class ConflictingIdError(UsageError, KeyError):
    """A job with this id exists already."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"job id {job_id!r} is taken; give another id, or replace_existing=True to update the job that has it"
        )
        self.job_id = job_id

    __str__ = Exception.__str__


class TransientJobError(UsageError, ValueError):
    """The job cannot be stored, because text cannot name its callable."""

    def __init__(self, job_id: str, reason: str = "its callable cannot be named by text") -> None:
        super().__init__(
            f"job {job_id!r} cannot be added to this job store: {reason}; use a function that a module defines at its "
            f'top level, or give it as "package.module:name"'
        )
        self.job_id = job_id


class MaxInstancesReachedError(UsageError):
    """The job already has as many live runs as its ``max_instances`` allows."""

    def __init__(self, job: object) -> None:
        job_id = getattr(job, "id", job)
        limit = getattr(job, "max_instances", "?")
        super().__init__(f"job {job_id!r} has already reached its maximum number of instances ({limit})")
        self.job = job


class SchedulerAlreadyRunningError(UsageError):
    """The call needs a stopped scheduler."""

    def __init__(self, message: str = "the scheduler is already running; shut it down first") -> None:
        super().__init__(message)


class SchedulerNotRunningError(UsageError):
    """The call needs a running scheduler."""

    def __init__(self, message: str = "the scheduler is not running; call start() first") -> None:
        super().__init__(message)


class SchedulerStartError(UsageError, RuntimeError):
    """The scheduler cannot start here (no running event loop, the wrong thread, a closed loop)."""


class JobStoreError(FailureError):
    """A job store failed; the driver's error is the ``__cause__``. ``alias`` names the store."""

    def __init__(self, alias: str, message: str, *, transient: bool = False) -> None:
        super().__init__(f"job store {alias!r}: {message}", transient=transient)
        self.alias = alias


class JobStoreInUseError(FailureError):
    """Another scheduler owns this job store, and the store cannot be shared. How processes take turns is in ``docs/prefork``."""


class RunCancelledError(FailureError):
    """The ``exception`` of the event of a run that was cut short: it did not fail, and did not succeed either."""

    def __init__(self) -> None:
        super().__init__("the run was cancelled")


class BrokenJobError(FailureError):
    """A job is set aside: it cannot be scheduled until what ``reason`` says is mended."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id!r} is set aside: {reason}")
        self.job_id = job_id
        self.reason = reason
