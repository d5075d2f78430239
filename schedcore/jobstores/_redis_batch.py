"""A batch of changes as the one command that Redis is sent to make them: the script ``WRITE`` and all that it needs.

redis-py puts each argument in its place by itself, which takes three times as long. The text of the script goes along: whether a
server knows it is not worth an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from random import random

from schedcore.job import JobState
from schedcore.jobstores._documents_doc import Change, Doc, pack_record, to_json
from schedcore.jobstores._redis_history import FAILED, record_key
from schedcore.jobstores._redis_scripts import WRITE

__all__ = ["BROKEN", "JOBS", "LINES", "LIVE", "PAYLOADS", "argument", "indexes", "pack_batch"]

#: The places of these keys among those of the script.
JOBS, PAYLOADS, WALL, ELAPSED, IDLE, LIVE, BROKEN = range(3, 10)
LINES = (WALL, ELAPSED, IDLE)
_STATE_BROKEN = JobState.BROKEN

# Where a document is found: its timeline (0: it has no job) and the instant there, whether live, whether broken. None: not known.
_Indexes = tuple[int | None, int | None, bool | None, bool | None]
_NOWHERE: _Indexes = (0, 0, False, False)
_ANYWHERE: _Indexes = (None, None, None, None)


def pack_batch(
    changes: Sequence[Change], known: Callable[[str, int], Doc | None], keys: Sequence[str], owner: str, keep: int
) -> bytes:
    """The command. ``known``: a document that is in memory, by id and revision; ``keys``: of the script; ``owner``: my name;
    ``keep``: how many records of a job stay.
    """
    revisions: list[str] = []
    same: dict[int, str] = {}  # many have the same
    last_revisions: list[str] = []
    docs: list[str] = []
    gone: list[str] = []
    payloads: list[bytes] = []
    places: dict[int, list[str]] = {key: [] for key in LINES}
    left: dict[int, list[str]] = {key: [] for key in LINES}
    members: dict[int, list[str]] = {LIVE: [], BROKEN: []}
    others: dict[int, list[str]] = {LIVE: [], BROKEN: []}
    records: list[str] = []
    failed: list[int] = []
    cut: list[str] = []
    # A job's records are counted now and then, and may be a tenth more than are kept.
    often = keep // 10 + 1
    # Of documents that are all new it need not be said that they have no revision. (What is deleted was there.)
    begins = any(change[0] for change in changes)
    for old, doc, its_records, keeps_payload in changes:
        job_id, revision, uid, _, _, _, _, _, _, _, payload, _, past = doc
        name = f"${len(job_id)}\r\n{job_id}\r\n" if job_id.isascii() else argument(job_id)
        if uid or past:
            if begins:
                text = same.get(old, "")
                if not text:
                    text = same[old] = argument(f"{old} ")
                revisions.append(text)
            text = f"{revision} {doc.pack()}"
            docs.append(f"{name}${len(text)}\r\n{text}\r\n")
            if not keeps_payload and isinstance(payload, bytes):
                payloads += f"{name}${len(payload)}\r\n".encode(), payload, b"\r\n"
        else:
            last_revisions.append(argument(f"{old} "))
            gone.append(name)
        # What stays as it is need not be said.
        after = indexes(doc)
        was = known(job_id, old)
        before = indexes(was) if was is not None else _ANYWHERE if old else _NOWHERE
        if after != before:
            line, due_us, is_live, is_broken = after
            was_in, was_due_us, was_live, was_broken = before
            if line != was_in:
                if was_in:
                    left[was_in].append(name)
                elif was_in is None:
                    for other in LINES:
                        if other != line:
                            left[other].append(name)
            if line and (line != was_in or due_us != was_due_us):
                score = str(due_us)
                places[line].append(f"${len(score)}\r\n{score}\r\n{name}")
            if is_live is not was_live:
                (members if is_live else others)[LIVE].append(name)
            if is_broken is not was_broken:
                (members if is_broken else others)[BROKEN].append(name)
        if its_records:
            for uid, record in its_records:
                fire_us = record[1]
                key = record_key(job_id, uid, fire_us, record[2])
                size = len(key) if key.isascii() else len(key.encode())
                text = pack_record(record)
                score = str(fire_us)
                records.append(f"${size}\r\n{key}\r\n${len(text)}\r\n{text}\r\n${len(score)}\r\n{score}\r\n")
                if record[3] in FAILED:
                    failed.append(len(records))
            if random() * often < 1:
                cut.append(job_id)
    commands = [
        ("HSET", JOBS, docs, 2),
        ("HDEL", JOBS, gone, 1),
        ("HDEL", PAYLOADS, gone, 1),
        *(("ZREM", key, some, 1) for key, some in left.items()),
        *(("ZADD", key, some, 2) for key, some in places.items()),
        *(("SADD", key, some, 1) for key, some in members.items()),
        *(("SREM", key, some, 1) for key, some in others.items()),
    ]
    told = [(command, key, size * len(some)) for command, key, some, size in commands if some]
    if payloads:
        told.append(("HSET", PAYLOADS, 2 * len(payloads) // 3))
    revisions += last_revisions
    batch = {
        "revisions": len(revisions),
        "documents": len(docs),
        "gone": len(gone),
        "commands": told,
        "records": len(records),
        "failed": failed,
        "cut": cut,
        "keep": keep,
    }
    head = "EVAL", WRITE, str(len(keys)), *keys, owner, to_json(batch)
    count = len(head) + len(revisions) + sum(size for _, _, size in told) + 3 * len(records)
    texts = (revisions, *(some for _, _, some, _ in commands))
    # Documents and records are JSON in ASCII: as many bytes as characters.
    first = "".join((f"*{count}\r\n", *map(argument, head), *chain.from_iterable(texts)))
    return b"".join((first.encode(), *payloads, "".join(records).encode()))


def argument(text: str) -> str:
    """An argument of a command, as Redis reads it."""
    return f"${len(text) if text.isascii() else len(text.encode())}\r\n{text}\r\n"


def indexes(doc: Doc) -> _Indexes:
    """Where a document is found."""
    _, _, uid, _, state, elapsed, _, due_us, _, _, _, live, past = doc
    is_live = True if live or past else False  # noqa: SIM210  # a call takes longer
    if not uid:
        return 0, 0, is_live, False
    if due_us is None:
        return IDLE, 0, is_live, state is _STATE_BROKEN
    return ELAPSED if elapsed else WALL, due_us, is_live, state is _STATE_BROKEN
