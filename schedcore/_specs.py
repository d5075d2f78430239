"""Components, which are job stores and executors, as they are configured, and what is made of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from schedcore import plugins
from schedcore._conversions import as_bool, as_number, as_whole_number, convert, is_none, show
from schedcore.errors import (
    ConfigurationError,
    ReferenceLookupError,
    SchedcoreError,
    UnknownOptionError,
    UnknownPluginError,
    without_password,
)
from schedcore.references import callable_name, resolve
from schedcore.signatures import parameters_of

__all__ = ["ComponentSpec", "build", "component"]

_ADVICE = 'a mapping with type (plug-in alias) or class ("package.module:Class") and its arguments'


class ComponentSpec(NamedTuple):
    """A job store or executor as configured: an instance, or what ``build`` makes one of. Exactly one of the
    three is not None."""

    option: str  #: where it was configured, for messages: "executors.default"
    instance: object | None = None
    alias: str | None = None  #: plug-in alias
    cls: str | type | None = None  #: "package.module:Class", or the class itself
    arguments: Mapping[str, object] = MappingProxyType({})


def component(value: object, option: str) -> ComponentSpec:
    """The specification of one component: *value* is an instance, or a mapping with ``type`` or ``class`` and
    arguments.

    ``option`` is the dotted name for messages. Raises ``ConfigurationError``.
    """
    if isinstance(value, Mapping):
        arguments = dict(value)
        for key in arguments:
            if not isinstance(key, str):
                raise ConfigurationError(f"{option}: its keys must be names, not {show(key)}")
        alias = arguments.pop("type", None)
        cls = arguments.pop("class", None)
        if (alias is None) == (cls is None):
            what = "has neither type nor class" if alias is None else "has both type and class"
            raise ConfigurationError(f"{option} {what}: it must be an instance, or {_ADVICE}")
        if alias is not None and not (isinstance(alias, str) and alias):
            raise ConfigurationError(f"{option}.type={show(alias)}: must be a plug-in alias")
        if cls is not None and not isinstance(cls, str | type):
            raise ConfigurationError(f'{option}.class={show(cls)}: must be a class or "package.module:Class"')
        return ComponentSpec(option, None, alias, cls, MappingProxyType(arguments))
    if isinstance(value, type):
        raise ConfigurationError(f"{option}={show(value)}: must be an instance, not a class: {value.__name__}(...)")
    if value is None or isinstance(value, str | bytes | int | float | list | tuple | set | frozenset):
        hint = ""
        if isinstance(value, str) and "://" in value:
            value = without_password(value)
            hint = "; a URL goes with its type, such as {'type': 'sqlalchemy', 'url': 'sqlite:///jobs.sqlite'}"
        elif isinstance(value, str) and value:
            key = "class" if ":" in value else "type"
            hint = f"; did you mean {{{key!r}: {value!r}}}?"
        raise ConfigurationError(f"{option}={show(value)}: must be an instance, or {_ADVICE}{hint}")
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
                arguments[name] = convert(f"{option}.{name}", value, conversion)
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
    raise ConfigurationError(f"{spec.option}.class={show(spec.cls)}: must lead to a class, not to {show(cls)}")


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
    return lambda value: None if is_none(value) else conversion(value)
