"""Calling a job: what every place where jobs run has in common, child processes included.

A child process is started for a handful of imports, so this module imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from schedcore.errors import error_text

__all__ = ["as_exception", "run_awaitable", "settle", "strip_tracebacks", "traceback_text"]


_OURS = frozenset(f"{__package__}.{name}" for name in ("_call", "_child", "base"))
# Modules whose frames lie between an executor and a job's own code, when they come first.
_ON_THE_WAY = ("asyncio.", "concurrent.futures.", "schedcore.adapters.")


def settle(retval: Any, finish_awaitable: Callable[[Any], Any]) -> Any:
    """The value of what a job returned: an awaitable is run to its end.

    A generator is an error, because nothing of it has run.
    """
    kind = type(retval)
    if hasattr(kind, "__await__"):
        return finish_awaitable(retval)
    if kind is GeneratorType or kind is AsyncGeneratorType:
        raise TypeError(
            f"the job returned the generator {retval!r}, of which nothing has run; "
            f"let the job go through it and return a value"
        )
    return retval


def run_awaitable(awaitable: Any) -> Any:
    """Run an awaitable to its end on an event loop of its own.

    Where this thread's loop is running, in another thread meanwhile.
    """
    import asyncio

    async def wait() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
        busy = True
    except RuntimeError:
        busy = False
    # Not in the handler above: its exception would be the context of what the job raises.
    return _in_another_thread(lambda: asyncio.run(wait())) if busy else asyncio.run(wait())


def _in_another_thread(call: Callable[[], Any]) -> Any:
    import contextvars
    import threading

    context = contextvars.copy_context()
    values: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 (it is raised again, in the thread that waits)
            errors.append(error)

    thread = threading.Thread(target=run, name="schedcore-awaitable", daemon=True)
    thread.start()
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # the exception's frames lead here, and must not lead back to it
    return values[0]


def as_exception(error: BaseException) -> Exception:
    """The error that a run ends with.

    What is not an ``Exception`` would end the worker or the program, which a job may not.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, SystemExit):
        return RuntimeError(f"the job called sys.exit({error.code!r})")
    return RuntimeError(f"the job raised {error_text(error)}")


def traceback_text(error: BaseException) -> str:
    """The traceback, from the job's own frame on."""
    import traceback

    found = error.__traceback__
    while found is not None and found.tb_next is not None and _is_ours(found.tb_frame.f_globals.get("__name__")):
        found = found.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, found))
    except Exception as unprintable:  # noqa: BLE001 (an exception class may do anything when it is printed)
        return f"{type(error).__qualname__} (its traceback cannot be shown: {type(unprintable).__qualname__})\n"


def _is_ours(module: object) -> bool:
    """Whether frames of this module, when they come first, only say that a job was called."""
    return isinstance(module, str) and (module in _OURS or module.startswith(_ON_THE_WAY))


def strip_tracebacks(error: BaseException) -> None:
    """Part an exception, and all that it was raised from or with, from the frames it went through."""
    error.__traceback__ = None
    if error.__context__ is None and error.__cause__ is None and not isinstance(error, BaseExceptionGroup):
        return
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        todo += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
