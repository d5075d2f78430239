"""What callables accept, judged by what the call itself would do.

A plain function is judged by its code object; partials, bound methods and callable objects are peeled down to
theirs. ``__wrapped__`` is not followed: a decorator may add arguments of its own, so the wrapped function's
signature says nothing certain about the wrapper, and a good job must never be refused. Classes and built-in
functions need ``inspect``, which is slow to import: it is imported when the first such callable comes along,
and its answers are kept for as long as the callable lives.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from schedcore.errors import JobArgumentsError, nearest
from schedcore.references import callable_name

__all__ = ["Parameters", "check_arguments", "parameters_of"]

# Flags of a code object, as documented in ``inspect`` (CO_VARARGS, CO_VARKEYWORDS).
_VAR_POSITIONAL = 0x04
_VAR_KEYWORD = 0x08
_VARIADIC = _VAR_POSITIONAL | _VAR_KEYWORD

_PLAIN_NEW: Any = object.__new__
_LRU_CACHE = functools._lru_cache_wrapper


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
                found.append(f"unexpected keyword argument {name!r}{nearest(name, self.by_keyword)}")
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
