"""A client that sends any bytes and returns exactly what it receives, also when the answer is not complete."""

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

from tests.support.tls import client_context


class Answer:
    """An answer; `complete` says whether its framing ended as HTTP demands."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, complete: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete

    def header(self, name: str) -> str | None:
        """The value of a header field."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The `error` of OpenAI's envelope."""
        return json.loads(self.body)["error"]


class Connection:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str, source: str | None = None) -> "Connection":
        """Connects to a URL's host and port, from a loopback address where `source` names one; or to a socket, with a
        URL that is `unix:` and its path."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return cls(*await asyncio.open_unix_connection(parts.path))
        assert parts.hostname == "127.0.0.1", "loopback only"
        local = None if source is None else (source, 0)
        tls = client_context() if parts.scheme == "https" else None
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, local_addr=local, ssl=tls))

    async def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Reads status and header fields."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = text.strip().split("\r\n")
        pairs = [(name.strip(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        return int(line.split(" ")[1]), pairs

    async def chunk(self) -> bytes:
        """Reads one chunk of a chunked body; nothing at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return data

    async def answer(self) -> Answer:
        """Reads a whole answer."""
        status, headers = await self.head()
        names = {name.lower(): value for name, value in headers}
        body, complete = bytearray(), True
        try:
            if names.get("transfer-encoding") == "chunked":
                while data := await self.chunk():
                    body += data
            elif "content-length" in names:
                body += await self.reader.readexactly(int(names["content-length"]))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            body += getattr(error, "partial", b"")
            complete = False
        return Answer(status, headers, bytes(body), complete)

    async def close(self) -> None:
        """Closes the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Returns a request in bytes."""
    fields = {"Host": "agent", **headers}
    if body or method == "POST":
        fields = {"Content-Length": str(len(body)), **fields}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def fetch(
    url: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    source: str | None = None,
) -> Answer:
    """Sends one request on a connection of its own, from a loopback address where `source` names one."""
    connection = await Connection.open(url, source)
    target = urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl()
    await connection.send(request_bytes(method, target or "/", headers or {}, body))
    answer = await connection.answer()
    await connection.close()
    return answer
