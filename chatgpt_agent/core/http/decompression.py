"""Reading a compressed answer, which OpenAI was asked not to send, without letting it grow past a bound."""

import zlib

MAX_DECODED = 8 * 1024 * 1024  # bytes that are looked at; a bomb of 2.8 MB would become 1 GB

_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Decompressor:
    """Decodes what it is fed, in whatever pieces. Past the bound, or where the bytes are not what they claim to be, it
    gives nothing more: the usage is then unknown, and the answer still passes as it came."""

    def __init__(self, content_encoding: str) -> None:
        window = _WINDOW.get(content_encoding.strip().lower())
        self._decoder = zlib.decompressobj(window) if window else None
        self._left = MAX_DECODED

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that can be read now."""
        if self._decoder is None:
            return b""
        try:
            out = self._decoder.decompress(chunk, self._left)
        except zlib.error:
            self._decoder = None
            return b""
        self._left -= len(out)
        if self._left <= 0 or self._decoder.unconsumed_tail or self._decoder.eof:  # past eof it would keep all bytes
            self._decoder = None
        return out
