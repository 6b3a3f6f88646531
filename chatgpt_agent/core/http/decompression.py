"""Decompresses an answer that came compressed although we asked OpenAI not to, within a bound."""

import zlib

MAX_DECODED = 8 * 1024 * 1024  # bytes; a decompression bomb of 2.8 MB would become 1 GB

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Decompressor:
    """Decodes chunks. After the bound, or after invalid bytes, it returns nothing more: then the usage is unknown, but
    the answer still passes unchanged."""

    def __init__(self, content_encoding: str) -> None:
        window_bits = _WINDOW_BITS.get(content_encoding.strip().lower())
        self._decoder = zlib.decompressobj(window_bits) if window_bits else None
        self._left = MAX_DECODED

    def feed(self, chunk: bytes) -> bytes:
        """Returns the bytes that can be decoded now."""
        if self._decoder is None:
            return b""
        try:
            decoded = self._decoder.decompress(chunk, self._left)
        except zlib.error:
            self._decoder = None
            return b""
        self._left -= len(decoded)
        if self._left <= 0 or self._decoder.unconsumed_tail or self._decoder.eof:  # past eof it would keep all bytes
            self._decoder = None
        return decoded
