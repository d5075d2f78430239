"""Callables: how text names them, what they accept, what they are called.

A *reference* is ``"package.module:qualname"``. It names what an import statement and attribute look-ups
reach, so it holds in another process and after a restart; ``ref_of`` proves it by following its own answer
before giving it.

What a callable accepts is judged by what the call itself would do. A plain function is judged by its code
object; partials, bound methods and callable objects are peeled down to theirs. ``__wrapped__`` is not
followed: a decorator may add arguments of its own, so the wrapped function's signature says nothing certain
about the wrapper, and a good job must never be refused. Classes and built-in functions need ``inspect``,
which is slow to import: it is imported when the first such callable
comes along, and its answers are kept for as long as the callable lives.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from schedcore.allowed import limits
from schedcore.errors import JobArgumentsError, ReferenceLookupError, contained, error_text

__all__ = [
    "Parameters",
    "UnnameableCallableError",
    "callable_name",
    "check_arguments",
    "is_coroutine_callable",
    "parameters_of",
    "ref_of",
    "resolve",
    "unbind",
]

_ADVICE = 'use a function that a module defines at its top level, or give it as "package.module:name"'

# Flags of a code object, as documented in ``inspect`` (CO_VARARGS, CO_VARKEYWORDS, CO_COROUTINE,
# CO_ITERABLE_COROUTINE).
_VAR_POSITIONAL = 0x04
_VAR_KEYWORD = 0x08
_VARIADIC = _VAR_POSITIONAL | _VAR_KEYWORD
_AWAITED = 0x80 | 0x100

_PLAIN_NEW: Any = object.__new__
_LRU_CACHE = functools._lru_cache_wrapper


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
                f"cannot resolve {text!r}: {where} has no attribute {name!r}{_near(name, dir(target))}"
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


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


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


# --- arguments ---


class Parameters(NamedTuple):
    """What a callable accepts.

    ``positional`` names the positional parameters in order: the first ``positional_only`` of them cannot be
    given by keyword, the first ``required`` have no default.
    """

    positional: tuple[str, ...]
    positional_only: int
    required: int
    keyword_only: tuple[str, ...]
    keyword_required: frozenset[str]
    var_positional: bool
    var_keyword: bool

    @property
    def by_keyword(self) -> tuple[str, ...]:
        """The names that may be given by keyword."""
        return self.positional[self.positional_only :] + self.keyword_only

    def problems(self, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> list[str]:
        """What is wrong with these arguments, in words; empty when they fit."""
        found: list[str] = []
        count = len(args)
        given = self.positional[:count]
        if count > len(self.positional) and not self.var_positional:
            most = len(self.positional)
            takes = f"at most {most} positional argument{'s' * (most != 1)}" if most else "no positional arguments"
            found.append(f"takes {takes}, {count} given")
        by_position = set(given[self.positional_only :])
        known = set(self.by_keyword)
        only = self.positional[: self.positional_only]
        for name in kwargs:
            if not isinstance(name, str):
                found.append(f"keyword names must be text, not {name!r}")
            elif name in by_position:
                found.append(f"argument {name!r} is given twice, by position and by keyword")
            elif name in known or self.var_keyword:
                continue
            elif name in only:
                found.append(f"argument {name!r} can be given by position only")
            else:
                found.append(f"unexpected keyword argument {name!r}{_near(name, self.by_keyword)}")
        missing = [
            name
            for index, name in enumerate(self.positional[count : self.required], count)
            if index < self.positional_only or name not in kwargs
        ]
        if missing:
            found.append(_missing("required", missing))
        missing = [name for name in self.keyword_only if name in self.keyword_required and name not in kwargs]
        if missing:
            found.append(_missing("keyword-only", missing))
        return found

    def without(self, count: int) -> Parameters:
        """These parameters with the first *count* positional ones taken (``self``, ``cls``)."""
        return self._replace(
            positional=self.positional[count:],
            positional_only=max(0, self.positional_only - count),
            required=max(0, self.required - count),
        )


def _missing(kind: str, names: list[str]) -> str:
    return f"missing {kind} argument{'s' * (len(names) != 1)} {', '.join(map(repr, names))}"


def check_arguments(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise ``JobArgumentsError`` unless ``func(*args, **kwargs)`` fits the signature of *func*; nothing is
    called.

    A callable whose signature cannot be known (some built-in functions) accepts everything.
    """
    # Kept flat, and without a cache to look into: it runs for every job that is added, nearly always with a
    # plain function that fits.
    if not kwargs and (type(args) is tuple or type(args) is list):
        if type(func) is FunctionType:
            function, count = func, len(args)
        elif type(func) is MethodType and type(func.__func__) is FunctionType:
            function, count = func.__func__, len(args) + 1
        else:
            return _check_in_full(func, args, kwargs)
        code = function.__code__
        if not code.co_kwonlyargcount and not code.co_flags & _VARIADIC:
            most = code.co_argcount
            if count == most:
                return None
            defaults = function.__defaults__
            if defaults and most - len(defaults) <= count < most:
                return None
    return _check_in_full(func, args, kwargs)


def _check_in_full(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if type(args) is not tuple and type(args) is not list:
        _check_kind(func, args)
    if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
        raise JobArgumentsError(
            f"the keyword arguments of {callable_name(func)}() must be a mapping of names to values, not {kwargs!r}"
        )
    inner = func
    while type(inner) is functools.partial and not _has_placeholder(inner):
        args = (*inner.args, *args)
        kwargs = {**inner.keywords, **kwargs}
        inner = inner.func
    parameters = parameters_of(inner)
    if parameters is not None:
        problems = parameters.problems(args, kwargs)
        if problems:
            raise JobArgumentsError(f"the arguments do not fit {callable_name(func)}(): {'; '.join(problems)}")


def _check_kind(func: Callable[..., Any], args: object) -> None:
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Sequence):
        raise JobArgumentsError(
            f"the positional arguments of {callable_name(func)}() must be a list or tuple, not {args!r}; "
            f"a single one is written [{args!r}]"
        )


def _has_placeholder(func: functools.partial[Any]) -> bool:
    placeholder = getattr(functools, "Placeholder", None)  # Python 3.14
    return placeholder is not None and any(arg is placeholder for arg in func.args)


# id(callable) -> (weak reference to it, what must still be the same about it, its parameters). By identity,
# as a callable object may compare equal to others, or not be hashable at all.
_seen: dict[int, tuple[weakref.ref[Any], object, object, Parameters | None]] = {}


def parameters_of(func: Callable[..., Any]) -> Parameters | None:
    """What *func* accepts, seen from the caller (without ``self``); None when that cannot be known."""
    if type(func) is FunctionType:
        return _of_function(func)
    if isinstance(func, MethodType):
        inner = parameters_of(func.__func__)
        return inner and inner.without(1)
    if type(func) is _LRU_CACHE:  # passes on what it is given
        return parameters_of(func.__wrapped__)
    cls: Any = func if isinstance(func, type) else type(func)
    if cls is func:
        # An ordinary class: calling it runs its own __init__ and nothing else that looks at the arguments.
        if type(cls).__call__ is type.__call__ and cls.__new__ is _PLAIN_NEW:
            init = cls.__init__
            if type(init) is FunctionType and "__signature__" not in cls.__dict__:
                return _of_function(init).without(1)
    elif not isinstance(func, functools.partial):
        call = getattr(cls, "__call__", None)  # noqa: B004 (the method is wanted, not the answer "callable")
        if type(call) is FunctionType:
            return _of_function(call).without(1)
    known = _seen.get(id(func))
    if known is not None and known[0]() is func:
        return known[3]
    parameters = _inspected(func)
    _remember(func, None, None, parameters)
    return parameters


def _of_function(func: FunctionType) -> Parameters:
    code, defaults = func.__code__, func.__defaults__
    known = _seen.get(id(func))
    if known is not None and known[0]() is func and known[1] is code and known[2] is defaults and known[3]:
        return known[3]
    parameters = None
    if code.co_flags & _VARIADIC and "__signature__" in func.__dict__:
        parameters = _inspected(func)  # a variadic wrapper that says itself what it takes
    if parameters is None:
        parameters = _of_code(code, defaults, func.__kwdefaults__)
    _remember(func, code, defaults, parameters)
    return parameters


def _remember(func: Callable[..., Any], code: object, defaults: object, parameters: Parameters | None) -> None:
    key = id(func)

    def forget(reference: weakref.ref[Any]) -> None:
        kept = _seen.get(key)
        if kept is not None and kept[0] is reference:
            del _seen[key]

    try:
        _seen[key] = (weakref.ref(func, forget), code, defaults, parameters)
    except TypeError:  # not every object can be referred to weakly
        pass


def _of_code(code: CodeType, defaults: tuple[Any, ...] | None, kwdefaults: Mapping[str, Any] | None) -> Parameters:
    count = code.co_argcount
    names = code.co_varnames
    keyword_only = names[count : count + code.co_kwonlyargcount]
    return Parameters(
        positional=names[:count],
        positional_only=code.co_posonlyargcount,
        required=count - len(defaults or ()),
        keyword_only=keyword_only,
        keyword_required=frozenset(keyword_only).difference(kwdefaults or ()),
        var_positional=bool(code.co_flags & _VAR_POSITIONAL),
        var_keyword=bool(code.co_flags & _VAR_KEYWORD),
    )


def _inspected(func: Callable[..., Any]) -> Parameters | None:
    import inspect

    try:
        found = list(inspect.signature(func, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):  # not a callable with a known signature
        return None
    positional = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword_only = [p for p in found if p.kind is p.KEYWORD_ONLY]
    return Parameters(
        positional=tuple(p.name for p in positional),
        positional_only=sum(p.kind is p.POSITIONAL_ONLY for p in positional),
        required=sum(p.default is p.empty for p in positional),
        keyword_only=tuple(p.name for p in keyword_only),
        keyword_required=frozenset(p.name for p in keyword_only if p.default is p.empty),
        var_positional=any(p.kind is p.VAR_POSITIONAL for p in found),
        var_keyword=any(p.kind is p.VAR_KEYWORD for p in found),
    )
