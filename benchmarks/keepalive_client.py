"""A client that needs little processor time: one kept connection, and one request at a time."""

import asyncio
import json
from typing import Self
from urllib.parse import urlsplit


class KeptConnection:
    """A connection to an agent. One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connects to a URL's host and port."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20))

    async def ask(self, request: bytes, *, rest: float = 0.0) -> int:
        """Sends a request, reads the whole answer, pausing `rest` seconds after each 64 KiB, and returns its size.
        Raises RuntimeError unless the status is 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"answered {head.decode('latin-1').splitlines()[0]}")
        size, length = 0, _length(head)
        if length is not None:
            while size < length:
                size += len(await self._read(min(length - size, 1 << 16), rest))
            return size
        while chunk := int(await self._reader.readuntil(b"\r\n"), 16):
            await self._read(chunk + 2, rest)
            size += chunk
        await self._reader.readexactly(2)
        return size

    async def _read(self, size: int, rest: float) -> bytes:
        data = await self._reader.readexactly(size)
        if rest:
            await asyncio.sleep(rest)
        return data

    def close(self) -> None:
        """Closes the connection at once."""
        self._writer.transport.abort()


def _length(head: bytes) -> int | None:
    _, data, rest = head.lower().partition(b"\r\ncontent-length: ")
    return int(rest.partition(b"\r\n")[0]) if data else None


def chat(token: str, model: str, content: str = "hello", *, stream: bool = False) -> bytes:
    """Returns the bytes of a chat request."""
    message = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        **({"stream": True} if stream else {}),
    }
    body = json.dumps(message).encode()
    return get("/v1/chat/completions", token, "POST", f"Content-Length: {len(body)}\r\n") + body


def get(path: str, token: str = "", method: str = "GET", more: str = "") -> bytes:
    """Returns the bytes of a request without a body."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: agent\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\n{more}\r\n"
    ).encode()
