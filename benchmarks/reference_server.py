"""A server whose speed never changes: the unit in which tests/test_speed.py measures the agent.

It is asyncio and pure Python, as most of the agent is. So a busy machine slows both down alike: both wake up for each
packet, find cold caches and share their core, which hardly slows down a pure computation.

`python -m benchmarks.reference_server` listens on a free port, prints it, and answers chat requests as the fake
OpenAI of the tests does. Must never be changed: constants that were measured against it would have another meaning.
"""

import asyncio
import json
import re
from typing import Any

_FIELDS = {f"name-{number}": f"value {number}" for number in range(40)}


class Reference(asyncio.Protocol):
    """A connection of a client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, to answer on it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers a request, which arrives whole."""
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if ": " in line)
        request: dict[str, Any] = json.loads(body)
        content = str(request["messages"][-1]["content"])
        if request.get("stream"):
            _work()
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunks = int(re.findall(r"chunks=(\d+)", content)[0])
            gap = float(re.findall(r"gap=([\d.]+)", content)[0])
            self._stream(chunks, gap)
        else:
            answer = json.dumps({"fields": fields, "work": _work(), "request": request}).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    def _stream(self, chunks: int, gap: float) -> None:
        if chunks == 0:
            self._transport.write(b"0\r\n\r\n")
            return
        event = json.dumps({"id": "chatcmpl", "choices": [{"index": 0, "delta": {"content": f"word {chunks}"}}]})
        data = f"data: {event}\n\n".encode()
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))
        asyncio.get_running_loop().call_later(gap, self._stream, chunks - 1, gap)


def _work() -> int:
    """Dictionaries, strings, calls and numbers, as a server's code has them."""
    total = 0
    for turn in range(3):
        fields = {name: f"{value} {turn}" for name, value in _FIELDS.items()}
        lines = "\r\n".join(f"{name}: {value}" for name, value in fields.items()).split("\r\n")
        total += sum(len(line.partition(": ")[2]) for line in lines)
        total += sum(number * number % 7 for number in range(200))
    return total


async def main() -> None:
    """Serves until its process is killed."""
    server = await asyncio.get_running_loop().create_server(Reference, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
