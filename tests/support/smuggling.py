"""A corpus of requests that programs have read differently, as raw bytes, each with what the agent must do.

Sections are of RFC 9112 unless they name another one. In the texts stand `{L}` for the length of a valid body, `{X}`
for the same in hexadecimal; `BODY` is this body, and `HIDDEN` a whole request that may be run only where each reader
sees it as a request of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.support.odd_http import (
    BAD_CODINGS,
    BAD_ENDS,
    BAD_HOSTS,
    BAD_LAST_CHUNKS,
    BAD_LENGTHS,
    BAD_LINES,
    BAD_NAMES,
    BAD_SIZES,
    BAD_VERSIONS,
    GOOD_CODINGS,
    GOOD_LAST_CHUNKS,
    GOOD_LENGTHS,
    GOOD_LINES,
    OTHER_NAMES,
)

MARK, HIDDEN_MARK = b"m00000", b"h00000"  # replaced by other text of this length
END = b"\r\n\r\n"


class Site(NamedTuple):
    """A URL of a listener: a POST with its fields and a valid body, what it answers, and the last request of a
    connection, which is answered with 200."""

    path: str
    fields: tuple[str, ...]
    body: bytes  # with MARK in it
    status: int
    takes_query: bool


class Case(NamedTuple):
    """Bytes, the statuses that come back, and how often the request in them may have an effect. A case is followed by
    another request: with `statuses` that end in LAST it is answered, otherwise the connection has ended before it."""

    name: str
    section: str
    data: bytes
    statuses: tuple[int, ...]
    effects: int = 0
    hidden_effects: int = 0


LAST = 204  # of the request behind each case
LAST_REQUEST = b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def corpus(site: Site) -> Iterator[Case]:
    """Yields the cases with the bytes for one URL."""
    builder = _Builder(site)
    yield from builder.lengths()
    yield from builder.codings()
    yield from builder.chunks()
    yield from builder.lines()
    yield from builder.targets()
    yield from builder.hosts()
    yield from builder.options()
    yield from builder.hidden()
    yield from builder.sizes()


class _Builder:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._length = len(site.body)

    def request(
        self, *fields: str, line: str = "", body: bytes | None = None, host: str | None = "a", end: str = "\r\n"
    ) -> bytes:
        """Returns a POST with its own fields and these, and a body: by default the valid one."""
        hosts = () if host is None else (f"Host: {host}",)
        lines = [line or f"POST {self._site.path} HTTP/1.1", *hosts, *self._site.fields, *fields, "", ""]
        text = end.join(lines).replace("{L}", str(self._length)).replace("{X}", f"{self._length:x}")
        return text.encode("latin-1", "replace") + (self._site.body if body is None else body)

    def chunked(self, size: str = "{X}", end: bytes = b"\r\n", last: bytes = b"0\r\n\r\n") -> bytes:
        """Returns the body in one chunk."""
        line = size.replace("{X}", f"{self._length:x}").encode("latin-1")
        return line + b"\r\n" + self._site.body + end + last

    def one(self, name: str, section: str, data: bytes) -> Case:
        """Returns a case that is exactly one request."""
        return Case(name, section, data, (self._site.status, LAST), effects=1)

    @staticmethod
    def refused(name: str, section: str, data: bytes, status: int = 400) -> Case:
        """Returns a case that is refused, and ends its connection."""
        return Case(name, section, data, (status,))

    def lengths(self) -> Iterator[Case]:
        """Content-Length: one number, or the connection ends (§6.3)."""
        for value in BAD_LENGTHS:
            yield self.refused(f"Content-Length {value!r}", "6.3", self.request(f"Content-Length: {value}"))
        for value in GOOD_LENGTHS:
            yield self.one(f"Content-Length {value!r}", "6.3", self.request(f"Content-Length: {value}"))
        for value in ("9" * 19, "9" * 5000, "18446744073709551616", "4294967296"):
            data = self.request(f"Content-Length: {value}")
            yield self.refused(f"Content-Length {value[:24]}", "6.3", data, 413)
        for first, second in (("{L}", "1"), ("1", "{L}"), ("0", "{L}"), ("{L}", "0"), ("{L}", ""), ("{L}", "+{L}")):
            data = self.request(f"Content-Length: {first}", f"Content-Length: {second}")
            yield self.refused(f"Content-Length {first} and {second}", "6.3", data)
        yield self.one("the same length twice", "6.3", self.request("Content-Length: {L}", "content-length: {L}"))
        for name in BAD_NAMES:
            data = self.request(f"{name.format('Content-Length')}: {{L}}")
            yield self.refused(f"name {name!r} of a length", "5.1", data)

    def codings(self) -> Iterator[Case]:
        """Transfer-Encoding: `chunked` alone, once, and without a length (§6.1, §6.3)."""
        for value in BAD_CODINGS:
            data = self.request(f"Transfer-Encoding: {value}", body=self.chunked())
            yield self.refused(f"Transfer-Encoding {value!r}", "6.1", data)
        for value in GOOD_CODINGS:
            data = self.request(f"Transfer-Encoding: {value}", body=self.chunked())
            yield self.one(f"Transfer-Encoding {value!r}", "6.1", data)
        coding, length = "Transfer-Encoding: chunked", "Content-Length: {L}"
        for name, fields in {
            "a length, then a coding": (length, coding),
            "a coding, then a length": (coding, length),
            "a length of 0, then a coding": ("Content-Length: 0", coding),
            "a coding in another case": (length, "tRANSFER-eNCODING: CHUNKED"),
            "a length and an unknown coding": (length, "Transfer-Encoding: x"),
            "a length and no coding": (length, "Transfer-Encoding:"),
            "the coding twice": (coding, coding),
            "two codings": (coding, "Transfer-Encoding: identity"),
            "two codings, the other order": ("Transfer-Encoding: identity", coding),
            "a folded coding": ("Transfer-Encoding:\r\n chunked",),
            "a coding in a folded line": ("X-Odd: a\r\n Transfer-Encoding: chunked", length),
        }.items():
            yield self.refused(name, "6.3", self.request(*fields, body=self.chunked()))
            yield self.refused(f"{name}, whole", "6.3", self.request(*fields))
        for name in BAD_NAMES:
            data = self.request(f"{name.format('Transfer-Encoding')}: chunked", length)
            yield self.refused(f"name {name!r} of a coding", "5.1", data)
        for name in OTHER_NAMES:
            data = self.request(f"{name.format('Transfer-Encoding')}: chunked", length)
            yield self.one(f"another field {name!r}", "5.1", data)
        line = f"POST {self._site.path} HTTP/1.0"
        yield self.refused("a coding of HTTP/1.0", "6.1", self.request(coding, line=line, body=self.chunked()))

    def chunks(self) -> Iterator[Case]:
        """Sizes are hexadecimal digits alone; extensions and trailers are refused (§7.1)."""
        for size in BAD_SIZES:
            data = self.request("Transfer-Encoding: chunked", body=self.chunked(size))
            yield self.refused(f"size {size[:40]!r}", "7.1", data)
        for size in ("{X}", "0{X}", "00000000{X}"):
            yield self.one(f"size {size!r}", "7.1", self.request("Transfer-Encoding: chunked", body=self.chunked(size)))
        for size in ("f" * 16, "1" + "0" * 16, "7fffffff", "f" * 60):
            data = self.request("Transfer-Encoding: chunked", body=self.chunked(size))
            yield self.refused(f"size {size}", "7.1", data, 413)
        for end in BAD_ENDS:
            data = self.request("Transfer-Encoding: chunked", body=self.chunked(end=end))
            yield self.refused(f"end of a chunk {end!r}", "7.1", data)
        for last in BAD_LAST_CHUNKS:
            data = self.request("Transfer-Encoding: chunked", body=self.chunked(last=last))
            yield self.refused(f"last chunk {last!r}", "7.1", data)
        for last in GOOD_LAST_CHUNKS:
            data = self.request("Transfer-Encoding: chunked", body=self.chunked(last=last))
            yield self.one(f"last chunk {last!r}", "7.1", data)

    def lines(self) -> Iterator[Case]:
        """Lines end with CRLF; names are tokens; values have no control characters (§2.2, §5)."""
        length = "Content-Length: {L}"
        for line in BAD_LINES:
            yield self.refused(f"line {line!r}", "5", self.request(line, length))
            yield self.refused(f"line {line!r} in the end", "5", self.request(length, line))
        for line in GOOD_LINES:
            yield self.one(f"line {line!r}", "5", self.request(line, length))
        for end in ("\n", "\r", "\n\r", "\r\r\n", "\x0b", "\x85", "\r\n "):
            yield self.refused(f"line end {end!r}", "2.2", self.request(length, end=end))
        good = self.request(length)
        for number in range(good.index(END) + 2):
            if good[number : number + 2] == b"\r\n":
                data = good[:number] + good[number + 1 :]
                yield self.refused(f"one bare LF, at {number}", "2.2", data)
        yield self.refused("LF and CRLF at the end of a head", "2.2", good.replace(END, b"\n\r\n"))
        yield self.refused("CRLF and LF at the end of a head", "2.2", good.replace(END, b"\r\n\n"))
        yield self.one("an empty line before", "2.2", b"\r\n" + good)
        for before in (b"\r\n\r\n", b"\r\n" * 1000, b"\n", b"\r", b"\r\r\n", b"\r\n\n"):
            yield self.refused(f"{before[:8]!r} before", "2.2", before + good)
        for before in (b" ", b"\t", b"\0", b"\r\n ", b"\xef\xbb\xbf", b"\x16\x03\x01", b"{", b"\x80."):
            yield Case(f"{before!r} before", "2.2", before + good, ())

    def targets(self) -> Iterator[Case]:
        """A target is a path or a URL of this host (§3.2); a request line has two spaces and a version (§3)."""
        length, path = "Content-Length: {L}", self._site.path
        queries = (f"{path}?x=1", f"{path}?http://b/") if self._site.takes_query else ()
        for target in (f"http://a{path}", f"HTTP://A:80{path}", f"https://a{path}", *queries):
            data = self.request(length, line=f"POST {target} HTTP/1.1")
            yield self.one(f"target {target!r}", "3.2", data)
        for target in (
            f"http://b{path}", f"http://a@b{path}", f"http://b@a{path}", f"http://{path}", f"ftp://a{path}", "a:80",
            "*", f"http:/{path}", f"http:{path}", path[1:], f"\\{path}", "?", "#", f"a{path}", f"http://a:81{path}",
            f"http://a\\{path}", f"http://a%2f{path}",
        ):  # fmt: skip
            yield self.refused(f"target {target!r}", "3.2", self.request(length, line=f"POST {target} HTTP/1.1"))
        odd = (f"{path} ", f" {path}", f"{path} x", f"{path}\tx", f"{path}\0", f"{path}\x0b", f"{path}\x7f", "")
        for target in odd:
            yield self.refused(f"target {target!r}", "3.2", self.request(length, line=f"POST {target} HTTP/1.1"))
        for version, status in BAD_VERSIONS.items():
            data = self.request(length, line=f"POST {path}{version}")
            yield self.refused(f"version {version!r}", "2.3", data, status)
        yield self.one("version 1.2", "2.3", self.request(length, line=f"POST {path} HTTP/1.2"))
        old = self.request(length, line=f"POST {path} HTTP/1.0", host=None)
        yield Case("HTTP/1.0 without a host", "9.3", old, (self._site.status,), effects=1)
        tokens = self.request(length, self._site.fields[0])
        yield Case("two tokens", "RFC 9110 11.6.2", tokens, (401,))
        yield self.refused("HTTP/0.9", "3", f"GET {path}\r\n\r\n".encode())
        yield self.refused("the preface of HTTP/2", "3", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(27), 505)
        yield Case("method '(POST)'", "3.1", self.request(length, line=f"(POST) {path} HTTP/1.1"), ())
        for method in ("PO ST", "POST\0", "P\xd6ST", "POST\t", "P(OST)", "POST,"):
            data = self.request(length, line=f"{method} {path} HTTP/1.1")
            yield self.refused(f"method {method!r}", "3.1", data)

    def hosts(self) -> Iterator[Case]:
        """There is exactly one Host, without a user (§3.2)."""
        for host in BAD_HOSTS:
            yield self.refused(f"Host {host!r}", "3.2", self.request("Content-Length: {L}", host=host))
        yield self.refused("no Host", "3.2", self.request("Content-Length: {L}", host=None))
        for host in ("a:80", "[::1]", "[::1]:80", "127.0.0.1", "A.b-c", " a "):
            yield self.one(f"Host {host!r}", "3.2", self.request("Content-Length: {L}", host=host))

    def options(self) -> Iterator[Case]:
        """Expectations, upgrades and options of the connection change nothing of what a request is."""
        length = "Content-Length: {L}"
        for field in (
            "Expect: 100-continue", "Expect: 100-Continue", "Expect: 100-continue\r\nExpect: 100-continue",
            "Expect: 200-ok", "Expect: ", "Expect: 100-continue, x", "Upgrade: h2c", "Upgrade: TLS/1.0", "Upgrade: x",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: Content-Length", "Connection: Transfer-Encoding", "Connection: Host, Authorization",
            "Connection: keep-alive", "Connection: x, keep-alive", "Keep-Alive: timeout=5", "TE: trailers, chunked",
            "Trailer: Content-Length", "Proxy-Connection: close", "Max-Forwards: 0", "X-HTTP-Method-Override: DELETE",
            "X-Original-URL: /nowhere", "X-Rewrite-URL: /nowhere", "X-Forwarded-Host: b", "Forwarded: host=b",
            "Content-Length_: 0", "Sec-WebSocket-Key: x",
        ):  # fmt: skip
            yield self.one(f"field {field!r}", "RFC 9110", self.request(field, length))
        for value in ("close", "Close", "keep-alive, close", "close, keep-alive", "x,\tCLOSE"):
            data = self.request(f"Connection: {value}", length)
            yield Case(f"Connection {value!r}", "9.6", data, (self._site.status,), effects=1)
        data = self.request("Connection: Upgrade", "Upgrade: websocket", length)
        yield self.refused("a WebSocket", "RFC 9110 7.8", data, 426)

    def hidden(self) -> Iterator[Case]:
        """A request within the body of another one, or behind one that ends its connection, is never run."""
        inner = self.request("Content-Length: {L}", body=self._site.body.replace(MARK, HIDDEN_MARK))
        own = f"Content-Length: {len(inner)}"
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
        wrong = self._site.fields[0].replace("Bearer ", "Bearer x")
        path = self._site.path
        plain = "POST {} HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n"
        for name, head, body, status in (
            ("without a token", plain.format(path, own), inner, 401),
            ("with a wrong token", plain.format(path, f"{wrong}\r\n{own}"), inner, 401),
            ("without a token, chunked", plain.format(path, "Transfer-Encoding: chunked"), chunk, 401),
            ("without a token, expected", plain.format(path, f"Expect: 100-continue\r\n{own}"), inner, 401),
            ("at an unknown URL", plain.format("/nowhere", own), inner, 404),
            ("of a DELETE", f"DELETE /healthz HTTP/1.1\r\nHost: a\r\n{own}\r\n\r\n", inner, 405),
            ("of OPTIONS", f"OPTIONS * HTTP/1.1\r\nHost: a\r\n{own}\r\n\r\n", inner, 204),
        ):
            yield Case(f"a request in the body {name}", "6.3", head.encode() + body, (status,))
        for method, body in (("GET", inner), ("HEAD", inner), ("GET", chunk)):
            framing = own if body is inner else "Transfer-Encoding: chunked"
            data = f"{method} /healthz HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + body
            yield Case(f"a request in the body of {method}, {framing}", "6.3", data, (200, LAST))
        data = self.request("Connection: close", "Content-Length: {L}") + inner
        yield Case("a request behind the last one", "9.6", data, (self._site.status,), effects=1)
        for field in ("odd", "Content-Length: 0", "Transfer-Encoding: chunked"):
            data = self.request(field, "Content-Length: {L}") + inner
            yield self.refused(f"a request behind {field!r}", "9.6", data)
        outer = self.request("Content-Length: {L}") + inner
        both = (self._site.status, self._site.status, LAST)
        yield Case("two requests", "9.3.2", outer, both, 1, 1)
        outer = self.request("Transfer-Encoding: chunked", body=self.chunked()) + inner
        yield Case("two requests, the first in chunks", "9.3.2", outer, both, 1, 1)
        for end in (b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\r\n \r\n"):
            data = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Odd: a" + end + inner
            yield self.refused(f"a request behind {end!r}", "2.2", data)

    def sizes(self) -> Iterator[Case]:
        """A head is bounded (§3, §5)."""
        length = "Content-Length: {L}"
        for name, data in {
            "a long field": self.request(length, "X-Odd: " + "x" * 70_000),
            "a long name": self.request(length, "x" * 70_000 + ": a"),
            "a long target": self.request(length, line=f"POST {self._site.path}?{'x' * 70_000} HTTP/1.1"),
            "ten thousand fields": self.request(length, *["X: y"] * 10_000),
            "a long method": self.request(length, line="x" * 70_000),
        }.items():
            yield self.refused(name, "5", data, 431)
