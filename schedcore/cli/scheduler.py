"""The scheduler that a schedule file describes, made and opened; what is wrong with either is said in words for people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from schedcore import config, plugins
from schedcore.allowed import DEFAULT
from schedcore.cli.register import REGISTER
from schedcore.cli.schedule import RUN_COMMAND, ScheduleFile
from schedcore.cli.stores import StorePlace
from schedcore.cli.words import short_path
from schedcore.errors import FailureError, JobStoreInUseError, MissingExtraError, UnknownOptionError, UsageError
from schedcore.schedulers.background import BackgroundScheduler

__all__ = ["StoreError", "make_scheduler", "start_paused"]

# Job stores that keep the names of functions, and can be told which ones.
_HOLDS_REFERENCES = frozenset({"etcd", "mongodb", "redis", "rethinkdb", "sqlalchemy", "zookeeper"})


class StoreError(FailureError):
    """A job store cannot be opened."""


def make_scheduler(file: ScheduleFile, places: Sequence[StorePlace]) -> BackgroundScheduler:
    """The scheduler that a file describes. Raises ``FileSyntaxError`` at what is wrong in it."""
    configuration = file.configuration()
    configuration["jobstores"] = {
        place.alias: _component(file, "jobstores", place.alias, _naming(file, place)) for place in places
    }
    configuration["executors"] = {
        alias: _component(file, "executors", alias, options) for alias, options in file.executors.items()
    }
    return BackgroundScheduler(configuration)


def _naming(file: ScheduleFile, place: StorePlace) -> Mapping[str, Any]:
    """A store's options. What the file itself says is to be run may be: whoever writes it runs programs anyway."""
    if place.kind not in _HOLDS_REFERENCES or "allowed_refs" in place.options:
        return place.options
    named = {RUN_COMMAND if job.func is None else job.func for job in file.jobs if job.jobstore == place.alias}
    return {**place.options, "allowed_refs": [DEFAULT, REGISTER, *sorted(named)]}


def _component(file: ScheduleFile, section: str, alias: str, options: Mapping[str, Any]) -> Any:
    """An executor or a job store. An error points to its table, unless the command line said what it should be."""
    group = plugins.EXECUTORS if section == "executors" else plugins.JOBSTORES
    try:
        return config.build(config.component(options, f"{section}.{alias}"), group)
    except MissingExtraError:
        raise
    except UsageError as error:
        if alias not in getattr(file, section):
            raise
        name = error.option.rpartition(".")[2] if isinstance(error, UnknownOptionError) else ""
        raise file.error(str(error), section, alias, name) from error


def start_paused(scheduler: BackgroundScheduler, places: Sequence[StorePlace]) -> None:
    """Open the stores. Raises ``StoreError``."""
    try:
        scheduler.start(paused=True)
    except JobStoreInUseError as error:
        # The error's advice to programs is not for people.
        who = str(error).partition("; ")[0]
        raise StoreError(
            f"{who}; stop that one first, or give this one a store of its own with --store PATH "
            f"(`schedcore jobs` and `schedcore runs` can look at it meanwhile)"
        ) from error
    except (FailureError, OSError) as error:
        raise StoreError(_why_not_open(error, places)) from error


def _why_not_open(error: Exception, places: Sequence[StorePlace]) -> str:
    for place in places:
        if place.path:
            folder = os.path.dirname(place.path)
            shown = short_path(place.path)
            if not os.path.isdir(folder):
                return f"the store {shown!r} cannot be made: the folder {short_path(folder)!r} does not exist"
            if not os.access(place.path if os.path.exists(place.path) else folder, os.W_OK):
                return (
                    f"the store {shown!r} cannot be written by this user; "
                    f"give another with --store PATH, or --store memory for one that is not kept"
                )
    return str(error)
