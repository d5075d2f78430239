"""What is kept of what a job returned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcore.run import result_text

LEAVES = st.none() | st.integers() | st.floats() | st.text("abc", max_size=60) | st.binary(max_size=60)
MANY: Any = {"max_size": 9}
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, **MANY) | st.lists(inner, **MANY).map(tuple) | st.dictionaries(st.text("abc"), inner, **MANY)
    ),
    max_leaves=30,
)


class Counted:
    made = 0

    def __repr__(self) -> str:
        Counted.made += 1
        return "x"


class Raises:
    def __repr__(self) -> str:
        raise LookupError


@pytest.mark.slow
@given(DATA)
def test_it_is_the_repr_or_the_beginning_of_it(value: Any) -> None:
    whole = repr(value)
    if value is None:
        assert result_text(value, 30) is None
    elif len(whole) <= 30:
        assert result_text(value, 30) == whole
    else:
        assert result_text(value, 30) == whole[:29] + "…"


@pytest.mark.parametrize("value", [[], (), {}, set(), "", b"", 0, [1, "a", (2.5, {"b": b"c"}), {None}], "a" * 998])
def test_a_short_result_is_its_repr(value: object) -> None:
    assert result_text(value) == repr(value)


@pytest.mark.parametrize(
    "wrap",
    [list, tuple, lambda many: {"rows": many}, lambda many: [[[many]] * 9] * 9, lambda many: dict(enumerate(many))],
)
def test_of_a_large_result_no_more_is_looked_at_than_is_kept(wrap: Any) -> None:
    Counted.made = 0
    text = result_text(wrap([Counted()] * 100_000))
    assert text is not None
    assert len(text) == 1000
    assert text.endswith("…")
    assert Counted.made <= 1000


def test_of_a_long_text_in_a_set_the_beginning_is_kept() -> None:
    text = result_text({"a" * 10_000_000})
    assert text == "{'" + 997 * "a" + "…"


def test_a_value_that_holds_itself_has_a_text() -> None:
    value: list[Any] = [1]
    value.append(value)
    text = result_text(value)
    assert text is not None
    assert text.startswith("[1, [1, ")


def test_a_repr_that_raises_is_told_as_such() -> None:
    assert result_text(Raises()) == "<Raises whose repr raised LookupError>"
    assert result_text([Raises()]) == "<list whose repr raised LookupError>"
