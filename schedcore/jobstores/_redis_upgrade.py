"""Run records that an older release left in Redis, and how they come under the keys of this one.

Version 1 had them in ``…jobs:records``, under keys without the job, found by ``…jobs:history``, ``…jobs:failed`` and, of each
job, ``…jobs:history:<id>``. They are moved page by page, each by one script, so that who comes after an interruption goes on with
what is left. Who takes the store notes the new version before, so that no older release opens it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._redis_history import RECORD_BYTES, read_text, record_key
from schedcore.jobstores._redis_scripts import MOVE

__all__ = ["is_done", "upgrade"]


def is_done(client: Any, jobs_key: str) -> bool:
    """Whether nothing is left under the keys of version 1."""
    return not client.exists(f"{jobs_key}:history")


def upgrade(
    client: Any,
    get: Callable[..., list[Any]],
    jobs_key: str,
    owner_key: str,
    history_keys: Sequence[str],
    owner: str,
) -> bytes | None:
    """Move all. What is no record goes: it was never shown. Returns None, or, if ``owner`` has lost the store, the name of who
    has it, or b"". ``get``: the script ``GET``.
    """
    records, history, failed = (f"{jobs_key}:{name}" for name in ("records", "history", "failed"))
    move = client.register_script(MOVE)
    while old := client.zrange(history, 0, CHUNK - 1):
        args: list[Any] = []
        for key, text in zip(old, get(keys=[records], args=[RECORD_BYTES, *old]), strict=True):
            record = read_text(text)
            if record is None:
                args += key, "", "", ""
            else:
                uid = key.decode("utf-8", "replace").rpartition(":")[0].rpartition(":")[0]
                new = record_key(record.job_id, uid, record.fire_us, record.attempt)
                args += key, new, record.fire_us, record.job_id
        holder = move(keys=[owner_key, *history_keys, records, history, failed], args=[owner, *args])
        if isinstance(holder, bytes):
            return holder
    return None
