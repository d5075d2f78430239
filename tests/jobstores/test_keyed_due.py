"""What stores over keys remember of their timelines: never anything that is not so."""

from __future__ import annotations

import random

import pytest

from schedcore.jobstores import _keyed_due
from schedcore.jobstores._keyed_due import _Horizon


@pytest.mark.parametrize("instants", [1, 3, 40])
@pytest.mark.parametrize("upto_us", [None, 20])
def test_what_is_remembered_is_what_is_there(
    monkeypatch: pytest.MonkeyPatch, instants: int, upto_us: int | None
) -> None:
    """However many places are due at one instant; it may say that it does not know, but that it always does is of no use."""
    monkeypatch.setattr(_keyed_due, "_HORIZON", 8)
    chance = random.Random(f"{instants} {upto_us}")
    there = {(at_us, str(at_us)) for at_us in range(0, 30, 3)}
    horizon = _Horizon([place for place in there if upto_us is None or place[0] < upto_us], upto_us)
    asked = 0
    for number in range(600):
        if there and chance.random() < 0.4:
            place = chance.choice(sorted(there))
            there.discard(place)
            horizon.remove(place)
        else:
            place = (chance.randrange(instants), str(number))
            there.add(place)
            horizon.add(place)
        first = horizon.first()
        if first is None:
            asked += 1
            horizon = _Horizon([place for place in there if place[0] < instants], instants)
        else:
            assert first[0] == (min(there)[0] if there else None)
        at_us, limit = chance.randrange(instants + 1), chance.randrange(1, 12)
        found = horizon.upto(at_us, limit)
        if found is not None:
            assert found == sorted(place for place in there if place[0] <= at_us)[:limit]
    assert asked < 60


def test_of_thousands_that_are_due_at_one_instant_it_is_known_when_they_are() -> None:
    horizon = _Horizon([], None)
    for number in range(5_000):
        horizon.add((7, str(number)))
    assert horizon.first() == (7,)
    assert horizon.upto(6, 10) == []
    assert horizon.upto(7, 10) is None  # the earliest of them by their ids are not known
    horizon.add((5, "a"))
    assert (horizon.first(), horizon.upto(6, 10)) == ((5,), [(5, "a")])
