"""Where a job runs: in the reactor's thread, or in one of its pool.

In the reactor's thread belongs what gives a Deferred or a coroutine. That can be seen of

* coroutine functions;
* functions under ``inlineCallbacks``, and Twisted's own functions and methods, such as ``agent.request``;
* functions whose annotation says that they return a ``Deferred``;
* partials, bound methods and ``functools.wraps`` wrappers of all these.

For any other there is the decorator ``in_reactor``, or the executor with the alias ``reactor``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, TypeVar, get_origin

from twisted.internet.defer import Deferred

from schedcore.references import callable_name, is_coroutine_callable

__all__ = ["in_reactor", "runs_in_reactor"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "_schedcore_in_reactor"
_ANNOTATION = re.compile(r"['\"]?(\w+\.)*Deferred\b")


def in_reactor(func: F) -> F:
    """Mark a function for the reactor's thread: for those that return a Deferred without showing it, and those that touch
    protocols and other objects of Twisted's. Returns the function.

    Raises ``TypeError`` for what takes no mark: bound methods and built-in functions.
    """
    try:
        setattr(func, _MARK, True)
    except AttributeError:
        if not runs_in_reactor(func):
            raise TypeError(
                f"{callable_name(func)} takes no mark; decorate the function that it is made of, or add its job with "
                f"executor='reactor'"
            ) from None
    return func


def runs_in_reactor(func: Callable[..., Any]) -> bool:
    """Whether a function has to be called in the reactor's thread, as far as can be seen."""
    seen = 0
    # A wrapper may name itself as what it wraps.
    while seen < 20:
        seen += 1
        if _shows(func):
            return True
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType):
            func = func.__func__
        elif "__wrapped__" in getattr(func, "__dict__", ()):
            func = func.__dict__["__wrapped__"]
        else:
            # An object is called by its class's method.
            call = getattr(type(func), "__call__", None)  # noqa: B004 (the method is wanted, not the answer "callable")
            if isinstance(func, (FunctionType, type)) or not isinstance(call, FunctionType):
                break
            func = call
    return False


def _shows(func: Any) -> bool:
    if getattr(func, _MARK, False) is True or is_coroutine_callable(func):
        return True
    if not isinstance(func, FunctionType):
        return False
    # The function that ``inlineCallbacks`` puts in the place of another bears that one's names, but its code is Twisted's.
    module = func.__globals__.get("__name__")
    if isinstance(module, str) and module.startswith("twisted."):
        return True
    returned = func.__annotations__.get("return")
    if isinstance(returned, str):
        return _ANNOTATION.match(returned) is not None
    return returned is Deferred or get_origin(returned) is Deferred
