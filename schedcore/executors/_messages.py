"""What a pool and its child processes tell each other, pickled: a run on its way, and what came of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from schedcore.errors import FailureError, SerializationError, error_text
from schedcore.executors import _child
from schedcore.executors._child import Failure, Identity, Reference
from schedcore.executors.base import failed
from schedcore.run import Finish, Run, RunState

__all__ = ["RemoteError", "dump_parts", "dump_run", "load_failure", "returned"]


class RemoteError(FailureError):
    """Stands for an exception that was raised in a child process and cannot be brought here. ``type_name`` is its class."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message


def returned(run: Run, started_us: int | None, now_us: int, answer: bytes) -> Finish:
    retval = None
    if len(answer) > 1:
        try:
            retval = pickle.loads(memoryview(answer)[1:])
        except Exception as error:  # noqa: BLE001 (anything may come out of unpickling)
            what = f"the job's result came back from its process, but cannot be loaded here: {error_text(error)}"
            return failed(run, started_us, now_us, SerializationError(what, path="result"))
    return Finish(run, RunState.SUCCEEDED, started_us, now_us, retval)


def load_failure(answer: bytes) -> tuple[Exception, str]:
    failure: Failure = pickle.loads(memoryview(answer)[1:])
    if failure.pickled is not None:
        try:
            exception = pickle.loads(failure.pickled)
        except Exception:  # noqa: BLE001 (anything may come out of unpickling)
            exception = None
        if isinstance(exception, Exception):
            return exception, failure.traceback
    return RemoteError(failure.type_name, failure.message), failure.traceback


def dump_run(run: Run) -> bytes:
    job = run.job
    if job.func is None:
        raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
    payload = dump_parts("func", job.func, job.func_ref, job.args, dict(job.kwargs))
    try:
        zone = pickle.dumps(job.trigger.timezone, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 (any tzinfo class may be there)
        zone = None
    identity = Identity(job.id, job.name, job.func_ref, job.policy, run.alias, run.fire_us, run.attempt, zone)
    return pickle.dumps((identity, payload), pickle.HIGHEST_PROTOCOL)


def dump_parts(
    what: str, func: Callable[..., Any], func_ref: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bytes:
    """Callable and arguments, pickled.

    ``SerializationError`` names the part that cannot be. Without kwargs for an initializer.
    """
    try:
        return _pickle_call(what, func, args, kwargs)
    except Exception:  # noqa: BLE001 (anything may come out of pickling; below it is asked which part it was)
        sent: Any = func
        try:
            pickle.dumps(func)
        except Exception as error:
            sent = _by_reference(func, func_ref)
            if sent is None:
                raise _unsendable(what, func, error) from error
        name = "args" if what == "func" else "initargs"
        parts = [(f"{name}[{index}]", value) for index, value in enumerate(args)]
        parts += [(f"kwargs[{key!r}]", value) for key, value in kwargs.items()]
        for path, value in parts:
            try:
                pickle.dumps(value)
            except Exception as error:
                raise _unsendable(path, value, error) from error
        return _pickle_call(what, sent, args, kwargs)


def _pickle_call(what: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    call = (func, args, kwargs) if what == "func" else (func, args)
    return pickle.dumps(call, pickle.HIGHEST_PROTOCOL)


def _by_reference(func: Callable[..., Any], func_ref: str | None) -> Reference | None:
    """Its reference, where that leads to the very callable."""
    if func_ref is None:
        return None
    from schedcore.references import resolve

    try:
        return Reference(func_ref) if resolve(func_ref) is func else None
    except LookupError:
        return None


def _unsendable(path: str, value: object, error: Exception) -> SerializationError:
    advice = (
        "give plain data" if path.startswith(("args", "kwargs", "initargs")) else "use a module's top-level function"
    )
    return SerializationError(
        f"{path} ({_child._a(value)}) cannot be sent to another process: {error_text(error)}; {advice}", path=path
    )
