"""Which database the options of an SQL store lead to, and through which engine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import sqlalchemy as sa

from schedcore.errors import ConfigurationError, without_password
from schedcore.jobstores._sql_backend import Backend
from schedcore.references import resolve

__all__ = ["backend_and_engine"]

# Where each kind of database is written about, by its name in a URL. Each loads when it is asked for.
_BACKENDS = {
    "sqlite": ("_sql_sqlite", "SQLite"),
    "postgresql": ("_sql_postgresql", "PostgreSQL"),
    "mysql": ("_sql_mysql", "MySQL"),
    "mariadb": ("_sql_mysql", "MySQL"),
}


def backend_and_engine(
    url: str | sa.URL | None,
    engine: sa.Engine | str | None,
    engine_options: Mapping[str, Any] | None,
    timeout_s: float | None,
    *,
    read_only: bool,
) -> tuple[Backend, sa.Engine, float]:
    """What is known about the kind of database, an engine for it, and the seconds that it may take for an answer.

    Either a URL or an engine is given. Raises ``ConfigurationError`` and ``MissingExtraError``.
    """
    if url is not None:
        parsed = _parsed(url)
        backend = _backend(parsed.get_backend_name(), "url")
        timeout_s = backend.timeout_s if timeout_s is None else float(timeout_s)
        return backend, backend.own_engine(parsed, engine_options, timeout_s, read_only=read_only), timeout_s
    found = _given_engine(engine)
    backend = _backend(found.dialect.name, "engine")
    return backend, backend.given_engine(found), backend.timeout_s if timeout_s is None else float(timeout_s)


def _parsed(url: str | sa.URL) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, AttributeError, ValueError) as error:
        shown = without_password(repr(url))
        raise ConfigurationError(
            f"url={shown} is not a database URL; write for example 'sqlite:///jobs.sqlite'"
        ) from error


def _given_engine(engine: sa.Engine | str | None) -> sa.Engine:
    found: Any = resolve(engine) if isinstance(engine, str) else engine
    if not isinstance(found, sa.Engine):
        raise ConfigurationError(
            f"engine must be an engine of sqlalchemy.create_engine (not an asynchronous one), or text that leads to one, "
            f"not {found!r}"
        )
    return found


def _backend(name: str, option: str) -> Backend:
    if name not in _BACKENDS:
        known = ", ".join(_BACKENDS)
        raise ConfigurationError(f"{option}: there is no job store on {name!r}; there is one on: {known}")
    module, kind = _BACKENDS[name]
    made: Backend = getattr(import_module(f"schedcore.jobstores.{module}"), kind)()
    return made
