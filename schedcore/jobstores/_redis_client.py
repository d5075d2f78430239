"""The driver of Redis: a client with timeouts, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, TryAgainError
from redis.retry import Retry

from schedcore.errors import ConfigurationError, error_text
from schedcore.jobstores._clients import given_client

__all__ = ["client_of_users", "explained", "make_client"]

# Seconds. A server that does not answer for so long is away.
_TIMEOUT_S = 10.0
# Errors that a later try may not meet again: there is no way to the server, or it has no room, is a replica for now, cannot write
# to its disk, has too few replicas, or runs a script of somebody else's.
_PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    ClusterDownError,
    TryAgainError,
)
_PASSING_CODES = ("MISCONF ", "NOREPLICAS ", "BUSY ")
# What a server says of a command in a script that the account may not give, without its name.
_FORBIDDEN = "The user executing the script can't"


def make_client(db: int, options: Mapping[str, Any]) -> redis.Redis:
    """A client, which opens nothing before something is asked. Raises ``ConfigurationError``."""
    # Who waits for an answer longer than that tries again anyway, with growing delays.
    timeouts = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    try:
        return redis.Redis(**{"db": db, **timeouts, **options, "decode_responses": False})
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"the Redis client cannot be made: {error}") from error


def client_of_users(client: redis.Redis | str, options: Mapping[str, Any]) -> redis.Redis:
    """That of a user. Raises ``ConfigurationError``."""
    wanted = "a redis.Redis (not an asynchronous one)"
    found: redis.Redis = given_client(client, options, lambda it: isinstance(it, redis.Redis), wanted)
    if found.connection_pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError(
            "client: make it without decode_responses=True; records are bytes, and not all of them text"
        )
    return found


def explained(error: Exception, rights: str) -> tuple[str, bool] | None:
    """What an error means, and whether trying again may help; None: it is none of the driver's. ``rights``: what the account
    needs.
    """
    if not isinstance(error, redis.RedisError | OSError):
        return None
    passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES)
    text = error_text(error)
    if isinstance(error, redis.exceptions.NoPermissionError) or _FORBIDDEN in str(error):
        text += f" (the account needs {rights})"
    return text, passing and not isinstance(error, redis.AuthenticationError)
