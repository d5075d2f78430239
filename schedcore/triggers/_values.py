"""Triggers that are parts of others: checked where they are given, and packed into the states of those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedcore import plugins
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._old_states import OLD_CLASSES
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.foreign import ForeignTrigger, as_grid

__all__ = [
    "pack_trigger",
    "to_trigger",
    "to_triggers",
    "unpack_trigger",
]


def to_triggers(triggers: object, field: str = "triggers") -> tuple[EngineTrigger, ...]:
    """The children of a combination, ready to be asked. Raises ``InvalidTriggerError`` for what is no trigger."""
    if isinstance(triggers, BaseTrigger | str) or not hasattr(triggers, "__iter__"):
        raise InvalidTriggerError(f"{field}: give a list of triggers, not {triggers!r}", field=field)
    made = tuple(to_trigger(each, field) for each in triggers)
    if not made:
        raise InvalidTriggerError(f"{field}: the list is empty; give at least one trigger", field=field)
    return made


def to_trigger(trigger: Any, field: str = "trigger") -> EngineTrigger:
    """A trigger of any kind, ready to be asked. Raises ``InvalidTriggerError`` for what is no trigger."""
    if isinstance(trigger, type) or not callable(getattr(trigger, "get_next_fire_time", None)):
        raise InvalidTriggerError(f"{field}: {trigger!r} is no trigger; give an instance of one", field=field)
    return as_grid(trigger)


def pack_trigger(trigger: EngineTrigger) -> Any:
    """A nested trigger as plain data, ``{"type": alias, "state": …}``; one of a class that has no alias as it is."""
    inner: Any = trigger.inner if isinstance(trigger, ForeignTrigger) else trigger
    alias = plugins.alias_of(plugins.TRIGGERS, type(inner))
    return inner if alias is None else {"type": alias, "state": inner.__getstate__()}


def unpack_trigger(packed: Any) -> EngineTrigger:
    """The trigger that ``pack_trigger`` packed. Raises ``ValueError`` for what is none, ``LookupError`` for an unknown alias."""
    if callable(getattr(packed, "get_next_fire_time", None)):
        return as_grid(packed)
    if (
        isinstance(packed, tuple | list)
        and len(packed) == 2
        and (isinstance(packed[0], type) or packed[0] in OLD_CLASSES)
    ):
        # A pair of class and state, as 3.x has it. Text can name none but its own classes, so data can run nothing else.
        kind: Any = packed[0] if isinstance(packed[0], type) else plugins.load(plugins.TRIGGERS, OLD_CLASSES[packed[0]])
        made = kind.__new__(kind)
        made.__setstate__(packed[1])
        return as_grid(made)
    if not isinstance(packed, Mapping) or not isinstance(packed.get("type"), str):
        raise ValueError(f"{packed!r} is not the record of a trigger")
    cls: Any = plugins.load(plugins.TRIGGERS, packed["type"])
    trigger = cls.__new__(cls)
    state = packed.get("state")
    setstate = getattr(trigger, "__setstate__", None)
    if setstate is not None:
        setstate(state)
    else:  # as pickle does it for a class that has no method of its own
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in dict(part or {}).items():
                setattr(trigger, name, value)
    return as_grid(trigger)
