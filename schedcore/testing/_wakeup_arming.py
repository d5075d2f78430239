"""The timer of a wakeup: what is armed is called once, in time, unless something else was armed, or nothing any more."""

from __future__ import annotations

import time

from schedcore.testing._suite import until
from schedcore.testing._wakeup_bench import Bench, behaviour, raise_error

__all__: list[str] = []

_DAY_S = 86400.0


@behaviour("calls what was armed, once, in the framework's thread")
def _once(bench: Bench) -> None:
    bench.arm(0.001, "armed")
    assert bench.wait() == ["armed"]
    bench.pass_time(0.01)
    assert bench.told == ["armed"], "it was called again"
    assert bench.threads == {bench.thread}, "it was called in another thread"


@behaviour("does not call before its time, but for the framework's resolution")
def _not_early(bench: Bench) -> None:
    for number, delay_s in enumerate((0.03, 0.0105), 1):
        begun_s = time.monotonic()
        bench.arm(delay_s, delay_s)
        bench.wait(number)
        passed_s = bench.calls[-1][2] - begun_s
        assert passed_s >= delay_s - bench.traits.early_s, f"armed for {delay_s} s it went off after {passed_s:.4f} s"


@behaviour("calls after no delay at all, but not inside of arm")
def _zero(bench: Bench) -> None:
    def arm() -> None:
        bench.wakeup.arm(0, bench.teller("armed"))
        bench.tell("after arm")

    bench.call(arm)
    assert bench.wait(2) == ["after arm", "armed"]


@behaviour("takes delays too short for any timer")
def _tiny(bench: Bench) -> None:
    for number, delay_s in enumerate((1e-9, 1e-6, 5e-324, 1e-4)):
        bench.arm(delay_s, delay_s)
        bench.wait(number + 1)


@behaviour("arms in the place of what was armed before, be that earlier or later")
def _rearm(bench: Bench) -> None:
    bench.arm(60, "later")
    bench.arm(0.005, "earlier")
    assert bench.wait() == ["earlier"], "the earlier one was not called in the place of the later"

    def twice() -> None:
        bench.wakeup.arm(0.001, bench.teller("replaced"))
        bench.wakeup.arm(0.02, bench.teller("in its place"))

    bench.call(twice)
    assert bench.wait(2)[1:] == ["in its place"], "what was replaced was called"
    bench.pass_time(0.01)
    assert len(bench.told) == 2


@behaviour("arms in the place of what is due already")
def _rearm_due(bench: Bench) -> None:
    def twice() -> None:
        bench.wakeup.arm(0, bench.teller("replaced"))
        bench.wakeup.arm(0, bench.teller("in its place"))

    bench.call(twice)
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["in its place"], f"called were {bench.told}"


@behaviour("is armed ten thousand times over, and calls the last")
def _many_arms(bench: Bench) -> None:
    def many() -> None:
        for number in range(10_000):
            bench.wakeup.arm(0.0001 + number % 7, _never)
        bench.wakeup.arm(0.001, bench.teller("last"))

    def _never() -> None:
        bench.tell("replaced")

    bench.call(many)
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["last"], f"called were {bench.told[:10]}"


@behaviour("does not call what was disarmed")
def _disarm(bench: Bench) -> None:
    def both(delay_s: float) -> None:
        bench.wakeup.arm(delay_s, bench.teller(delay_s))
        bench.wakeup.disarm()

    for delay_s in (0, 0.001, 0.01):
        bench.call(lambda: both(delay_s))  # noqa: B023  # it is made at once
    bench.arm(0.005, "disarmed later")
    bench.call(bench.wakeup.disarm)
    told = bench.told
    bench.pass_time()
    # On a machine that was held up the timer may have gone off before it was disarmed.
    assert told in ([], ["disarmed later"]), f"called were {told}"
    assert bench.told == told, f"called were {bench.told}"


@behaviour("does not call what is disarmed in the very moment when it is due")
def _disarm_due(bench: Bench) -> None:
    def late() -> None:
        bench.wakeup.arm(0.001, bench.teller("armed"))
        time.sleep(0.01)  # the loop is kept busy until it is overdue
        bench.wakeup.disarm()

    bench.call(late)
    bench.pass_time(0.01)
    assert bench.told == [], "it was called"


@behaviour("may be disarmed twice, and with nothing armed, and armed again")
def _disarm_twice(bench: Bench) -> None:
    def disarm() -> None:
        bench.wakeup.disarm()
        bench.wakeup.disarm()

    bench.call(disarm)
    bench.arm(0.001, 1)
    bench.wait(1)
    bench.call(disarm)
    bench.arm(0.001, 2)
    assert bench.wait(2) == [1, 2]


@behaviour("may be armed by what it calls, again and again")
def _rearm_inside(bench: Bench) -> None:
    def again(number: int) -> None:
        bench.tell(number)
        if number < 49:
            bench.wakeup.arm(0.0002 * (number % 2), lambda: again(number + 1))

    bench.call(lambda: bench.wakeup.arm(0, lambda: again(0)))
    assert bench.wait(50) == list(range(50))
    assert bench.threads == {bench.thread}


@behaviour("may be disarmed by what it calls")
def _disarm_inside(bench: Bench) -> None:
    def once() -> None:
        bench.wakeup.disarm()
        bench.tell("called")

    bench.call(lambda: bench.wakeup.arm(0.001, once))
    bench.wait()
    bench.arm(0.001, "again")
    assert bench.wait(2) == ["called", "again"]


@behaviour("forgets on disarm what was armed by what it called")
def _disarm_after_inside(bench: Bench) -> None:
    def once() -> None:
        bench.wakeup.arm(0, bench.teller("armed inside"))
        bench.wakeup.disarm()
        bench.tell("called")

    bench.call(lambda: bench.wakeup.arm(0, once))
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["called"], f"called were {bench.told}"


@behaviour("leaves the loop its turn when it is armed without delay again and again")
def _no_starving(bench: Bench) -> None:
    going = [0]

    def again() -> None:
        going[0] += 1
        bench.wakeup.arm(0, again)

    bench.call(lambda: bench.wakeup.arm(0, again))
    for number in range(10):
        bench.wakeup.call_soon(bench.teller(number))
    assert bench.wait(10) == list(range(10)), "call_soon found no turn"
    rounds = going[0]
    until(lambda: going[0] > rounds + 2000, "the timer found no turn beside call_soon")
    bench.call(bench.wakeup.disarm)


@behaviour("waits for 60 days, and for 100 years, and meanwhile does what else comes")
def _long(bench: Bench) -> None:
    for number, delay_s in enumerate((60 * _DAY_S, 100 * 365.2425 * _DAY_S)):
        bench.arm(delay_s, "long")
        bench.pass_time(0.01)
        bench.wakeup.call_soon(bench.teller("soon"))
        assert bench.wait(2 * number + 1)[2 * number :] == ["soon"], f"armed for {delay_s:.0f} s it went off at once"
        bench.arm(0.001, "short")
        assert bench.wait(2 * number + 2)[2 * number + 1 :] == ["short"], f"after {delay_s:.0f} s no other wait began"


@behaviour("goes on when what it calls raises")
def _armed_raises(bench: Bench) -> None:
    def fail() -> None:
        bench.tell("raises")
        raise_error()

    bench.call(lambda: bench.wakeup.arm(0, fail))
    bench.wait(1)
    bench.call(lambda: bench.wakeup.arm(0.001, fail))
    bench.wait(2)
    bench.arm(0.001, "after it")
    assert bench.wait(3) == ["raises", "raises", "after it"]
