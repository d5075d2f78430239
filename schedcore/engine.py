"""Decides: what is due, what runs, what is skipped and why, and what the next fire time is.

Pure: no I/O, no thread, no clock. ``decide`` is given a claim on a due job and the current instant, and answers with a
``Decision``, which a store commits and a scheduler carries out. Equal input gives equal output; randomness (jitter) is passed in.

Theory of operation. A claim names the first fire time that nothing has been decided about, ``fire_us``. All fire
times from there up to ``now_us`` are the *backlog*; nearly always it is that one. The rules are applied in this
order, and each fire time of the backlog ends either in ``fires`` or in exactly one of ``skips``:

1. *misfire*: with a ``misfire_grace_us``, those whose dispatch is later than that are skipped; 2. *coalesce*: of the
   rest, only the last runs (``coalesce=True``), or the oldest ``max_catchup`` of them do; 3. *overlap*: if
   ``max_instances`` runs are live already, what is left is skipped.

Several that are left of an uncoalesced backlog follow each other, and the runs that are live: the scheduler hands no more than
``max_instances`` of them to the executor at a time. They were missed, and that a run is live at this moment says nothing of
when they fell due: a store that was away gives the run before them last, just as it comes back. They are skipped only where
runs of an earlier backlog wait already (more are live than ``max_instances``), so that no job gathers more and more.

Fire times that a calendar rules out are no fire times, and not in the backlog; nor are local times that do not exist. They
are told in one more skip for each of these reasons, with the decision about the run before them: those between the first
fire time of the backlog and the next fire time. What comes before a job's first fire time is told when that is computed
(``omitted``).

Whatever a trigger does, the next fire time is later than the last one decided about: a trigger that answers otherwise, or
raises, sets its job aside (``broken``), after the runs that are due already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schedcore.errors import contained, error_text
from schedcore.job import JobRecord
from schedcore.run import Skip, SkipReason
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.foreign import MAX_STEPS, PATIENCE, WALK_S, OutOfPatienceError

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__

__all__ = ["Claim", "Decision", "decide", "dispatch_us", "omitted", "plain_next"]


class Claim(NamedTuple):
    """A due job that this scheduler, and no other, may decide about. ``token`` belongs to the store."""

    job: JobRecord
    fire_us: int
    due_us: int  #: when the fire time was to be dispatched; later than ``fire_us`` with jitter
    live: int  #: runs of the job that are live now
    token: Any
    broken: str | None = (
        None  #: why the job cannot be loaded; then its record has no function, and it is set aside undecided
    )


class Decision(NamedTuple):
    """What becomes of a claim. Every fire time up to now is in ``fires`` or counted in one of ``skips``."""

    claim: Claim
    fires: tuple[int, ...]  #: fire times to run, oldest first
    skips: tuple[Skip, ...]
    next_us: int | None  #: the next fire time; None: the schedule has ended, or the job is set aside
    due_us: int | None  #: when the next one is to be dispatched
    broken: str | None = None  #: why the job is set aside
    error: Exception | None = None  #: what its trigger raised


def decide(claim: Claim, now_us: int, random: Callable[[], float] | None = None) -> Decision:
    """Decide about a due job at the instant ``now_us``. ``random`` gives floats in [0, 1) for jitter.

    Raises nothing but what is for the whole program (``KeyboardInterrupt``, and in the main thread ``SystemExit``).
    """
    job, fire_us, due_us, live, _, broken = claim
    if broken is not None:
        return Decision(claim, (), (), None, None, broken)
    trigger = job.trigger
    if trigger.foreign and not PATIENCE.depth:
        with PATIENCE:
            return decide(claim, now_us, random)
    policy = job.policy
    left_out: tuple[Skip, ...] = ()
    try:
        next_us = trigger.next_us(fire_us)
        if next_us is not None and next_us <= now_us:
            if next_us <= fire_us:
                return _set_aside(claim, now_us, _standstill(trigger, fire_us, next_us))
            try:
                with PATIENCE.walk():
                    return _decide_backlog(claim, now_us, random)
            except OutOfPatienceError:
                return _decide_in_part(claim, next_us, now_us, random)
        next_due_us = next_us
        if next_us is not None:
            if next_us <= fire_us:
                return _set_aside(claim, now_us, _standstill(trigger, fire_us, next_us))
            if trigger.jitter_us:
                next_due_us = dispatch_us(trigger, next_us, random, job.id)
        if trigger.omits:
            left_out = omitted(trigger, fire_us, next_us)
    except BaseException as error:  # noqa: BLE001  # a trigger is anybody's code; its failure is this job's alone
        failure = contained(error)
        return _set_aside(claim, now_us, f"its trigger raised {error_text(failure)}", failure)
    # The common case: one fire time is due.
    grace_us = policy.misfire_grace_us
    if grace_us is not None and now_us - due_us > grace_us:
        return Decision(claim, (), (Skip(SkipReason.MISFIRED, fire_us, fire_us, 1), *left_out), next_us, next_due_us)
    if live >= policy.max_instances:
        return Decision(claim, (), (Skip(SkipReason.OVERLAP, fire_us, fire_us, 1), *left_out), next_us, next_due_us)
    return _new(Decision, (claim, (fire_us,), left_out, next_us, next_due_us, None, None))


def plain_next(job: JobRecord, fire_us: int, due_us: int, live: int, now_us: int) -> int | None:
    """The next fire time, where ``decide`` would say no more than "run this one, and that comes next"; else None.

    For stores that can claim, decide and commit in one step. It asks only triggers that say they are ``plain``, because
    that step may hold a lock.
    """
    trigger = job.trigger
    policy = job.policy
    if not trigger.plain or live >= policy.max_instances:
        return None
    if trigger.jitter_us or trigger.excludes:
        return None
    grace_us = policy.misfire_grace_us
    if grace_us is not None and now_us - due_us > grace_us:
        return None
    next_us = trigger.next_us(fire_us)
    if next_us is None or next_us <= now_us or next_us <= fire_us:
        return None
    return None if trigger.omits and trigger.swallowed(fire_us, next_us) else next_us


def _decide_backlog(claim: Claim, now_us: int, random: Callable[[], float] | None) -> Decision:
    job, fire_us, due_us, live, *_ = claim
    trigger = job.trigger
    policy = job.policy
    skips: list[Skip] = []
    first_us: int | None = fire_us
    if policy.misfire_grace_us is not None:
        # Jitter delays a dispatch, so lateness counts from the dispatch of the first one; the others have drawn none yet.
        limit_us = now_us - policy.misfire_grace_us
        if due_us < limit_us:
            late = trigger.backlog(fire_us, limit_us - 1)
            last_late_us = fire_us if late.last_us is None else late.last_us
            skips.append(Skip(SkipReason.MISFIRED, fire_us, last_late_us, 1 + late.times))
            first_us = late.next_us
            if first_us is not None and first_us <= last_late_us:
                reason = _standstill(trigger, last_late_us, first_us)
                return Decision(claim, (), tuple(skips), None, None, reason)
    fires: list[int] = []
    if first_us is None or first_us > now_us:
        next_us = first_us
        decided_us = skips[-1].last_us
    else:
        rest = trigger.backlog(first_us, now_us)
        last_us = first_us if rest.last_us is None else rest.last_us
        next_us = rest.next_us
        decided_us = last_us
        if policy.coalesce:
            fires.append(last_us)
            if rest.times:
                skips.append(Skip(SkipReason.COALESCED, first_us, _before(trigger, first_us, last_us), rest.times))
        else:
            at_us = first_us
            fires.append(at_us)
            while at_us < last_us:
                after_us = trigger.next_us(at_us)
                if after_us is None or after_us <= at_us:
                    # It contradicts itself: what it named so far stands, and nothing after that is known.
                    next_us = decided_us = at_us
                    break
                if len(fires) == policy.max_catchup:
                    skips.append(Skip(SkipReason.CATCHUP_LIMIT, after_us, last_us, 1 + rest.times - len(fires)))
                    break
                at_us = after_us
                fires.append(at_us)
        if live > policy.max_instances or (live == policy.max_instances and len(fires) == 1):
            skips.append(Skip(SkipReason.OVERLAP, fires[0], fires[-1], len(fires)))
            fires.clear()
    if next_us is not None and next_us <= decided_us:
        reason = _standstill(trigger, decided_us, next_us)
        return Decision(claim, tuple(fires), tuple(skips), None, None, reason)
    next_due_us = None if next_us is None else dispatch_us(trigger, next_us, random, job.id)
    if trigger.omits:
        skips.extend(omitted(trigger, fire_us, next_us, skips))
    return Decision(claim, tuple(fires), tuple(skips), next_us, next_due_us)


def _decide_in_part(claim: Claim, next_us: int, now_us: int, random: Callable[[], float] | None) -> Decision:
    """Decide about a backlog that takes too long to ask about: as far as it is known, which is to ``next_us`` at least.

    Where all of it becomes one run, or none, it is asked where it ends, and counts are lower bounds. Else the rest is left for
    the next decision, which follows at once.
    """
    job, fire_us, due_us, live, *_ = claim
    trigger, policy = job.trigger, job.policy
    known = [fire_us, next_us]
    try:
        with PATIENCE.walk(1.5 * WALK_S):  # answers that are known take no time, and for others there is some left
            while len(known) < MAX_STEPS:
                at_us = trigger.next_us(known[-1])
                if at_us is None or not known[-1] < at_us <= now_us:
                    break
                known.append(at_us)
    except OutOfPatienceError:
        pass
    skips: list[Skip] = []
    fires: list[int] = []
    following_us: int | None = known[-1]
    grace_us = policy.misfire_grace_us
    if grace_us is not None and now_us - due_us > grace_us:
        late = [fire_us, *(at_us for at_us in known[1:] if at_us < now_us - grace_us)]
        later_us = known[len(late)] if len(late) < len(known) else None
        following_us = later_us or _following(trigger, now_us - grace_us, late)
        skips.append(Skip(SkipReason.MISFIRED, late[0], late[-1], len(late)))
    elif policy.coalesce:
        following_us = _following(trigger, now_us + 1, known)
        fires.append(known.pop())
        if known:
            skips.append(Skip(SkipReason.COALESCED, known[0], known[-1], len(known)))
    elif len(known) > policy.max_catchup:
        following_us = _following(trigger, now_us + 1, known)
        fires, rest = known[: policy.max_catchup], known[policy.max_catchup :]
        if rest:
            skips.append(Skip(SkipReason.CATCHUP_LIMIT, rest[0], rest[-1], len(rest)))
    else:
        fires = known[:-1]
    if fires and (live > policy.max_instances or (live == policy.max_instances and len(fires) == 1)):
        skips.append(Skip(SkipReason.OVERLAP, fires[0], fires[-1], len(fires)))
        fires.clear()
    following_due_us = None if following_us is None else dispatch_us(trigger, following_us, random, job.id)
    if trigger.omits:
        skips.extend(omitted(trigger, fire_us, following_us, skips))
    return Decision(claim, tuple(fires), tuple(skips), following_us, following_due_us)


def _following(trigger: EngineTrigger, from_us: int, known: list[int]) -> int | None:
    """The first fire time from an instant on; of a trigger that cannot be asked so the last one known, which is taken out."""
    answer_us = trigger.first_us(from_us)
    return answer_us if answer_us is None or answer_us > known[-1] else known.pop()


def omitted(trigger: EngineTrigger, after_us: int, next_us: int | None, skips: Sequence[Skip] = ()) -> tuple[Skip, ...]:
    """What a trigger that ``omits`` leaves out between two fire times, or between the last one and the end: one skip for what a
    calendar rules out, and one for the local times that do not exist.

    ``skips``: what else is told at the same time. Local times that do not exist are on record where they would have been over,
    or a microsecond earlier where something else may be on record. Nothing where users' code takes too long to say it.
    """
    if not trigger.foreign:
        return _omitted(trigger, after_us, next_us, skips)
    try:
        with PATIENCE.walk():
            return _omitted(trigger, after_us, next_us, skips)
    except OutOfPatienceError:
        return ()


def _omitted(trigger: EngineTrigger, after_us: int, next_us: int | None, skips: Sequence[Skip]) -> tuple[Skip, ...]:
    if next_us is None:
        if trigger.end_us is None:
            return ()
        next_us = trigger.end_us + 1
    found: list[Skip] = []
    if trigger.excludes:
        excluded = trigger.excluded(after_us, next_us)
        if excluded is not None:
            found.append(Skip(SkipReason.EXCLUDED, *excluded[1:], excluded[0]))
    swallowed = trigger.swallowed(after_us, next_us)
    if swallowed:
        at_us, last_us = min(swallowed).at_us, max(swallowed).at_us
        taken = {next_us, *(skip.first_us for skip in (*skips, *found))}
        while at_us in taken:
            at_us -= 1
        times = sum(each.times for each in swallowed)
        found.append(Skip(SkipReason.GAP, at_us, at_us if len(swallowed) == 1 else last_us, times))
    return tuple(found)


def _before(trigger: EngineTrigger, first_us: int, last_us: int) -> int:
    """The fire time before ``last_us``, for the record of a coalesced backlog."""
    before = trigger.backlog(first_us, last_us - 1)
    return first_us if before.last_us is None else before.last_us


def _standstill(trigger: EngineTrigger, fire_us: int, next_us: int) -> str:
    return f"its trigger does not advance: after {fire_us} us it answered {next_us} us ({trigger})"


def _set_aside(claim: Claim, now_us: int, reason: str, error: Exception | None = None) -> Decision:
    """The fire time that is due is known, and the rules that need no trigger apply to it; nothing after it can be known."""
    job, fire_us, due_us, live, *_ = claim
    grace_us = job.policy.misfire_grace_us
    if grace_us is not None and now_us - due_us > grace_us:
        return Decision(claim, (), (Skip(SkipReason.MISFIRED, fire_us, fire_us, 1),), None, None, reason, error)
    if live >= job.policy.max_instances:
        return Decision(claim, (), (Skip(SkipReason.OVERLAP, fire_us, fire_us, 1),), None, None, reason, error)
    return Decision(claim, (fire_us,), (), None, None, reason, error)


def dispatch_us(trigger: EngineTrigger, fire_us: int, random: Callable[[], float] | None, job_id: str = "") -> int:
    """When a fire time is dispatched: with jitter later than it, but before the next one and not beyond the end.

    ``job_id``: what a hashed jitter is made of, beside the fire time.
    """
    room_us = trigger.jitter_us
    if not room_us:
        return fire_us
    if room_us < 0:
        room_us = -room_us
        share = _hashed(job_id, fire_us)
    elif random is None:
        return fire_us
    else:
        share = random()
    next_us = trigger.next_us(fire_us)
    if next_us is not None:
        room_us = min(room_us, next_us - fire_us - 1)
    if trigger.end_us is not None:
        room_us = min(room_us, trigger.end_us - fire_us)
    return fire_us + int(share * max(0, room_us))


def _hashed(job_id: str, fire_us: int) -> float:
    """A number in [0, 1) that is the same wherever and whenever it is asked for."""
    from hashlib import blake2b

    digest = blake2b(f"{fire_us} {job_id}".encode("utf-8", "backslashreplace"), digest_size=6).digest()
    return int.from_bytes(digest) / (1 << 48)
