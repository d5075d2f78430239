"""The plug-in registry: alias -> class, for triggers, executors and job stores.

Built-in aliases come from a table, so they resolve without any installed metadata (zipapps, frozen programs,
a bare checkout), and each class is imported when it is first asked for. Only an alias that is not in the
table makes the registry read the installed packages' entry points (groups ``schedcore.triggers``,
``schedcore.executors``, ``schedcore.jobstores``), because reading them costs milliseconds. A built-in alias
therefore cannot be taken over by an installed package.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any

from schedcore.errors import ConfigurationError, MissingExtraError, UnknownPluginError, did_you_mean, error_text

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["EXECUTORS", "JOBSTORES", "TRIGGERS", "alias_of", "known", "load"]

TRIGGERS = "schedcore.triggers"
EXECUTORS = "schedcore.executors"
JOBSTORES = "schedcore.jobstores"

# group -> alias -> "module:Class"
_BUILTIN: dict[str, dict[str, str]] = {
    TRIGGERS: {
        "date": "schedcore.triggers.date:DateTrigger",
        "interval": "schedcore.triggers.interval:IntervalTrigger",
        "cron": "schedcore.triggers.cron:CronTrigger",
        "calendarinterval": "schedcore.triggers.calendarinterval:CalendarIntervalTrigger",
        "and": "schedcore.triggers.combining:AndTrigger",
        "or": "schedcore.triggers.combining:OrTrigger",
        "rrule": "schedcore.triggers.rrule:RRuleTrigger",
        "excluding": "schedcore.triggers.calendars:Excluding",
        "businessday": "schedcore.triggers.calendars:BusinessDayTrigger",
    },
    EXECUTORS: {
        "threadpool": "schedcore.executors.pool:ThreadPoolExecutor",
        "processpool": "schedcore.executors.pool:ProcessPoolExecutor",
        "debug": "schedcore.executors.debug:DebugExecutor",
        "asyncio": "schedcore.adapters.asyncio:AsyncIOExecutor",
        "tornado": "schedcore.adapters.tornado:TornadoExecutor",
        "twisted": "schedcore.adapters.twisted:TwistedExecutor",
        "gevent": "schedcore.adapters.gevent:GeventExecutor",
        "qt": "schedcore.adapters.qt:QtExecutor",
        "qtmain": "schedcore.adapters.qt:QtMainThreadExecutor",
    },
    JOBSTORES: {
        "memory": "schedcore.jobstores.memory:MemoryJobStore",
        "sqlalchemy": "schedcore.jobstores.sqlalchemy:SQLAlchemyJobStore",
        "redis": "schedcore.jobstores.redis:RedisJobStore",
        "mongodb": "schedcore.jobstores.mongodb:MongoDBJobStore",
        "rethinkdb": "schedcore.jobstores.rethinkdb:RethinkDBJobStore",
        "etcd": "schedcore.jobstores.etcd:EtcdJobStore",
        "zookeeper": "schedcore.jobstores.zookeeper:ZooKeeperJobStore",
    },
}

# Seconds. A job store may be full of jobs of a package that is not installed any more, and asks for each of them.
_READ_AGAIN_S = 1.0
# group -> sys.path, when it was read (monotonic) and what was found.
_read: dict[str, tuple[tuple[str, ...], float, list[EntryPoint]]] = {}

# What one entry of a group is called in messages.
_KINDS = {TRIGGERS: "trigger", EXECUTORS: "executor", JOBSTORES: "job store"}

# group -> alias -> class, for what was loaded; group -> class -> alias or None, for what was asked the other
# way round (weakly: a class that has no alias may be a short-lived one).
_loaded: dict[str, dict[str, type]] = {group: {} for group in _BUILTIN}
_aliases: dict[str, weakref.WeakKeyDictionary[type, str | None]] = {
    group: weakref.WeakKeyDictionary() for group in _BUILTIN
}


def load(group: str, alias: str) -> type[Any]:
    """The class registered as *alias* in *group* (``TRIGGERS``, ``EXECUTORS`` or ``JOBSTORES``).

    Raises ``UnknownPluginError`` when there is none (or an installed package announces one that cannot be
    loaded), ``MissingExtraError`` when a built-in one needs an optional dependency that is not installed,
    ``ConfigurationError`` when two installed packages claim the same alias.
    """
    try:
        return _loaded[group][alias]
    except KeyError:
        pass  # what is raised below is not raised on account of it
    return _load(group, alias)


def _load(group: str, alias: str) -> type[Any]:
    _check_group(group)
    reference = _BUILTIN[group].get(alias)
    cls = _load_builtin(group, alias, reference) if reference is not None else _load_entry_point(group, alias)
    _loaded[group][alias] = cls
    _aliases[group][cls] = alias
    return cls


def known(group: str) -> list[str]:
    """The aliases of *group*, sorted: the built-in ones and those of the installed packages. Loads none of
    them."""
    _check_group(group)
    return sorted({*_BUILTIN[group], *(point.name for point in _entry_points(group))})


def alias_of(group: str, cls: type) -> str | None:
    """The alias under which exactly this class is registered in *group* (a subclass is another class), or
    None.

    Loads no plug-in that is not loaded already.
    """
    _check_group(group)
    aliases = _aliases[group]
    try:
        return aliases[cls]
    except KeyError:
        pass
    alias = aliases[cls] = _find_alias(group, cls)
    return alias


def _find_alias(group: str, cls: type) -> str | None:
    for alias, loaded in _loaded[group].items():
        if loaded is cls:
            return alias
    for alias, reference in _BUILTIN[group].items():
        if _leads_to(reference, cls):
            return alias
    for point in _entry_points(group):
        if point.name not in _BUILTIN[group] and _leads_to(point.value.partition("[")[0].strip(), cls):
            return point.name
    return None


def _leads_to(reference: str, cls: type) -> bool:
    """Whether ``"module:Class"`` is *cls*, which may be defined in another module than the one that offers
    it."""
    module_name, _, path = reference.partition(":")
    target: Any = sys.modules.get(module_name.strip())
    for name in path.strip().split("."):
        target = getattr(target, name, None)
    return target is cls


def _check_group(group: str) -> None:
    if group not in _BUILTIN:
        raise UnknownPluginError(f"there is no plug-in group {group!r}{did_you_mean(group, _BUILTIN)}")


def _load_builtin(group: str, alias: str, reference: str) -> type[Any]:
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "schedcore":
            raise
        # Extras bear the name of what they serve, which is the alias.
        raise MissingExtraError(f"the {_KINDS[group]} {alias!r}", alias) from error
    cls: type[Any] = getattr(module, name)
    return cls


def _load_entry_point(group: str, alias: str) -> type[Any]:
    kind = _KINDS[group]
    points = [point for point in _entry_points(group) if point.name == alias]
    if not points:
        raise UnknownPluginError(f"there is no {kind} {alias!r}{_advice(group, str(alias))}")
    # The same package may be found twice on sys.path; two different targets are a conflict that only the user
    # can settle.
    if len({point.value for point in points}) > 1:
        claims = ", ".join(sorted(f"{point.value} ({_origin(point)})" for point in points))
        raise ConfigurationError(
            f"the {kind} {alias!r} is claimed by several installed packages: {claims}; "
            f"name the class instead of the alias"
        )
    point = points[0]
    try:
        cls = point.load()
    except Exception as error:
        raise UnknownPluginError(
            f"the {kind} {alias!r} of {_origin(point)} cannot be loaded from {point.value!r}: {error_text(error)}"
        ) from error
    if not isinstance(cls, type):
        raise UnknownPluginError(f"the {kind} {alias!r} of {_origin(point)} is {cls!r}, not a class")
    return cls


def _advice(group: str, alias: str) -> str:
    if group == TRIGGERS and (len(alias.split()) > 1 or alias.startswith("@")):
        return "; crontab text is for CronTrigger.from_crontab"
    return did_you_mean(alias, known(group))


def _entry_points(group: str) -> list[EntryPoint]:
    # Imported here: it takes longer than the rest of this package, and built-in aliases do not need it.
    from importlib.metadata import entry_points

    path, now_s = tuple(sys.path), monotonic()
    read = _read.get(group)
    if read is None or read[0] != path or not 0 <= now_s - read[1] < _READ_AGAIN_S:
        read = _read[group] = path, now_s, list(entry_points(group=group))
    return read[2]


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name!r}" if point.dist is not None else "an installed package"
