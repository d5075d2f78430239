"""Callables: how text names them, what they are called, whether a call gives something to await.

A *reference* is ``"package.module:qualname"``. It names what an import statement and attribute look-ups
reach, so it holds in another process and after a restart; ``ref_of`` proves it by following its own answer
before giving it. What a callable accepts is in ``schedcore.signatures``.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

from schedcore.allowed import limits
from schedcore.errors import ReferenceLookupError, contained, error_text, nearest

__all__ = [
    "UnnameableCallableError",
    "callable_name",
    "is_coroutine_callable",
    "ref_of",
    "resolve",
    "unbind",
]

_ADVICE = 'use a function that a module defines at its top level, or give it as "package.module:name"'

# Characters. What is longer names nothing, and to split it, look for its modules and show it takes time that grows with it.
_LONGEST = 1000

# Flags of a code object, as documented in ``inspect`` (CO_COROUTINE, CO_ITERABLE_COROUTINE).
_AWAITED = 0x80 | 0x100


class UnnameableCallableError(ReferenceLookupError, ValueError):
    """No reference names this object. ``reason`` says why, without the advice (for ``TransientJobError``)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; {_ADVICE}")
        self.reason = reason


# --- text <-> object ---


def resolve(text: str) -> Any:
    """The object that ``"package.module:qualname"`` names; the module is imported if need be.

    Raises ``ReferenceLookupError`` when the text is malformed, the module cannot be imported (its own error
    is the ``__cause__``) or has no such attribute, and ``ReferenceNotAllowedError`` for what stored text may not name
    (``schedcore.allowed``).
    """
    module_name, path = _split(text)
    limit = limits()
    if limit is not None:
        limit.check_text(text)
    module = sys.modules.get(module_name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        module = _import(module_name, text)
    target: Any = module
    for name in path.split("."):
        try:
            target = getattr(target, name)
        except AttributeError as error:
            where = f"module {module_name!r}" if target is module else f"{callable_name(target)!r}"
            raise ReferenceLookupError(
                f"cannot resolve {text!r}: {where} has no attribute {name!r}{nearest(name, dir(target))}"
            ) from error
        except BaseException as error:
            raise ReferenceLookupError(
                f"cannot resolve {text!r}: reading {name!r} raised {error_text(_its_own(error))}"
            ) from error
        if limit is not None:
            limit.check_step(text, target)
    if limit is not None:
        limit.check_object(text, target)
    return target


def ref_of(obj: object) -> str:
    """The reference that names *obj*: ``resolve(ref_of(obj))`` leads back to it.

    A bound method of an instance is named by class and method; what resolves is the plain function, which
    takes the instance as its first argument (``unbind`` gives both). Raises ``UnnameableCallableError`` (a
    ``ValueError``) for lambdas, nested functions and classes, partials, and whatever its module knows under
    another name or not at all, and ``ReferenceNotAllowedError`` as ``resolve`` does.
    """
    reference = _ref_of(obj)
    limit = limits()
    if limit is not None:
        limit.check_text(reference)
    return reference


def _ref_of(obj: object) -> str:
    if type(obj) is FunctionType:
        return _checked(obj, obj.__module__, obj.__qualname__)
    if isinstance(obj, functools.partial):
        raise UnnameableCallableError(f"{callable_name(obj)} is a partial, which no module attribute names")
    if isinstance(obj, MethodType | BuiltinMethodType) and not isinstance(obj.__self__, ModuleType | None):
        return _ref_of_method(obj)
    module_name = getattr(obj, "__module__", None)
    if module_name is None:  # the methods of built-in classes
        module_name = getattr(getattr(obj, "__objclass__", None), "__module__", None)
    path = getattr(obj, "__qualname__", None)
    if not isinstance(path, str) or not isinstance(module_name, str):
        kind = type(obj).__qualname__
        raise UnnameableCallableError(f"the {kind} object does not know the name under which its module keeps it")
    return _checked(obj, module_name, path)


def unbind(func: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A callable as what ``ref_of`` names, and the arguments to put first.

    That is ``(Class.method, (instance,))`` for a bound method of an instance, ``(func, ())`` for everything
    else (functions, class methods, static methods, classes).

    ``func(*args)`` and ``function(*first, *args)`` are the same call.
    """
    if isinstance(func, MethodType | BuiltinMethodType):
        owner = func.__self__
        if not isinstance(owner, type | ModuleType | None):
            if isinstance(func, MethodType):
                return func.__func__, (owner,)
            function = getattr(type(owner), func.__name__, None)
            if callable(function):
                return function, (owner,)
    return func, ()


def _ref_of_method(method: MethodType | BuiltinMethodType) -> str:
    owner = method.__self__
    name: str = method.__name__
    if isinstance(owner, type):
        classes: list[type] = [owner]
        same = method.__eq__
    else:
        # The instance's own class, else the base that defines the method, when only that one can be named.
        function, _ = unbind(method)
        classes = list(type(owner).__mro__)
        same = function.__eq__
    for cls in classes:
        names = [name]
        if name.startswith("__") and not name.endswith("__"):  # private names are kept mangled
            names = [f"_{base.__name__.lstrip('_')}{name}" for base in cls.__mro__]
        for attribute in names:
            path = f"{cls.__qualname__}.{attribute}"
            found = _follow(cls.__module__, path) if "<" not in path else None
            if found is not None and same(found) is True:
                return f"{cls.__module__}:{path}"
    cls = classes[0]
    raise UnnameableCallableError(_reason(cls.__module__, f"{cls.__qualname__}.{name}"))


def _checked(obj: object, module_name: str | None, path: str) -> str:
    if module_name and "<" not in path and _follow(module_name, path) is obj:
        return f"{module_name}:{path}"
    raise UnnameableCallableError(_reason(module_name, path))


def _follow(module_name: str, path: str) -> Any:
    """What the two parts of a reference lead to, or None. Imports nothing: who holds an object has its
    module."""
    target: Any = sys.modules.get(module_name)
    for name in path.split("."):
        target = getattr(target, name, None)
    return target


def _reason(module_name: str | None, path: str) -> str:
    if "<lambda>" in path:
        return "a lambda has no name that text could give"
    if "<locals>" in path:
        short = path.rpartition("<locals>.")[2]
        return f"{short!r} is defined inside another function ({path.replace('.<locals>', '')})"
    if not module_name or module_name not in sys.modules:
        return f"{path!r} says that it is defined in the module {module_name!r}, which is not loaded"
    if _follow(module_name, path) is None:
        return f"the module {module_name!r} has no {path!r}"
    return f"'{module_name}:{path}' leads to a different object (was it replaced or decorated since?)"


def _split(text: str) -> tuple[str, str]:
    if not isinstance(text, str):
        raise ReferenceLookupError(f'a reference is text like "package.module:name", not {text!r}')
    if len(text) > _LONGEST:
        raise ReferenceLookupError(f"{text[:40]!r}… has {len(text):,} characters; a reference has at most {_LONGEST:,}")
    module_name, colon, path = text.partition(":")
    if colon and _dotted(module_name) and _dotted(path):
        return module_name, path
    hint = ""
    if not colon and _dotted(text) and "." in text:
        head, _, tail = text.rpartition(".")
        hint = f"; did you mean '{head}:{tail}'?"
    raise ReferenceLookupError(f'{text!r} is not a reference: it must read "package.module:name"{hint}')


def _dotted(text: str) -> bool:
    return all(map(str.isidentifier, text.split(".")))


def _import(module_name: str, text: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ReferenceLookupError(
                f"cannot resolve {text!r}: there is no module {missing!r} (is it installed, and on sys.path?)"
            ) from error
        raise ReferenceLookupError(
            f"cannot resolve {text!r}: importing {module_name!r} failed, as it needs {missing!r}, which is missing"
        ) from error
    except BaseException as error:
        raise ReferenceLookupError(
            f"cannot resolve {text!r}: importing {module_name!r} raised {error_text(_its_own(error))}"
        ) from error


def _its_own(error: BaseException) -> BaseException:
    """What a module raised. Whatever it is, as SystemExit in a script without a main guard, it must not end the scheduler that
    looks into it, nor keep it from other jobs; Ctrl-C is for the whole program.
    """
    return error if isinstance(error, SystemExit) else contained(error)


# --- names and kinds ---


def callable_name(func: Callable[..., Any]) -> str:
    """What to call a callable in a job's default name.

    The qualified name of a function or class, ``Class.method`` of a bound method, the inner function's name
    of a partial, the class's name of any other object.
    """
    if type(func) is FunctionType:
        return func.__qualname__
    while isinstance(func, functools.partial):
        func = func.func
    owner = getattr(func, "__self__", None)
    if isinstance(func, MethodType) and isinstance(func.__name__, str):
        cls = owner if isinstance(owner, type) else type(owner)
        return f"{cls.__qualname__}.{func.__name__}"
    name = getattr(func, "__qualname__", None)
    return name if isinstance(name, str) else type(func).__qualname__


def is_coroutine_callable(func: Callable[..., Any]) -> bool:
    """Whether a call gives something to await.

    So do coroutine functions, partials and bound methods of them, objects with an async ``__call__``, and
    functions marked as such (``inspect.markcoroutinefunction``, ``types.coroutine``).
    """
    while True:
        if type(func) is FunctionType:
            if func.__code__.co_flags & _AWAITED:
                return True
            marks = func.__dict__
            return bool(marks) and ("_is_coroutine_marker" in marks or "_is_coroutine" in marks)
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType):
            func = func.__func__
        else:
            break
    if isinstance(func, type):
        return False
    call = getattr(type(func), "__call__", None)  # noqa: B004 (the class's method is wanted, not the answer "callable")
    if type(call) is FunctionType and is_coroutine_callable(call):
        return True
    # Objects that pose as functions (mocks, compiled coroutine functions). Whoever made one has imported
    # inspect.
    inspect = sys.modules.get("inspect")
    return inspect is not None and inspect.iscoroutinefunction(func) is True
