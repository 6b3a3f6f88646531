"""Compressed answers: read in whatever pieces they come, and never past a bound."""

import gzip
import itertools
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.http.decompression import MAX_DECODED, Decompressor

TEXT = b'data: {"usage":{"prompt_tokens":1}}\n\n' * 20


def decoded(name: str, pieces: list[bytes]) -> bytes:
    inflater = Decompressor(name)
    return b"".join([inflater.feed(piece) for piece in pieces])


@pytest.mark.parametrize("name", ["gzip", "x-gzip", " GZIP "])
def test_gzip_is_read(name: str) -> None:
    """Gzip is read under both of its names, in any case."""
    assert decoded(name, [gzip.compress(TEXT)]) == TEXT


def test_deflate_is_read() -> None:
    """Deflate is zlib's format (RFC 9110 §8.4.1.2)."""
    assert decoded("deflate", [zlib.compress(TEXT)]) == TEXT


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
def test_pieces_do_not_matter(content: bytes, at: list[int]) -> None:
    """Whatever was compressed comes out, in whatever pieces it came."""
    stream = gzip.compress(content)
    bounds = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    assert decoded("gzip", [stream[start:end] for start, end in itertools.pairwise(bounds)]) == content


def test_bytes_are_read_as_they_come() -> None:
    """What the upstream has flushed can be read before the end."""
    compressor = zlib.compressobj(wbits=31)
    inflater = Decompressor("gzip")
    assert inflater.feed(compressor.compress(TEXT) + compressor.flush(zlib.Z_SYNC_FLUSH)) == TEXT
    assert inflater.feed(compressor.compress(b"more") + compressor.flush()) == b"more"


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, br", "", "\x00"])
def test_other_codings_are_not_read(name: str) -> None:
    """A coding that is not known gives nothing, and no error."""
    assert decoded(name, [gzip.compress(TEXT), TEXT]) == b""


@settings(deadline=None)
@given(st.lists(st.binary(), max_size=4))
def test_bytes_that_lie_about_their_coding_give_nothing(pieces: list[bytes]) -> None:
    """Bytes that are not gzip give nothing, and no error."""
    assert decoded("gzip", [b"\x00", *pieces]) == b""


def test_damage_ends_the_reading() -> None:
    """After a damaged byte nothing more is given, even where the rest is whole."""
    stream = gzip.compress(TEXT)
    assert decoded("gzip", [stream[:10], b"\xff" * 5, stream[10:]]) == b""


@pytest.mark.parametrize("size", [1024, 100_000_000])
def test_bomb_is_cut_at_the_bound(size: int) -> None:
    """A compressed answer is read up to the bound and not a byte further, in small pieces or in one."""
    bomb = gzip.compress(bytes(5 * MAX_DECODED))
    pieces = [bomb[at : at + size] for at in range(0, len(bomb), size)]
    assert 0 < len(decoded("gzip", pieces)) <= MAX_DECODED


def test_bomb_takes_memory_for_the_bound_alone() -> None:
    """A bomb of 100 kB that would become 100 MB takes a small multiple of the bound."""
    bomb = gzip.compress(bytes(100_000_000))
    tracemalloc.start()
    decoded("gzip", [bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_DECODED


def test_what_follows_the_end_is_not_kept() -> None:
    """Bytes after the end of the compressed data give nothing and take no memory."""
    inflater = Decompressor("gzip")
    assert inflater.feed(gzip.compress(TEXT)) == TEXT
    tracemalloc.start()
    assert [inflater.feed(bytes(100_000)) for _ in range(20)] == [b""] * 20
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000
