"""A server that answers each request with the request's own body, and sends stray bytes after each answer."""

import asyncio
import itertools
import socket
import ssl
import struct
from typing import cast

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LINGER = 0.01  # seconds between the end of a connection and what the server does next

# What comes after an answer over HTTP/1.1; "FIN" and "RST" end the connection.
STRAY_BYTES = {
    "a second answer": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    "a second answer in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstray\r\n0\r\n\r\n",
    "a second answer without a length": b"HTTP/1.1 200 OK\r\n\r\nstray",
    "two more answers": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray" * 2,
    "a stream": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: stray\n\ndata: [DONE]\n\n",
    "an answer of HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nstray",
    "an answer of HTTP/0.9": b"<html>stray</html>",
    "a late 408": b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    "a 400 that closes": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nstray",
    "a 401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nstray",
    "a 503": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "a 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /stray\r\nContent-Length: 0\r\n\r\n",
    "a 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a 102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "a 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: stray\r\nConnection: upgrade\r\n\r\n",
    "a body longer than announced": b"stray",
    "a body much longer than announced": b"stray" * 20_000,
    "a second last chunk": b"0\r\n\r\n",
    "trailers": b"X-Stray: 1\r\n\r\n",
    "half of a status line": b"HTTP/1.1 20",
    "half of a head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Stray: ",
    "an empty line": b"\r\n",
    "a single byte": b"\n",
    "a zero": b"\0",
    "frames of HTTP/2": b"\0\0\0\4\0\0\0\0\0",
    "the end": b"FIN",
    "a reset": b"RST",
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns a frame of HTTP/2 (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _answer(stream: int, body: bytes) -> bytes:
    return frame(1, 4, stream, b"\x88") + frame(0, 1, stream, body)  # 0x88: `:status: 200` in the static table


def stray_frames(stream: int) -> dict[str, bytes]:
    """Returns what comes after the answer on a stream over HTTP/2."""
    word = struct.pack(">I", 0)
    return {
        "a second answer": _answer(stream, b"stray"),
        "more of the body": frame(0, 0, stream, b"stray"),
        "an answer on the next stream": _answer(stream + 2, b"stray"),
        "an answer on a stream of the server": _answer(2, b"stray"),
        "a head on the next stream": frame(1, 4, stream + 2, b"\x88"),
        "a body on the next stream": frame(0, 1, stream + 2, b"stray"),
        "a body on no stream": frame(0, 1, 0, b"stray"),
        "a head on no stream": frame(1, 5, 0, b"\x88"),
        "trailers": frame(1, 5, stream, b"\x88"),
        "a pushed answer": frame(5, 4, stream, struct.pack(">I", 2) + b"\x82\x84\x86") + _answer(2, b"stray"),
        "a reset of the stream": frame(3, 0, stream, word),
        "a reset of the next stream": frame(3, 0, stream + 2, word),
        "a continuation": frame(9, 4, stream, b"\x88"),
        "a continuation on the next stream": frame(9, 4, stream + 2, b"\x88"),
        "more window": frame(8, 0, 0, struct.pack(">I", 1000)),
        "no more window": frame(8, 0, 0, word),
        "a ping": frame(6, 0, 0, bytes(8)),
        "an answer to no ping": frame(6, 1, 0, bytes(8)),
        "settings": frame(4, 0, 0),
        "an answer to no settings": frame(4, 1, 0),
        "an unknown frame": frame(0xBE, 0, 0, b"stray"),
        "a frame that is too large": frame(0, 0, stream, b"stray" * 10_000),
        "half of a frame": frame(0, 0, stream, b"stray")[:11],
        "an answer of HTTP/1.1": STRAY_BYTES["a second answer"],
        "a single byte": b"\n",
        "the end": b"FIN",
        "a reset": b"RST",
    }


class StrayServer:
    """Answers each request with the request's own body. `stray`: what comes after the answer, at each of `places` in
    turn: in the same packet, in a TLS record of its own in that packet, or later, once the test has called
    `answer_was_read`. With `tunnel` it is an HTTP proxy in front of TLS."""

    def __init__(
        self,
        stray: str | None,
        tls: ssl.SSLContext | None = None,
        *,
        http2: bool = False,
        tunnel: bool = False,
        places: tuple[str, ...] = ("packet", "record", "later"),
    ) -> None:
        self.requests: list[bytes] = []
        self.keys: list[set[bytes]] = []  # the keys on each connection
        self.open = 0  # connections
        self.sent = 0  # answers with what comes after them
        self._answer_read = asyncio.Event()
        self._stray = stray
        self._tls, self._tunnel, self._http2 = tls, tunnel, http2
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = itertools.cycle(places)

    async def start(self) -> None:
        """Listens on a free port."""
        tls = None if self._tunnel else self._tls
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def answer_was_read(self) -> None:
        """Lets what comes later come: a fixed time would be too short on a busy machine, and a reset loses what the
        client has not read."""
        self._answer_read.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        keys: set[bytes] = set()
        self.keys.append(keys)
        try:
            if self._tunnel:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(cast(ssl.SSLContext, self._tls))
            if self._http2:
                await self._serve_http2(reader, writer)
            else:
                await self._serve_http1(reader, writer, keys)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            self.open -= 1
            writer.close()

    async def _serve_http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keys: set[bytes]) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            keys.update(line for line in head.splitlines() if line.startswith(b"Authorization"))
            body = await reader.readuntil(b"}")
            self.requests.append(body)
            if len(self.requests) % 2:
                answer = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            else:
                answer = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            stray = STRAY_BYTES[self._stray] if self._stray else b""
            await self._send(writer, b"HTTP/1.1 200 OK\r\n" + answer, stray)

    async def _serve_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HTTP2_PREFACE))
        writer.write(frame(4, 0, 0))
        while True:
            head = await reader.readexactly(9)
            kind, flags, (stream,) = head[3], head[4], struct.unpack(">I", head[5:])
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == 0 and payload:
                self.requests.append(payload)
                stray = stray_frames(stream)[self._stray] if self._stray else b""
                await self._send(writer, _answer(stream, payload), stray)
            elif kind == 4 and not flags:
                writer.write(frame(4, 1, 0))

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes, stray: bytes) -> None:
        place = next(self._places)
        connection: socket.socket | None = writer.get_extra_info("socket")
        if connection is None:  # the client has left
            raise ConnectionError
        self._answer_read.clear()
        if stray in (b"FIN", b"RST"):
            writer.write(answer)
            await (asyncio.sleep(0) if place == "packet" else self._answer_read.wait())
            if stray == b"RST":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            writer.close()
            await asyncio.sleep(LINGER)
        elif place == "packet":
            writer.write(answer + stray)
        elif place == "record":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            writer.write(answer)
            writer.write(stray)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        else:
            writer.write(answer)
            if stray:
                await self._answer_read.wait()
                writer.write(stray)
        self.sent += 1
        if writer.is_closing():
            raise ConnectionError
