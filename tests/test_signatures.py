from __future__ import annotations

import functools
import gc
import inspect
import time
import types
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from schedcore import signatures
from schedcore.errors import JobArgumentsError
from schedcore.signatures import check_arguments, parameters_of


def none() -> None: ...
def two(a: int, b: int) -> None: ...
def default(a: int, b: int = 2) -> None: ...
def keyword(a: int = 1, *, b: int, c: int = 3) -> None: ...
def positional(a: int, b: int = 2, /, c: int = 3) -> None: ...
def absorbing(a: int, /, *args: int, **kwargs: int) -> None: ...
def anything(*args: int, **kwargs: int) -> None: ...


class Made:
    def __init__(self, a: int, *, b: int = 2) -> None: ...
    def method(self, a: int, b: int = 2) -> None: ...
    @classmethod
    def make(cls, a: int) -> None: ...
    @staticmethod
    def static(a: int) -> None: ...
    def __call__(self, a: int) -> None: ...


class ByNew:
    def __new__(cls, a: int) -> ByNew:
        return object.__new__(cls)


class Bare: ...


class Meta(type):
    def __call__(cls, x: int) -> int:
        return x


class ByMeta(metaclass=Meta): ...


@functools.wraps(two)
def adds_one(*args: Any, **kwargs: Any) -> None: ...


def declares(*args: Any, **kwargs: Any) -> None: ...


declares.__signature__ = inspect.signature(two)  # type: ignore[attr-defined]


@functools.lru_cache
def cached(a: int) -> None: ...


FUNCTIONS: list[Any] = [
    *(none, two, default, keyword, positional, absorbing, anything, adds_one),
    *(Made, Made.make, Made.static, Made(1), Made(1).method, Made(1).make, ByNew, Bare),
    *(functools.partial(two, 1), functools.partial(two, b=1), functools.partial(keyword, b=1)),
    *(functools.partial(functools.partial(default), 1), functools.partial(Made(1).method, 1)),
    *(lambda: None, lambda a, b=1: None),
]
CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    (args, kwargs)
    for args in ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    for kwargs in ({}, {"a": 1}, {"b": 1}, {"c": 1}, {"a": 1, "b": 2}, {"b": 1, "c": 2}, {"z": 1})
]


@pytest.mark.parametrize("func", FUNCTIONS)
def test_the_check_agrees_with_the_call(func: Callable[..., Any]) -> None:
    for args, kwargs in CALLS:
        try:
            func(*args, **kwargs)
        except TypeError:
            with pytest.raises(JobArgumentsError):
                check_arguments(func, args, kwargs)
        else:
            check_arguments(func, args, kwargs)
            check_arguments(func, list(args), types.MappingProxyType(kwargs))


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "message"),
    [
        (two, (), {}, "the arguments do not fit two(): missing required arguments 'a', 'b'"),
        (two, (1,), {}, "the arguments do not fit two(): missing required argument 'b'"),
        (two, (), {"b": 1}, "missing required argument 'a'"),
        (two, (1, 2, 3), {}, "takes at most 2 positional arguments, 3 given"),
        (none, (1,), {}, "takes no positional arguments, 1 given"),
        (cached, (1, 2), {}, "takes at most 1 positional argument, 2 given"),
        (default, (1,), {"bb": 1}, "unexpected keyword argument 'bb'; did you mean 'b'?"),
        (none, (), {"zzz": 1}, "none(): unexpected keyword argument 'zzz'"),
        (default, (1,), {"a": 1}, "argument 'a' is given twice, by position and by keyword"),
        (positional, (), {"a": 1}, "argument 'a' can be given by position only; missing required argument 'a'"),
        (keyword, (), {}, "missing keyword-only argument 'b'"),
        (keyword, (1, 2), {}, "takes at most 1 positional argument, 2 given; missing keyword-only argument 'b'"),
        (absorbing, (), {"a": 1}, "missing required argument 'a'"),
        (Made(1).method, (), {}, "fit Made.method(): missing required argument 'a'"),
        (Made(1).method, (1, 2, 3), {}, "takes at most 2 positional arguments, 3 given"),
        (Made(1), (), {}, "fit Made(): missing required argument 'a'"),
        (Made, (), {"bb": 1}, "unexpected keyword argument 'bb'; did you mean 'b'?; missing required argument 'a'"),
        (ByNew, (), {}, "missing required argument 'a'"),
        (ByMeta, (), {}, "missing required argument 'x'"),
        (Bare, (1,), {}, "takes no positional arguments, 1 given"),
        (declares, (1,), {}, "missing required argument 'b'"),
        (functools.partial(two, 1), (), {}, "fit two(): missing required argument 'b'"),
        (len, (), {}, "fit len(): missing required argument 'obj'"),
        (time.sleep, (1, 2), {}, ""),
        (two, "ab", {}, "of two() must be a list or tuple, not 'ab'; a single one is written ['ab']"),
        (two, 5, {}, "must be a list or tuple, not 5"),
        (two, {1: 2}, {}, "must be a list or tuple, not {1: 2}"),
        (two, (), [1], "the keyword arguments of two() must be a mapping of names to values, not [1]"),
        (anything, (), {1: 2}, "keyword names must be text, not 1"),
    ],
)
def test_what_is_wrong_is_named(func: Callable[..., Any], args: Any, kwargs: Any, message: str) -> None:
    for _ in range(2):
        if not message:
            check_arguments(func, (1,), {})
            return
        with pytest.raises(JobArgumentsError) as caught:
            check_arguments(func, args, kwargs)
        assert message in str(caught.value)
        assert isinstance(caught.value, ValueError)


def test_a_decorator_that_adds_arguments_is_not_refused() -> None:
    check_arguments(adds_one, (1,), {})


def test_a_builtin_without_a_signature_accepts_everything() -> None:
    assert parameters_of(dict) is None
    check_arguments(dict, (1, 2, 3), {"x": 1})


def test_a_function_that_changed_is_judged_anew() -> None:
    def func(a: int, b: int = 2) -> None: ...

    check_arguments(func, (), {"a": 1})
    func.__defaults__ = None
    with pytest.raises(JobArgumentsError, match="'b'"):
        check_arguments(func, (), {"a": 1})
    func.__code__ = (lambda: None).__code__
    check_arguments(func, (), {})


def test_callables_that_went_away_are_forgotten() -> None:
    class Short:
        def __new__(cls, a: int) -> Any:
            return object.__new__(cls)

    def func(a: int) -> None: ...

    both: list[Any] = [Short, func]
    for short in both:
        check_arguments(short, (), {"a": 1})
        assert id(short) in signatures._seen
    keys = [id(Short), id(func)]
    gone: list[weakref.ref[Any]] = [weakref.ref(Short), weakref.ref(func)]
    del Short, func, short, both
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    for key in keys:
        kept = signatures._seen.get(key)
        assert kept is None or kept[0]() is not None


def test_odd_objects_are_told_apart_by_identity() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, call: Callable[..., Any]) -> None:
            self.call = call

        def __eq__(self, other: object) -> bool:
            return True

        def __call__(self, a: int) -> None: ...

    check_arguments(Odd(none), (1,), {})
    with pytest.raises(JobArgumentsError):
        check_arguments(Odd(two), (), {})


def test_mocks_accept_everything() -> None:
    check_arguments(mock.Mock(), (1, 2), {"c": 3})
    spec = mock.create_autospec(two)
    with pytest.raises(JobArgumentsError):
        check_arguments(spec, (), {})
