"""Configuration: what users write becomes one frozen value, or an error that names the option.

The same configuration may be written three ways: as keywords, as one dictionary, or as a flat mapping of
dotted keys such as an ini file gives. ``parse`` understands them all and gives the same ``SchedulerConfig``
for each; ``build`` makes a component of its specification (``_specs``). Both are pure: they keep nothing and
change nothing. What a value may be is in ``_conversions``.

Rules:

* **Flat.** A mapping of which at least one key starts with the prefix
  (``"schedcore.jobstores.default.url"``), or holds a whole mapping under its name (``"schedcore": {...}``, as
  a TOML table does), is one that other programs share: keys outside of the prefix belong to them and are
  ignored. Inside the prefix everything must be understood.
* **Nested.** In any other mapping every key must be understood. Dots in its keys nest, too:
  ``"job_defaults.coalesce"``.
* **Keywords win** over the mapping: each option by itself, each job default by itself, each component as a
  whole.
* **Text.** Values may be text, as ini files give them: ``"false"``, ``"3"``; ``""`` and ``"none"`` mean None
  where None means something. Arguments of a component are converted when its constructor's annotation says
  ``int``, ``float`` or ``bool`` (with or without ``None``); all others reach it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from schedcore._conversions import (
    as_bool,
    as_clock,
    as_count,
    as_grace_time,
    as_is,
    as_logger,
    as_number,
    as_recovery,
    as_seconds,
    as_text,
    as_timezone,
    as_whole_number,
    convert,
    show,
)
from schedcore._specs import ComponentSpec, build, component
from schedcore.errors import ConfigurationError, UnknownOptionError

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter

__all__ = [
    "ComponentSpec",
    "JobDefaults",
    "SchedulerConfig",
    "as_bool",
    "as_clock",
    "as_is",
    "as_number",
    "as_text",
    "as_whole_number",
    "build",
    "component",
    "parse",
]

# --- values ---


class JobDefaults(NamedTuple):
    """What a job gets when ``add_job`` does not say otherwise."""

    misfire_grace_time: float | None = None  #: seconds, more than 0; None: run however late
    coalesce: bool = True  #: one run for a backlog instead of one for each missed fire time
    max_instances: int = 1  #: runs of one job at the same time, at least 1
    max_catchup: int = 1000  #: runs made of one backlog when not coalescing, at least 1
    recovery: str = "rerun"  #: what becomes of a run that may have begun when its process died: "rerun" or "lost"


class SchedulerConfig(NamedTuple):
    """A whole configuration, checked."""

    logger: Logger | LoggerAdapter[Any] | None = None
    timezone: tzinfo | None = None  #: None: the zone of the machine
    jobstore_retry_interval: float = 10.0  #: seconds between attempts on a job store that is down
    job_defaults: JobDefaults = JobDefaults()
    jobstores: Mapping[str, ComponentSpec] = MappingProxyType({})  #: by alias
    executors: Mapping[str, ComponentSpec] = MappingProxyType({})  #: by alias
    extra: Mapping[str, object] = MappingProxyType({})  #: the options of the scheduler's own class that were given


# --- what there is ---

_SCALARS: dict[str, Callable[[object], object]] = {
    "logger": as_logger,
    "timezone": as_timezone,
    "jobstore_retry_interval": as_seconds,
}
_JOB_DEFAULTS: dict[str, Callable[[object], object]] = {
    "misfire_grace_time": as_grace_time,
    "coalesce": as_bool,
    "max_instances": as_count,
    "max_catchup": as_count,
    "recovery": as_recovery,
}
# section -> what one of its entries is called
_COMPONENTS = {"jobstores": "job store", "executors": "executor"}
_OPTIONS = frozenset({*_SCALARS, *_COMPONENTS, "job_defaults"})


# --- reading ---


def parse(
    gconfig: Mapping[str, Any] | None = None,
    prefix: str = "schedcore.",
    options: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, Callable[[object], object]] | None = None,
) -> SchedulerConfig:
    """One checked configuration from a mapping and keywords; the rules are in the module's docstring.

    ``extra`` names the options of the scheduler's own class, each with its conversion (which raises
    ``ValueError`` saying what would be right); those that were given come back converted in
    ``SchedulerConfig.extra``.

    Raises ``UnknownOptionError`` for what nothing understands and ``ConfigurationError`` for a value that
    cannot be used.
    """
    own = extra or {}
    given: dict[str, Any] = {}
    if gconfig is not None:
        _merge(given, _tree(gconfig, prefix, own), own)
    if options:
        _merge(given, dict(options), own)

    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _SCALARS:
            changes[name] = convert(name, value, _SCALARS[name])
        elif name == "job_defaults":
            defaults = {key: convert(f"job_defaults.{key}", item, _JOB_DEFAULTS[key]) for key, item in value.items()}
            changes[name] = JobDefaults(**defaults)
        elif name in _COMPONENTS:
            specs = {alias: component(item, f"{name}.{alias}") for alias, item in value.items()}
            changes[name] = MappingProxyType(specs)
    extras = {name: convert(name, value, own[name]) for name, value in given.items() if name in own}
    if extras:
        changes["extra"] = MappingProxyType(extras)
    return SchedulerConfig(**changes)


def _merge(given: dict[str, Any], layer: dict[str, Any], own: Mapping[str, object]) -> None:
    """Put *layer* over what is *given*, and see that every name in it is understood."""
    for name, value in layer.items():
        if name in own or name in _SCALARS:
            given[name] = value
        elif name in _OPTIONS:
            section = given.setdefault(name, {})
            if value is None:
                continue
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{name}={show(value)}: must be a mapping of {_contents(name)}")
            for key in value:
                if not isinstance(key, str) or not key:
                    raise ConfigurationError(f"{name}: its keys must be names, not {show(key)}")
                if name == "job_defaults" and key not in _JOB_DEFAULTS:
                    raise _unknown_job_default(key)
            section.update(value)
        else:
            raise _unknown(name, own)


def _contents(section: str) -> str:
    kind = _COMPONENTS.get(section)
    return f"aliases to {kind}s" if kind else "options to values"


def _unknown(name: object, own: Iterable[str]) -> ConfigurationError:
    if not isinstance(name, str):
        return ConfigurationError(f"option names must be text, not {show(name)}")
    if name in _JOB_DEFAULTS:
        error = UnknownOptionError(name, ())
        advice = f"it is a job default and belongs under job_defaults: job_defaults={{{name!r}: ...}}"
        error.args = (f"{error}; {advice}",)
        return error
    return UnknownOptionError(name, {*_OPTIONS, *own})


def _unknown_job_default(name: str) -> UnknownOptionError:
    option = f"job_defaults.{name}"
    if name in _OPTIONS:
        error = UnknownOptionError(option, ())
        error.args = (f"{error}; it belongs at the top level: {name}=...",)
        return error
    return UnknownOptionError(option, [f"job_defaults.{key}" for key in _JOB_DEFAULTS])


def _unknown_prefix(key: str, prefix: str, own: Iterable[str]) -> ConfigurationError:
    """An error about dotted keys of which none has the prefix: those of another library, or of a program's own."""
    theirs, _, rest = key.partition(".")
    if rest.partition(".")[0] in _OPTIONS:
        error: ConfigurationError = UnknownOptionError(key, ())
        error.args = (
            f"{error}; did you mean {prefix + rest!r}? (configure(..., prefix={theirs + '.'!r}) reads such keys)",
        )
    else:
        error = _unknown(key, own)
        error.args = (f"{error} (no key starts with {prefix!r}, so all of them are read as options)",)
    return error


def _tree(gconfig: Mapping[str, Any], prefix: str, own: Iterable[str]) -> dict[str, Any]:
    """The mapping without prefix and dots: option -> value, where a section's value is a nested mapping."""
    if not isinstance(gconfig, Mapping):
        raise ConfigurationError(f"a configuration must be a mapping of options to values, not {show(gconfig)}")
    if prefix and not prefix.endswith("."):
        prefix += "."
    entries: list[tuple[Any, Any]] = []
    shared = False
    for key, value in gconfig.items():
        if prefix and isinstance(key, str) and key.startswith(prefix):
            shared = True
            entries.append((key.removeprefix(prefix), value))
        elif prefix and key == prefix[:-1] and isinstance(value, Mapping):
            shared = True
            entries.extend(value.items())
    if not shared:
        entries.extend(gconfig.items())
    tree: dict[str, Any] = {}
    for key, value in entries:
        if not isinstance(key, str):
            raise _unknown(key, own)
        head, *rest = key.split(".")
        if rest and head not in _OPTIONS:
            raise _unknown_prefix(key, prefix, own) if prefix and not shared else _unknown(key, own)
        for name in reversed(rest):
            value = {name: value}
        _graft(tree, head, value, key)
    return tree


def _graft(tree: dict[str, Any], name: str, value: Any, key: str) -> None:
    """Set ``tree[name]``, uniting mappings; two values for one place are an error, as their order would decide."""
    if name not in tree:
        tree[name] = value
    elif isinstance(tree[name], Mapping) and isinstance(value, Mapping):
        united = dict(tree[name])  # a copy: it may be the user's own
        for inner, item in value.items():
            _graft(united, inner, item, key)
        tree[name] = united
    else:
        raise ConfigurationError(f"{key!r} is given twice, with values that cannot be united")
