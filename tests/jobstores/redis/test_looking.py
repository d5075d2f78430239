"""What is in Redis, looked at from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from schedcore.jobstores.redis import RedisJobStore
from tests.jobstores.looking import look_at
from tests.services import Redis


def test_looking(redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    place = redis_server.fresh()
    with redis.Redis(place.host, place.port, int(place.name)) as client:

        def contents() -> dict[bytes, Any]:
            read: dict[bytes, Callable[[bytes], Any]] = {
                b"string": client.get,
                b"hash": client.hgetall,
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            }
            return {key: read[client.type(key)](key) for key in client.keys("*")}

        def make() -> RedisJobStore:
            return RedisJobStore(int(place.name), "app.jobs", "app.times", host=place.host, port=place.port)

        look_at(make, f"{place.url}?jobs_key=app.jobs&run_times_key=app.times", contents, tmp_path)
