"""Configuration: what users write becomes one frozen value, or an error that names the option.

The same configuration may be written three ways: as keywords, as one dictionary, or as a flat mapping of
dotted keys such as an ini file gives. ``parse`` understands them all and gives the same ``SchedulerConfig``
for each; ``build`` makes a component of its specification. Both are pure: they keep nothing and change
nothing.

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

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from schedcore import plugins
from schedcore.errors import (
    ConfigurationError,
    InvalidTriggerError,
    ReferenceLookupError,
    SchedcoreError,
    UnknownOptionError,
    UnknownPluginError,
)
from schedcore.references import callable_name, resolve
from schedcore.signatures import parameters_of

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


class ComponentSpec(NamedTuple):
    """A job store or executor as configured: an instance, or what ``build`` makes one of. Exactly one of the
    three is not None."""

    option: str  #: where it was configured, for messages: "executors.default"
    instance: object | None = None
    alias: str | None = None  #: plug-in alias
    cls: str | type | None = None  #: "package.module:Class", or the class itself
    arguments: Mapping[str, object] = MappingProxyType({})


class SchedulerConfig(NamedTuple):
    """A whole configuration, checked."""

    logger: Logger | LoggerAdapter[Any] | None = None
    timezone: tzinfo | None = None  #: None: the zone of the machine
    jobstore_retry_interval: float = 10.0  #: seconds between attempts on a job store that is down
    job_defaults: JobDefaults = JobDefaults()
    jobstores: Mapping[str, ComponentSpec] = MappingProxyType({})  #: by alias
    executors: Mapping[str, ComponentSpec] = MappingProxyType({})  #: by alias
    extra: Mapping[str, object] = MappingProxyType({})  #: the options of the scheduler's own class that were given


# --- conversions: value in, value out, or a ValueError that says what would be right ---

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def as_is(value: object) -> object:
    """Any value, as it is."""
    return value


def as_clock(value: object) -> object:
    """A ``schedcore.clock.Clock``, or None for the system's."""
    if value is None or all(callable(getattr(value, name, None)) for name in ("wall_us", "monotonic_s")):
        return value
    raise ValueError("must be a clock, which has wall_us() and monotonic_s()")


def as_text(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be text")


def as_bool(value: object) -> bool:
    """A truth value, or its word as ini files have it (true, yes, on, 1; false, no, off, 0)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    elif isinstance(value, int) and value in (0, 1):
        return value == 1
    raise ValueError("must be true or false")


def as_whole_number(value: object) -> int:
    """An integer, or its text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("must be a whole number")


def as_number(value: object) -> float:
    """A finite number, or its text."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if math.isfinite(number):
                return int(value) if isinstance(value, int) else number
    raise ValueError("must be a number")


def _is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "none"))


def _as_seconds(value: object) -> float:
    try:
        number = as_number(value)
    except ValueError:
        number = 0.0
    if number > 0:
        return number
    raise ValueError("must be a number of seconds greater than 0")


def _as_grace_time(value: object) -> float | None:
    if _is_none(value):
        return None
    try:
        return _as_seconds(value)
    except ValueError as error:
        raise ValueError(f"{error}, or None to run however late") from None


def _as_count(value: object) -> int:
    try:
        number = as_whole_number(value)
    except ValueError:
        number = 0
    if number >= 1:
        return number
    raise ValueError("must be a whole number of at least 1")


def _as_recovery(value: object) -> str:
    if value in ("rerun", "lost"):
        return str(value)
    raise ValueError('must be "rerun" or "lost"')


def _as_logger(value: object) -> Logger | LoggerAdapter[Any] | None:
    import logging

    if _is_none(value):
        return None
    if isinstance(value, logging.Logger | logging.LoggerAdapter):
        return value
    if not isinstance(value, str):
        raise ValueError('must be a logger, the name of one, or a reference to one ("package.module:name")')
    if ":" not in value:
        return logging.getLogger(value)
    try:
        target = resolve(value)
    except ReferenceLookupError as error:
        raise ValueError(str(error)) from error
    if isinstance(target, logging.Logger | logging.LoggerAdapter):
        return target
    raise ValueError(f"must lead to a logger, not to {_show(target)}")


def _as_timezone(value: object) -> tzinfo | None:
    if _is_none(value):
        return None
    from schedcore.triggers._zones import to_zone  # brings zoneinfo

    try:
        return to_zone(value)  # type: ignore[arg-type]  # it judges whatever it is given
    except InvalidTriggerError as error:
        raise ValueError(str(error).removeprefix("timezone: ")) from error


_SCALARS: dict[str, Callable[[object], object]] = {
    "logger": _as_logger,
    "timezone": _as_timezone,
    "jobstore_retry_interval": _as_seconds,
}
_JOB_DEFAULTS: dict[str, Callable[[object], object]] = {
    "misfire_grace_time": _as_grace_time,
    "coalesce": as_bool,
    "max_instances": _as_count,
    "max_catchup": _as_count,
    "recovery": _as_recovery,
}
# section -> what one of its entries is called
_COMPONENTS = {"jobstores": "job store", "executors": "executor"}
_OPTIONS = frozenset({*_SCALARS, *_COMPONENTS, "job_defaults"})


def _convert(option: str, value: object, conversion: Callable[[object], object]) -> Any:
    try:
        return conversion(value)
    except ConfigurationError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{option}={_show(value)}: {error}") from error


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


# --- reading ---


def parse(
    gconfig: Mapping[str, Any] | None = None,
    prefix: str = "schedcore.",
    options: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, Callable[[object], object]] | None = None,
    base: SchedulerConfig | None = None,
) -> SchedulerConfig:
    """One checked configuration from a mapping and keywords; the rules are in the module's docstring.

    ``extra`` names the options of the scheduler's own class, each with its conversion (which raises
    ``ValueError`` saying what would be right); those that were given come back converted in
    ``SchedulerConfig.extra``. ``base`` is an earlier configuration: what is not given now stays as it is
    there.

    Raises ``UnknownOptionError`` for what nothing understands and ``ConfigurationError`` for a value that
    cannot be used.
    """
    own = extra or {}
    given: dict[str, Any] = {}
    if gconfig is not None:
        _merge(given, _tree(gconfig, prefix, own), own)
    if options:
        _merge(given, dict(options), own)

    config = base or SchedulerConfig()
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _SCALARS:
            changes[name] = _convert(name, value, _SCALARS[name])
        elif name == "job_defaults":
            defaults = {key: _convert(f"job_defaults.{key}", item, _JOB_DEFAULTS[key]) for key, item in value.items()}
            changes[name] = config.job_defaults._replace(**defaults)
        elif name in _COMPONENTS:
            specs = {alias: component(item, f"{name}.{alias}") for alias, item in value.items()}
            changes[name] = MappingProxyType({**getattr(config, name), **specs})
    extras = {name: _convert(name, value, own[name]) for name, value in given.items() if name in own}
    if extras:
        changes["extra"] = MappingProxyType({**config.extra, **extras})
    return config._replace(**changes)


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
                raise ConfigurationError(f"{name}={_show(value)}: must be a mapping of {_contents(name)}")
            for key in value:
                if not isinstance(key, str) or not key:
                    raise ConfigurationError(f"{name}: its keys must be names, not {_show(key)}")
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
        return ConfigurationError(f"option names must be text, not {_show(name)}")
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
        raise ConfigurationError(f"a configuration must be a mapping of options to values, not {_show(gconfig)}")
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


# --- components ---

_ADVICE = 'a mapping with type (plug-in alias) or class ("package.module:Class") and its arguments'


def component(value: object, option: str) -> ComponentSpec:
    """The specification of one component: *value* is an instance, or a mapping with ``type`` or ``class`` and
    arguments.

    ``option`` is the dotted name for messages. Raises ``ConfigurationError``.
    """
    if isinstance(value, Mapping):
        arguments = dict(value)
        for key in arguments:
            if not isinstance(key, str):
                raise ConfigurationError(f"{option}: its keys must be names, not {_show(key)}")
        alias = arguments.pop("type", None)
        cls = arguments.pop("class", None)
        if (alias is None) == (cls is None):
            what = "has neither type nor class" if alias is None else "has both type and class"
            raise ConfigurationError(f"{option} {what}: it must be an instance, or {_ADVICE}")
        if alias is not None and not (isinstance(alias, str) and alias):
            raise ConfigurationError(f"{option}.type={_show(alias)}: must be a plug-in alias")
        if cls is not None and not isinstance(cls, str | type):
            raise ConfigurationError(f'{option}.class={_show(cls)}: must be a class or "package.module:Class"')
        return ComponentSpec(option, None, alias, cls, MappingProxyType(arguments))
    if isinstance(value, type):
        raise ConfigurationError(f"{option}={_show(value)}: must be an instance, not a class: {value.__name__}(...)")
    if value is None or isinstance(value, str | bytes | int | float | list | tuple | set | frozenset):
        hint = ""
        if isinstance(value, str) and value:
            key = "class" if ":" in value else "type"
            hint = f"; did you mean {{{key!r}: {value!r}}}?"
        raise ConfigurationError(f"{option}={_show(value)}: must be an instance, or {_ADVICE}{hint}")
    return ComponentSpec(option, value)


def build(spec: ComponentSpec, group: str) -> Any:
    """The component that *spec* describes; ``group`` is the plug-in group in which its alias is looked up.

    Raises ``UnknownPluginError`` or ``ReferenceLookupError`` when there is no such class,
    ``MissingExtraError`` when it needs an optional dependency, ``UnknownOptionError`` for an argument that it
    does not take, ``ConfigurationError`` for one that is missing or refused. What else the constructor raises
    (a failing connection, …) passes through.
    """
    if spec.instance is not None:
        return spec.instance
    option = spec.option
    cls = _class_of(spec, group)
    arguments = dict(spec.arguments)
    parameters = parameters_of(cls)
    if parameters is not None:
        names = parameters.by_keyword
        if not parameters.var_keyword:
            for name in arguments:
                if name not in names:
                    error = UnknownOptionError(name, names, option)
                    error.option = f"{option}.{name}"
                    raise error
        required = (*parameters.positional[: parameters.required], *parameters.keyword_only)
        optional = frozenset(parameters.keyword_only) - parameters.keyword_required
        missing = [name for name in required if name not in arguments and name not in optional]
        if missing:
            raise ConfigurationError(f"{option} is incomplete: {', '.join(missing)} must be given")
    if any(isinstance(value, str) for value in arguments.values()):
        annotations = _annotations_of(cls)
        for name, value in arguments.items():
            conversion = _conversion(annotations.get(name)) if isinstance(value, str) else None
            if conversion is not None:
                arguments[name] = _convert(f"{option}.{name}", value, conversion)
    try:
        return cls(**arguments)
    except SchedcoreError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{option}: {callable_name(cls)} refuses its arguments: {error}") from error


def _class_of(spec: ComponentSpec, group: str) -> type[Any]:
    if spec.alias is not None:
        try:
            return plugins.load(group, spec.alias)
        except UnknownPluginError as error:
            raise UnknownPluginError(f"{spec.option}.type: {error}") from error
    cls: Any = spec.cls
    if isinstance(cls, str):
        try:
            cls = resolve(cls)
        except ReferenceLookupError as error:
            raise ReferenceLookupError(f"{spec.option}.class: {error}") from error
    if isinstance(cls, type):
        return cls
    raise ConfigurationError(f"{spec.option}.class={_show(spec.cls)}: must lead to a class, not to {_show(cls)}")


def _annotations_of(cls: type[Any]) -> Mapping[str, object]:
    for function in (cls.__init__, cls.__new__):
        try:
            annotations = getattr(function, "__annotations__", None)
        except NameError:  # evaluated on demand (Python 3.14), and meant for type checkers only
            continue
        if annotations:
            return dict(annotations)
    return {}


# The annotations for which text is converted; where text itself is welcome, it stays.
_SIMPLE: dict[str, Callable[[object], object]] = {"bool": as_bool, "int": as_whole_number, "float": as_number}


def _conversion(annotation: object) -> Callable[[object], object] | None:
    """How to convert text for a parameter that is annotated so; None to leave it alone."""
    if isinstance(annotation, type):
        text = annotation.__name__
    elif isinstance(annotation, str):
        text = annotation
    else:
        text = str(annotation)  # int | None, typing.Optional[int]
    text = text.replace("typing.", "").replace("NoneType", "None").replace(" ", "").strip("'\"")
    if text.startswith("Optional["):
        text = f"{text[9:-1]}|None"
    elif text.startswith("Union["):
        text = text[6:-1].replace(",", "|")
    names = set(text.split("|"))
    simple = names - {"None"}
    if len(simple) == 2 and simple == {"int", "float"}:
        simple = {"float"}
    if len(simple) != 1 or not simple <= _SIMPLE.keys():
        return None
    conversion = _SIMPLE[simple.pop()]
    if "None" not in names:
        return conversion
    return lambda value: None if _is_none(value) else conversion(value)
