"""Documents, and their payloads: in the document, under a key of its own if it is large, in pieces where no request holds it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeGuard

from schedcore.jobstores._chunks import chunks
from schedcore.jobstores._documents_doc import Change, Doc, unpack_doc
from schedcore.jobstores._keyed_keys import Key, Named, Op, Step, loose
from schedcore.jobstores._keyed_sending import KeyedSending

__all__ = ["KeyedPayloads"]

# Times that a reader looks again for pieces that their owner changes meanwhile.
_TRIES = 10
# Bytes up to which a payload lies in the document.
_SMALL = 500
# Pieces of a payload at the most.
_MOST_PIECES = 16
# What a payload begins with that is in pieces. Then come, with a space between, what their names have in common and how many.
_IN_PIECES = b"\0in pieces "


class KeyedPayloads(KeyedSending):
    """Documents, read and written with their payloads."""

    def _reset(self) -> None:
        super()._reset()
        self._pieces: dict[str, set[str]] | None = None  # that are there, by uid; None: they are to be read

    def _forget_what_was_read(self) -> None:
        super()._forget_what_was_read()
        self._pieces = None

    def _bare(self, ids: Sequence[str]) -> dict[str, Doc]:
        """Documents by id, without payloads that are elsewhere; those that are not there are left out."""
        found: dict[str, Doc] = {}
        for some in chunks(ids):
            for job_id, (text, revision) in self._texts(some).items():
                text, inside, payload = text.partition(b"\n")
                found[job_id] = unpack_doc(job_id, revision, text, payload if inside else None)
        return found

    def _light(self, doc: Doc) -> Doc:
        # A payload that has a key of its own is not needed to write the document, and would be written again with it.
        return doc if doc.payload is None or _is_inside(doc.payload) else doc._replace(payload=None)

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        docs = self._bare(ids)
        payloads = self._payloads(key for doc in docs.values() for key in _payload_keys(doc))

        def full(doc: Doc) -> Doc:
            def apart(uid: str) -> bytes | None:
                found = payloads.get(Named("payloads", uid))
                return None if found is None else _Apart(found)

            past = tuple(
                [one._replace(payload=apart(one.uid) or b"") if one.payload == b"" else one for one in doc.past]
            )
            return doc._replace(payload=apart(doc.uid) if doc.payload is None else doc.payload, past=past)

        return {job_id: full(doc) for job_id, doc in docs.items()}

    def _fetch_payloads(self, docs: Sequence[Doc]) -> Mapping[str, bytes | None]:
        found = self._payloads(Named("payloads", doc.uid) for doc in docs)
        return {doc.id: found.get(Named("payloads", doc.uid)) for doc in docs}

    def _document_text(self, doc: Doc) -> bytes:
        """A document as it is written, with the payloads that lie in it."""
        if doc.past:
            past = [
                one if one.payload is None or _is_inside(one.payload) else one._replace(payload=b"") for one in doc.past
            ]
            doc = doc._replace(past=tuple(past))
        text, payload = doc.pack().encode(), doc.payload
        return b"%b\n%b" % (text, payload) if _is_inside(payload) else text

    def _payload_changes(self, change: Change, old: Doc) -> list[Op]:
        """What changes of payloads that do not lie in the document."""
        doc = change[1]
        there, kept = _payload_keys(old), _payload_keys(doc)
        if not there and not kept:
            return []
        ops: list[Op] = []
        for key in there:
            if key not in kept:
                ops += [*self._drop_pieces(key.name), Op("delete", key)]
        if doc.uid and type(doc.payload) is bytes and not _is_inside(doc.payload):
            key = Named("payloads", doc.uid)
            ops += [*self._drop_pieces(key.name), *self._payload_ops(key, doc.payload, key in there)]
        return ops

    # -- pieces -----------------------------------------------------------------------------------------------------------

    def _payloads(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Payloads, those that are in pieces put together; one of which some are missing is left as it is, and cannot be read."""
        wanted = list(dict.fromkeys(keys))
        found = dict(self._values(wanted))
        for _ in range(_TRIES):
            names = {key: _piece_keys(key, found[key]) for key in wanted if key in found}
            wanted = []
            for key, some in names.items():
                values = self._values(some) if some else {}
                if len(values) == len(some) > 0:
                    found[key] = b"".join([values[piece] for piece in some])
                elif some:
                    wanted.append(key)
            if not wanted or not self._read_only:
                break
            # Its owner has changed it meanwhile.
            found.update(self._values(wanted))
        return found

    def _payload_ops(self, key: Named, payload: bytes, there: bool) -> list[Op]:
        verb: Literal["set", "create"] = "set" if there else "create"
        size = self._piece_size
        if size is None or (len(payload) <= size and not payload.startswith(_IN_PIECES)):
            return [Op(verb, key, payload)]
        value = _IN_PIECES + f"{os.urandom(8).hex()} {-(-len(payload) // size)}".encode()
        starts = range(0, len(payload), size)
        pieces = [
            Op("create", piece, payload[start : start + size])
            for start, piece in zip(starts, _piece_keys(key, value), strict=True)
        ]
        return [*pieces, Op(verb, key, value)]

    def _pieces_by_uid(self) -> dict[str, set[str]]:
        if self._pieces is None:
            self._pieces = {}
            for name in [] if self._piece_size is None else self._names("pieces"):
                self._pieces.setdefault(name.partition("-")[0], set()).add(name)
        return self._pieces

    def _drop_pieces(self, uid: str) -> list[Op]:
        """What deletes the pieces that are there of a job's payload, also those that it does not name."""
        return [Op("delete", Named("pieces", name)) for name in sorted(self._pieces_by_uid().get(uid, ()))]

    def _follow(self, written: Sequence[Step], complete: bool) -> None:
        super()._follow(written, complete)
        if self._pieces is None or self._piece_size is None:
            return
        for verb, key, _ in [op for step in written for op in step.ops if op.key[0] == "pieces"]:
            uid = key[-1].partition("-")[0]
            if verb == "create":
                self._pieces.setdefault(uid, set()).add(key[-1])
            elif uid in self._pieces:
                self._pieces[uid].discard(key[-1])
                if not self._pieces[uid]:
                    del self._pieces[uid]

    def _delete_lost_pieces(self) -> None:
        """Those whose job was not written any more."""
        self._pieces = None
        keys: list[Key] = [Named("payloads", uid) for uid in self._pieces_by_uid()]
        named = {piece for key, value in self._values(keys).items() for piece in _piece_keys(key, value)}
        lost = [op for key in keys for op in self._drop_pieces(key[-1]) if op.key not in named]
        self._carry_out(loose(lost, self._max_ops))


class _Apart(bytes):
    """A payload as it was found under a key of its own, whatever its length."""


def _is_inside(payload: object) -> TypeGuard[bytes]:
    """Whether a payload lies in the document."""
    return type(payload) is bytes and len(payload) <= _SMALL


def _payload_keys(doc: Doc) -> list[Named]:
    """Where payloads are that do not lie in the document."""
    _, _, uid, _, _, _, _, _, _, _, payload, _, earlier = doc
    keys: list[Named] = []
    if uid and not _is_inside(payload):
        keys.append(Named("payloads", uid))
    for past in earlier:
        if past.payload == b"" or not (past.payload is None or _is_inside(past.payload)):
            keys.append(Named("payloads", past.uid))
    return keys


def _piece_keys(key: Key, value: bytes) -> list[Key]:
    """The pieces that a payload is in; none: it is whole."""
    tag, _, count = value[len(_IN_PIECES) :].partition(b" ") if value.startswith(_IN_PIECES) else (b"", b"", b"")
    if not count.isdigit() or len(count) > 2 or int(count) > _MOST_PIECES:
        return []
    return [Named("pieces", f"{key[-1]}-{tag.decode('ascii', 'replace')}-{number}") for number in range(int(count))]
