"""The triggers of a schedule file: each is built from what the file says, and an error points to the argument that is wrong."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

from schedcore import plugins
from schedcore.cli.crontab import without_column
from schedcore.cli.positions import Positions
from schedcore.cli.schedule import CRONTAB, STARTUP, JobSpec, ScheduleFile, TriggerSpec
from schedcore.errors import (
    ConfigurationError,
    FileSyntaxError,
    InvalidTriggerError,
    SchedcoreError,
    UnknownOptionError,
    UnknownPluginError,
    did_you_mean,
)
from schedcore.triggers.base import BaseTrigger, names_zone

__all__ = ["build", "build_trigger"]


def build_trigger(
    file: ScheduleFile, job: JobSpec, *, timezone: str | None = None, now: datetime | None = None
) -> BaseTrigger:
    """The trigger of a job of ``file``. ``timezone`` is the scheduler's, for triggers that name none
    (default: the file's); ``now`` is the start of the scheduler, for jobs that run at the start.

    Raises ``FileSyntaxError`` at the argument that is wrong.
    """
    zone = timezone or file.scheduler.get("timezone")
    return build(job.trigger, file.path, file.positions or (job.line, job.column), zone, now, seed=job.id)


def build(
    spec: TriggerSpec,
    path: str,
    positions: Positions | tuple[int, int],
    zone: str | None,
    now: datetime | None,
    seed: str | None = None,
) -> BaseTrigger:
    """The trigger that ``spec`` describes, in the file at ``path``. ``positions``: of that file, or the only place that is known.

    Arguments and errors are those of ``build_trigger``; ``seed`` picks the numbers for ``H``.
    """

    def error(message: str, *keys: str | int, value: bool = True) -> FileSyntaxError:
        if isinstance(positions, tuple):
            return FileSyntaxError(path, *positions, message)
        return FileSyntaxError(path, *positions.of((*spec.path, *keys), value=value), message)

    if zone is None and "timezone" not in spec.arguments:
        from schedcore.triggers._zones import local_zone

        local_zone()  # where this machine's is not known, no line of the file is wrong
    if spec.kind == CRONTAB:
        from schedcore.triggers.cron import CronTrigger

        try:
            return CronTrigger.from_crontab(
                spec.arguments["expr"], timezone=spec.arguments.get("timezone") or zone, seed=seed
            )
        except InvalidTriggerError as problem:
            if spec.origin is not None and problem.column is not None:
                line, column = spec.origin
                raise FileSyntaxError(path, line, column + problem.column - 1, without_column(problem)) from problem
            raise error(str(problem)) from problem
    if spec.kind == STARTUP:
        from schedcore.triggers.date import DateTrigger

        return DateTrigger(now or datetime.now(UTC))

    try:
        cls = plugins.load(plugins.TRIGGERS, spec.kind)
    except (UnknownPluginError, ConfigurationError, ImportError) as problem:
        raise error(str(problem), "type") from problem
    arguments = {
        key: [build(part, path, positions, zone, now) for part in value]
        if isinstance(value, tuple) and all(isinstance(part, TriggerSpec) for part in value)
        else value
        for key, value in spec.arguments.items()
    }
    parameters = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for key in arguments:
            if key not in parameters:
                hint = did_you_mean(key, parameters)
                raise error(f"unknown argument {key!r} of trigger {spec.kind!r}{hint}", key, value=False)
    if "timezone" in parameters and zone is not None and not names_zone(cls, arguments):
        arguments["timezone"] = zone
    try:
        trigger = cls(**arguments)
    except UnknownOptionError as problem:
        hint = did_you_mean(problem.option, parameters)
        raise error(
            f"unknown argument {problem.option!r} of trigger {spec.kind!r}{hint}", problem.option, value=False
        ) from problem
    except InvalidTriggerError as problem:
        name = problem.field
        if name is None or name not in spec.arguments:
            raise error(str(problem)) from problem
        value = spec.arguments[name]
        if isinstance(positions, Positions) and isinstance(value, str) and problem.column is not None:
            start = positions.text_start((*spec.path, name), value)
            if start is not None:
                place = start[0], start[1] + problem.column - 1
                raise FileSyntaxError(path, *place, without_column(problem)) from problem
        raise error(str(problem), name) from problem
    except (SchedcoreError, TypeError, ValueError, OverflowError) as problem:
        raise error(f"trigger {spec.kind!r}: {problem}") from problem
    if not isinstance(trigger, BaseTrigger):
        raise error(f"trigger {spec.kind!r} is no trigger but a {type(trigger).__name__}", "type")
    return trigger
