"""Many new jobs as Redis's own commands, in one transaction.

A script is given each argument twice over, which takes it longer than all that it does. New jobs leave it nothing to decide but
whether they may be added: that is asked first, and answered while they are packed. Redis then refuses what was sent if the owner
or any job has changed since (``WATCH``).
"""

from __future__ import annotations

from collections.abc import Sequence

from schedcore.jobstores._documents_doc import Change
from schedcore.jobstores._redis_batch import BROKEN, JOBS, LINES, LIVE, PAYLOADS, argument, indexes
from schedcore.jobstores._redis_scripts import LOOK

__all__ = ["are_new", "pack_jobs", "pack_look"]


def are_new(changes: Sequence[Change]) -> bool:
    """Whether these add jobs, and do nothing else."""
    return all(
        not old and doc.uid and not doc.past and not records and isinstance(doc.payload, bytes)
        for old, doc, records, _ in changes
    )


def pack_look(changes: Sequence[Change], keys: Sequence[str], owner: str) -> bytes:
    """What asks whether jobs may be added. ``keys``: of the script ``WRITE``. Answered by two replies, the second as by that."""
    watched = keys[0], keys[JOBS - 1]
    ids = [change.doc.id for change in changes]
    return _packed("WATCH", *watched).encode() + _packed("EVAL", LOOK, "2", *watched, owner, *ids).encode()


def pack_jobs(changes: Sequence[Change], keys: Sequence[str]) -> tuple[bytes, int]:
    """What adds them, and how many replies there are before the one that tells: None if something has changed."""
    docs: list[str] = []
    payloads: list[bytes] = []
    places: dict[int, list[str]] = {key: [] for key in LINES}
    members: dict[int, list[str]] = {LIVE: [], BROKEN: []}
    for _, doc, _, _ in changes:
        job_id, revision, payload = doc.id, doc.revision, doc.payload
        line, due_us, is_live, is_broken = indexes(doc)
        assert line
        assert isinstance(payload, bytes)
        name = f"${len(job_id)}\r\n{job_id}\r\n" if job_id.isascii() else argument(job_id)
        text = f"{revision} {doc.pack()}"
        docs.append(f"{name}${len(text)}\r\n{text}\r\n")
        payloads += f"{name}${len(payload)}\r\n".encode(), payload, b"\r\n"
        score = str(due_us)
        places[line].append(f"${len(score)}\r\n{score}\r\n{name}")
        if is_live:
            members[LIVE].append(name)
        if is_broken:
            members[BROKEN].append(name)
    commands = [
        ("HSET", JOBS, docs, 2),
        *(("ZADD", key, some, 2) for key, some in places.items()),
        *(("SADD", key, some, 1) for key, some in members.items()),
    ]
    made = [one for one in commands if one[2]]
    texts = [_packed("MULTI")]
    for command, key, some, size in made:
        texts += _beginning(command, keys[key - 1], size * len(some)), *some
    texts.append(_beginning("HSET", keys[PAYLOADS - 1], 2 * len(changes)))
    return b"".join(("".join(texts).encode(), *payloads, _packed("EXEC").encode())), len(made) + 2


def _packed(*arguments: str) -> str:
    return "".join((f"*{len(arguments)}\r\n", *map(argument, arguments)))


def _beginning(command: str, key: str, size: int) -> str:
    return f"*{2 + size}\r\n{argument(command)}{argument(key)}"
