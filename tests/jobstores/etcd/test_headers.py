"""Headers of HTTP/2 that come again: the same bytes and the same headers as without remembering them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from schedcore.jobstores._etcd_headers import RememberingDecoder, RememberingEncoder

Headers = tuple[tuple[bytes, bytes], ...]

CALL: Headers = ((b":method", b"POST"), (b":path", b"/a.B/C"), (b"te", b"trailers"))
TOKEN: Headers = (*CALL, NeverIndexedHeaderTuple(b"token", b"secret"))

some_headers = st.lists(
    st.tuples(
        st.sampled_from([b":path", b"te", b"a", b"token"]),
        st.sampled_from([b"", b"b", b"trailers", b"x" * 60, b"y" * 200]),
    ),
    max_size=4,
).map(tuple)


@given(
    st.lists(some_headers, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, None, None, 0, 100, 4096])), max_size=40),
)
def test_as_without_remembering(known: Sequence[Headers], sent: Sequence[tuple[int, int | None]]) -> None:
    """Headers of a few kinds, one after the other, while the server changes the size of its table."""
    plain, ours = Encoder(), RememberingEncoder()
    plainly, reader = Decoder(), RememberingDecoder()
    for number, size in sent:
        headers = known[number % len(known)]
        if size is not None:
            plain.header_table_size = ours.header_table_size = size
        block = plain.encode(headers)
        assert ours.encode(headers) == block
        assert list(reader.decode(block, raw=True)) == list(plainly.decode(block, raw=True)) == list(headers)


def test_what_comes_again_is_not_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder = RememberingEncoder(), RememberingDecoder()
    blocks = [encoder.encode(CALL) for _ in range(2)]
    for block in blocks:
        decoder.decode(block, raw=True)
    for cls, name in ((Encoder, "encode"), (Decoder, "decode")):
        monkeypatch.delattr(cls, name)
    assert encoder.encode(CALL) == blocks[1]
    assert tuple(decoder.decode(blocks[1], raw=True)) == CALL


def test_no_table_has_a_token() -> None:
    encoder = RememberingEncoder()
    blocks = [encoder.encode(TOKEN) for _ in range(3)]
    assert len(blocks[1]) > len(encoder.encode(CALL))
    assert blocks[1] == blocks[2]
    assert not any(b"token" in entry for entry in encoder.header_table.dynamic_entries)
