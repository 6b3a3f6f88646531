"""Compressed answers are read however they are split, and only up to a bound."""

import gzip
import itertools
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.http.decompression import MAX_DECODED, Decompressor

TEXT = b'data: {"usage":{"prompt_tokens":1}}\n\n' * 20


def decoded(name: str, chunks: list[bytes]) -> bytes:
    decompressor = Decompressor(name)
    return b"".join([decompressor.feed(chunk) for chunk in chunks])


@pytest.mark.parametrize("name", ["gzip", "x-gzip", " GZIP "])
def test_gzip_is_decoded(name: str) -> None:
    """Gzip is decoded under both of its names, in any case."""
    assert decoded(name, [gzip.compress(TEXT)]) == TEXT


def test_deflate_is_decoded() -> None:
    """Deflate is decoded as zlib's format (RFC 9110 §8.4.1.2)."""
    assert decoded("deflate", [zlib.compress(TEXT)]) == TEXT


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
def test_chunks_may_be_split_anywhere(content: bytes, at: list[int]) -> None:
    """The decoded bytes are the same however the compressed ones are split."""
    stream = gzip.compress(content)
    bounds = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    assert decoded("gzip", [stream[start:end] for start, end in itertools.pairwise(bounds)]) == content


def test_flushed_bytes_are_decoded_at_once() -> None:
    """What the upstream has flushed is decoded before the end."""
    compressor = zlib.compressobj(wbits=31)
    decompressor = Decompressor("gzip")
    assert decompressor.feed(compressor.compress(TEXT) + compressor.flush(zlib.Z_SYNC_FLUSH)) == TEXT
    assert decompressor.feed(compressor.compress(b"more") + compressor.flush()) == b"more"


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, br", "", "\x00"])
def test_unknown_coding_gives_nothing(name: str) -> None:
    """An unknown coding gives no bytes and no error."""
    assert decoded(name, [gzip.compress(TEXT), TEXT]) == b""


@given(st.lists(st.binary(), max_size=4))
def test_invalid_bytes_give_nothing(chunks: list[bytes]) -> None:
    """Bytes that are not gzip give no bytes and no error."""
    assert decoded("gzip", [b"\x00", *chunks]) == b""


def test_damaged_byte_ends_the_decoding() -> None:
    """After a damaged byte nothing more is decoded."""
    stream = gzip.compress(TEXT)
    assert decoded("gzip", [stream[:10], b"\xff" * 5, stream[10:]]) == b""


@pytest.mark.parametrize("size", [1024, 100_000_000])
def test_decompression_bomb_is_bounded(size: int) -> None:
    """A compressed answer is decoded only up to the bound, however it is split."""
    bomb = gzip.compress(bytes(5 * MAX_DECODED))
    chunks = [bomb[at : at + size] for at in range(0, len(bomb), size)]
    assert 0 < len(decoded("gzip", chunks)) <= MAX_DECODED


def test_decompression_bomb_takes_bounded_memory() -> None:
    """A bomb of 100 kB that would become 100 MB takes less than three times the bound."""
    bomb = gzip.compress(bytes(100_000_000))
    tracemalloc.start()
    decoded("gzip", [bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_DECODED


def test_bytes_after_the_end_are_dropped() -> None:
    """Bytes after the end of the compressed data give nothing and take no memory."""
    decompressor = Decompressor("gzip")
    assert decompressor.feed(gzip.compress(TEXT)) == TEXT
    tracemalloc.start()
    assert [decompressor.feed(bytes(100_000)) for _ in range(20)] == [b""] * 20
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 100_000
