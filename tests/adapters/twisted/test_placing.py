"""Which functions are seen to belong in the reactor's thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

import pytest
from twisted.internet import defer, task
from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from schedcore.adapters.twisted import in_reactor
from schedcore.adapters.twisted.placing import runs_in_reactor


async def coroutine() -> None:
    pass


@inlineCallbacks
def inline() -> Generator[Deferred[Any], Any, None]:
    yield succeed(None)


def annotated() -> Deferred[int]:
    return succeed(1)


def annotated_by_module() -> defer.Deferred[int]:
    return succeed(1)


def plain() -> int:
    return 1


def unseen():  # type: ignore[no-untyped-def]
    return succeed(1)


def names_it_only() -> dict[str, Deferred[int]]:
    return {}


def logged(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        return func(*args)

    return wrapper


@in_reactor
def marked():  # type: ignore[no-untyped-def]
    return succeed(1)


class Methods:
    @inlineCallbacks
    def inline(self) -> Generator[Deferred[Any], Any, None]:
        yield succeed(None)

    @in_reactor
    def marked(self) -> None:
        pass

    def plain(self) -> None:
        pass


class Callable_:
    def __call__(self) -> Deferred[int]:
        return succeed(1)


def annotated_with_an_object() -> Any:
    pass


annotated_with_an_object.__annotations__["return"] = Deferred[int]


@pytest.mark.parametrize(
    "func",
    [
        coroutine,
        inline,
        annotated,
        annotated_by_module,
        annotated_with_an_object,
        marked,
        functools.partial(inline),
        functools.partial(functools.partial(coroutine)),
        logged(inline),
        logged(logged(coroutine)),
        logged(marked),
        Methods().inline,
        Methods().marked,
        functools.partial(Methods().marked),
        Callable_(),
        task.deferLater,
        task.LoopingCall(plain).start,
        in_reactor(functools.partial(unseen)),
    ],
    ids=repr,
)
def test_seen(func: Callable[..., Any]) -> None:
    assert runs_in_reactor(func)


@pytest.mark.parametrize(
    "func",
    [plain, unseen, names_it_only, logged(plain), functools.partial(plain), Methods().plain, Methods, print, len],
    ids=repr,
)
def test_not_seen(func: Callable[..., Any]) -> None:
    assert not runs_in_reactor(func)


def test_a_wrapper_of_itself_is_looked_at_for_a_while_only() -> None:
    def func() -> None:
        pass

    func.__wrapped__ = func  # type: ignore[attr-defined]
    assert not runs_in_reactor(func)


def test_what_takes_no_mark_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"print takes no mark; .* add its job with executor='reactor'"):
        in_reactor(print)
    with pytest.raises(TypeError, match=r"Methods\.plain takes no mark; decorate the function"):
        in_reactor(Methods().plain)
    # It is Twisted's own, and needs none.
    assert in_reactor(Deferred().callback).__name__ == "callback"
