"""The driver of MongoDB: a client with timeouts, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from pymongo import MongoClient
from pymongo import errors as mongo_errors

from schedcore.errors import ConfigurationError, error_text
from schedcore.jobstores._clients import given_client

__all__ = ["TIMEOUT_MS", "client_of_users", "explained", "make_client", "only_duplicates", "with_timeouts"]

#: Milliseconds. A server that does not answer for so long is away.
TIMEOUT_MS = 10_000
_DUPLICATE = 11000
# Server errors that pass: not primary, shutting down, interrupted, too busy, out of time.
_PASSING = frozenset(
    {6, 7, 24, 50, 89, 91, 112, 134, 189, 202, 262, 317, 358, 384, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)
# In what an error says of servers: the number of a client, and how long a look took. By them the same error would be another one
# at each attempt.
_CHANGING = re.compile(r"(?<=<TopologyDescription )id: [0-9a-f]+, |, rtt: [^,>]+")


def with_timeouts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the timeouts that neither they nor the URI among them say."""
    host = options.get("host")
    uri = " ".join(host if isinstance(host, list) else [str(host)]).lower()
    said = {name.lower() for name in options}
    timeouts = {
        name: TIMEOUT_MS
        for name in ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
        if name.lower() not in said and name.lower() not in uri
    }
    return {**timeouts, **options}


def make_client(options: Mapping[str, Any]) -> MongoClient[Any]:
    """A client, which opens nothing before something is asked. Raises ``ConfigurationError``."""
    try:
        return MongoClient(**{**options, "connect": False})
    except (TypeError, ValueError, mongo_errors.PyMongoError) as error:
        raise ConfigurationError(f"the MongoDB client cannot be made: {error}") from error


def client_of_users(client: MongoClient[Any] | str, options: Mapping[str, Any]) -> MongoClient[Any]:
    """That of a user. Raises ``ConfigurationError``."""
    wanted = "a pymongo.MongoClient (not an asynchronous one)"
    found: MongoClient[Any] = given_client(client, options, lambda it: isinstance(it, MongoClient), wanted)
    return found


def explained(error: Exception) -> tuple[str, bool] | None:
    """What an error means, and whether trying again may help; None: it is none of the driver's."""
    if isinstance(error, BSONError):
        return error_text(error), False
    if not isinstance(error, mongo_errors.PyMongoError):
        return None
    transient = isinstance(
        error,
        mongo_errors.ConnectionFailure | mongo_errors.ExecutionTimeout | mongo_errors.WTimeoutError,
    )
    if isinstance(error, mongo_errors.OperationFailure):
        details = error.details or {}
        codes = {error.code, *(one.get("code") for one in details.get("writeErrors", ()))}
        codes -= {None, 65, _DUPLICATE}  # 65: a bulk write, whose errors follow
        # What was not acknowledged in time by so many servers as it should be may have been written.
        transient |= bool(details.get("writeConcernErrors")) and not codes
        transient |= bool(codes) and codes <= _PASSING
        transient |= error.has_error_label("RetryableWriteError")
    return _CHANGING.sub("", error_text(error)), transient


def only_duplicates(error: mongo_errors.BulkWriteError) -> set[int]:
    """Raise it again unless all that went wrong is that something was there; which of the writes found that."""
    details = error.details or {}
    errors = details.get("writeErrors", ())
    if details.get("writeConcernErrors") or any(one.get("code") != _DUPLICATE for one in errors):
        raise error
    return {one["index"] for one in errors}
