"""A client of a server's that a user gives, in the place of options for one that the store would make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from schedcore.errors import ConfigurationError
from schedcore.references import resolve

__all__ = ["given_client"]


def given_client(client: object, options: Mapping[str, Any], fits: Callable[[Any], bool], wanted: str) -> Any:
    """The client, or the one that text such as ``"module:name"`` leads to. ``wanted`` says in words what ``fits``.

    Raises ``ConfigurationError`` if it does not fit, or if there are ``options`` as well.
    """
    if options:
        raise ConfigurationError(f"options for a new client ({', '.join(options)}) do not go with client=")
    found: Any = resolve(client) if isinstance(client, str) else client
    if not fits(found):
        raise ConfigurationError(f"client must be {wanted}, not {found!r}")
    return found
