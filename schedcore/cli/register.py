"""Puts the jobs of a schedule file into a scheduler, as an ordinary client of it.

The file is the truth about its own jobs, as a crontab is: a job that is in it is added or changed (with an unchanged
trigger it keeps its next run time and phase), one that an earlier run took from the file and that is not in it any more is
removed. Jobs that others put into the same store are left alone. To know which are whose, each store keeps a *register* of
the file: a paused job that never runs, whose argument lists the ids. It is kept where the jobs are, so that it moves, and
is lost, with them.

The register is written before jobs are added and after jobs are removed: whenever the process dies, it misses no job.

A job whose schedule was over when an earlier run ended is not added again: a date does not come twice. What the register
says of each trigger tells it from one whose date was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schedcore.cli.schedule import STARTUP, JobSpec, ScheduleFile
from schedcore.cli.stores import StorePlace
from schedcore.cli.triggers import build_trigger
from schedcore.errors import FileSyntaxError, InvalidTriggerError, JobArgumentsError, ReferenceLookupError, UsageError
from schedcore.job import Job, JobState
from schedcore.schedulers.base import BaseScheduler
from schedcore.triggers.base import BaseTrigger

__all__ = ["REGISTER", "Synced", "check", "is_register", "register", "sync"]

#: The callable of the register.
REGISTER = "schedcore.cli.register:register"


def register(jobs: Mapping[str, str]) -> None:
    """What a register would call, if somebody let it run: nothing. ``jobs``: ids of the file's jobs, and their triggers."""


def is_register(func_ref: str | None) -> bool:
    """Whether a job is the register of a schedule file, which is not shown among the jobs."""
    return func_ref == REGISTER


class Synced(NamedTuple):
    """What came of putting a file's jobs into the stores."""

    removed: list[str]  #: ids of jobs that are not in the file any more
    over: list[str]  #: ids of jobs whose schedule has ended


def check(scheduler: BaseScheduler, file: ScheduleFile) -> None:
    """Try to add every job to a scheduler that is not started, and take them out again: nothing is opened or written.

    Raises ``FileSyntaxError`` at the value that is wrong.
    """
    for spec in file.jobs:
        trigger = build_trigger(file, spec)
        try:
            _add(scheduler, spec, trigger)
        except InvalidTriggerError as error:
            if not _has_ended(trigger):
                raise file.error(str(error), *spec.trigger.path) from error
        except UsageError as error:
            raise _placed(file, spec, error) from error
    scheduler.remove_all_jobs()


def _placed(file: ScheduleFile, spec: JobSpec, error: UsageError) -> FileSyntaxError:
    """An error of ``add_job``, at the value that it is about."""
    path = (*spec.path, "func")
    if isinstance(error, JobArgumentsError):
        for key, given in (("kwargs", spec.kwargs), ("args", spec.args)):
            if given:
                path = (*spec.path, key)
    elif not isinstance(error, ReferenceLookupError):
        path = spec.path
    return file.error(str(error), *path, value=True)


def _has_ended(trigger: BaseTrigger) -> bool:
    """Whether a trigger has fire times, but none any more."""
    long_ago = datetime(1970, 1, 2, tzinfo=UTC)
    return trigger.get_next_fire_time(None, long_ago) is not None


def _is_past(trigger: BaseTrigger) -> bool:
    now = datetime.now(UTC)
    first = trigger.get_next_fire_time(None, now)
    return first is None or first <= now


def _add(scheduler: BaseScheduler, spec: JobSpec, trigger: BaseTrigger) -> Job:
    func, args, kwargs = spec.target()
    options: dict[str, Any] = dict(spec.options)
    if spec.paused:
        options["next_run_time"] = None
    if spec.trigger.kind == STARTUP:
        # A run that a crash cut off is not made again beside the one that the next start makes.
        options.setdefault("recovery", "lost")
    return scheduler.add_job(
        func,
        trigger,
        args=args,
        kwargs=kwargs,
        id=spec.id,
        name=spec.name,
        jobstore=spec.jobstore,
        replace_existing=True,
        **options,
    )


def sync(scheduler: BaseScheduler, file: ScheduleFile, places: Sequence[StorePlace], key: str) -> Synced:
    """Make the stores of a running (better: paused) scheduler hold the jobs of the file. ``key`` is the file's name there."""
    result = Synced([], [])
    for place in places:
        specs = [spec for spec in file.jobs if spec.jobstore == place.alias]
        _sync_store(scheduler, file, place.alias, specs, f"schedcore:file:{key}", result)
    return result


def _sync_store(
    scheduler: BaseScheduler, file: ScheduleFile, alias: str, specs: list[JobSpec], register_id: str, result: Synced
) -> None:
    before = _read(scheduler, alias, register_id)
    triggers = {spec.id: build_trigger(file, spec) for spec in specs}
    rules = {spec.id: STARTUP if spec.trigger.kind == STARTUP else repr(triggers[spec.id]) for spec in specs}
    if not specs and not before:
        return
    _write(scheduler, alias, register_id, file, {**before, **rules})
    for spec in specs:
        trigger = triggers[spec.id]
        known = before.get(spec.id) == rules[spec.id] != STARTUP
        if known and _is_past(trigger) and scheduler.get_job(spec.id, alias) is None:
            result.over.append(spec.id)
            continue
        try:
            job = _add(scheduler, spec, trigger)
        except InvalidTriggerError:  # it has ended since it was checked
            result.over.append(spec.id)
            continue
        if job.state is JobState.PAUSED and not spec.paused:
            job.resume()
    gone = sorted(before.keys() - rules.keys())
    for job_id in gone:
        if scheduler.get_job(job_id, alias) is not None:
            scheduler.remove_job(job_id, alias)
            result.removed.append(job_id)
    if gone:
        _write(scheduler, alias, register_id, file, rules)


def _read(scheduler: BaseScheduler, alias: str, register_id: str) -> dict[str, str]:
    job = scheduler.get_job(register_id, alias)
    if job is None or not is_register(job.func_ref) or not job.args or not isinstance(job.args[0], Mapping):
        return {}
    return {str(job_id): str(rule) for job_id, rule in job.args[0].items()}


def _write(
    scheduler: BaseScheduler, alias: str, register_id: str, file: ScheduleFile, rules: Mapping[str, str]
) -> None:
    scheduler.add_job(
        REGISTER,
        "date",
        args=[dict(rules)],
        id=register_id,
        name=f"the jobs that come from {file.path}",
        next_run_time=None,
        jobstore=alias,
        replace_existing=True,
        run_date=datetime(2000, 1, 1, tzinfo=UTC),
    )
