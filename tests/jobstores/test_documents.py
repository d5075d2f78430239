"""Documents and run records as text: what is read back is what was written, whichever way it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcore.job import JobState
from schedcore.jobstores._documents_doc import (
    DAMAGED,
    Doc,
    LiveRun,
    Past,
    pack_record,
    unpack_doc,
    unpack_record,
)
from schedcore.run import LIVE_STATES, RunRecord, RunState

# No halves of surrogate pairs, which no store takes.
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_uids = _texts.filter(lambda uid: "\0" not in uid)
_counts = st.integers(0, 2**31)
_instants = st.integers(-(10**15), 10**17)
_maybe_instants = st.none() | _instants
_live = st.lists(
    st.builds(LiveRun, _instants, _counts, st.sampled_from(sorted(LIVE_STATES)), _maybe_instants, _maybe_instants),
    max_size=3,
).map(tuple)
_docs = st.builds(
    Doc,
    id=_texts,
    revision=_counts,
    uid=_uids,
    version=_counts,
    state=st.sampled_from(JobState),
    elapsed=st.booleans(),
    fire_us=_maybe_instants,
    due_us=_maybe_instants,
    reason=st.none() | _texts,
    last_us=_instants,
    payload=st.none() | st.binary(max_size=5),
    live=_live,
    past=st.just(())
    | st.lists(st.builds(Past, _uids, st.none() | st.binary(max_size=5), _live), max_size=2).map(tuple),
)
_outputs = st.none() | _texts
_records = st.builds(
    RunRecord,
    job_id=_texts,
    fire_us=_instants,
    attempt=_counts,
    state=st.sampled_from(RunState),
    reason=st.none() | _texts,
    times=_counts,
    until_us=_maybe_instants,
    submitted_us=_maybe_instants,
    started_us=_maybe_instants,
    finished_us=_maybe_instants,
    error=_outputs,
    traceback=_outputs,
    result=_outputs,
    output=_outputs,
    exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
)


def _plain_doc(doc: Doc, fire_us: int, due_us: int) -> Doc:
    """As most are."""
    return doc._replace(fire_us=fire_us, due_us=due_us, reason=None, past=())


def _plain_record(record: RunRecord, at_us: int, result: str | None, exit_code: int | None) -> RunRecord:
    """As most are."""
    quiet = record._replace(reason=None, until_us=None, error=None, traceback=None, result=result, output=None)
    return quiet._replace(submitted_us=at_us, started_us=at_us, finished_us=at_us, exit_code=exit_code)


_plain_docs = st.builds(_plain_doc, _docs, _instants, _instants)
_plain_records = st.builds(_plain_record, _records, _instants, st.sampled_from([None, ""]), st.sampled_from([None, 0]))


@given(_docs | _plain_docs)
def test_documents(doc: Doc) -> None:
    text = doc.pack()
    assert text.isascii()
    assert "\n" not in text
    assert unpack_doc(doc.id, doc.revision, text, doc.payload) == doc


@pytest.mark.parametrize("uid", ["\ud800", "a\0b"])
@pytest.mark.parametrize("past", [False, True])
def test_a_uid_that_no_key_of_a_record_can_have(uid: str, past: bool) -> None:
    """Nobody of us wrote it, and a run of that job could not be put on record."""
    doc = Doc("a", 1, "" if past else uid, past=(Past(uid, None, ()),) if past else ())
    read = unpack_doc("a", 1, doc.pack(), None)
    assert (read.state, read.reason) == (JobState.BROKEN, DAMAGED)
    assert read.uid.isalnum()
    assert read.past == ()


@given(_records | _plain_records)
def test_records(record: RunRecord) -> None:
    text = pack_record(record)
    assert text.isascii()
    assert unpack_record(text) == record
