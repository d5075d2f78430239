"""The executor on a Tornado ``IOLoop``: whatever gives something to await on the loop, plain functions in threads.

Tornado has had coroutines before Python had, and ``inspect`` does not know them. On the loop run, besides coroutine functions:
those under ``@gen.coroutine``; methods under ``@run_on_executor``; and functions whose return annotation says that they
return a future or an awaitable. One that just returns a future, and says so nowhere, cannot be told from any other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import re
from collections.abc import Awaitable, Callable, Generator
from types import MethodType
from typing import Any, get_origin

from tornado import gen
from tornado.concurrent import is_future, run_on_executor

from schedcore.adapters.asyncio.executor import AsyncIOExecutor
from schedcore.references import is_coroutine_callable

__all__ = ["TornadoExecutor", "native"]

# What makes these decorators' wrappers recognizable, whatever else wraps them and copies their marks.
_COROUTINE = gen.coroutine(lambda: None).__code__
_ON_EXECUTOR = run_on_executor(lambda self: None).__code__
# Annotations that were written, or kept, as text.
_FUTURE_TEXT = re.compile(r"""["']?(\w+\.)*(Awaitable|Coroutine|Future|Task)\b""")
_FUTURES = (Awaitable, asyncio.Future, concurrent.futures.Future)


class TornadoExecutor(AsyncIOExecutor):
    """``max_workers``: threads for jobs that are plain functions. What runs on the loop is not limited in number."""

    _SCHEDULER = "TornadoScheduler"

    def _native(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]] | None:
        return native(func)


def native(func: Callable[..., Any]) -> Callable[..., Awaitable[Any]] | None:
    """What to call and await on the loop for a job of this function; None for one that belongs in a thread."""
    if is_coroutine_callable(func):
        return func
    if isinstance(func, functools.partial):
        inner = native(func.func)
        return inner and functools.partial(inner, *func.args, **func.keywords)
    if isinstance(func, MethodType):
        inner = native(func.__func__)
        return inner and functools.partial(inner, func.__self__)
    code = getattr(func, "__code__", None)
    if code is _COROUTINE:
        return functools.partial(_run_generator, func.__wrapped__)  # type: ignore[attr-defined]
    if code is _ON_EXECUTOR or gen.is_coroutine_function(func) or _says_future(func):
        return functools.partial(_run_function, func)
    if code is None and not isinstance(func, type):
        call = getattr(type(func), "__call__", None)  # noqa: B004  # the class's method is wanted
        if call is not None and hasattr(call, "__code__"):
            inner = native(call)
            return inner and functools.partial(inner, func)
    return None


def _says_future(func: Callable[..., Any]) -> bool:
    try:
        said = getattr(func, "__annotations__", {}).get("return")
    except NameError:
        # Python 3.14 looks at annotations when it is asked, and this one names what is there for type checkers only.
        return False
    if isinstance(said, str):
        return _FUTURE_TEXT.match(said) is not None
    kind = get_origin(said) or said
    return isinstance(kind, type) and issubclass(kind, _FUTURES)


async def _run_function(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await _value(func(*args, **kwargs))


async def _value(retval: Any) -> Any:
    if isinstance(retval, concurrent.futures.Future):
        return await asyncio.wrap_future(retval)
    if is_future(retval) or hasattr(type(retval), "__await__"):
        return await retval
    return retval


async def _run_generator(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do for the function under ``@gen.coroutine`` what Tornado's own runner does, inside the run's task.

    Cancelling reaches the generator then, which it does not by way of the future that the decorated function returns; and
    what it raises that is no ``Exception`` is the job's outcome and not the loop's end.
    """
    try:
        generator = func(*args, **kwargs)
    except gen.Return as result:
        return result.value
    if not isinstance(generator, Generator):
        return generator
    error: BaseException | None = None
    value: Any = None
    try:
        while True:
            yielded = generator.send(value) if error is None else generator.throw(error)
            value = error = None
            try:
                value = await _yielded(yielded)
            except GeneratorExit:
                raise
            except BaseException as raised:  # noqa: BLE001  # it is the generator's, CancelledError included
                error = raised
    except (StopIteration, gen.Return) as result:
        return result.value
    finally:
        generator.close()
        # Its frames lead here.
        error = None


async def _yielded(yielded: Any) -> Any:
    future = gen.convert_yielded(yielded)
    if future is gen.moment:
        return await asyncio.sleep(0)
    # What Tornado has for "nothing" is no future, though it looks like one.
    return await _value(future) if is_future(future) else future.result()
