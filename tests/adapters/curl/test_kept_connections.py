"""Kept connections to OpenAI: one on which something has come since its last answer is not used again."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.exchange import UpstreamClient
from chatgpt_agent.adapters.curl.options import http_client

STRAY = {
    "a second answer": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    "a body longer than announced": b"stray",
    "a late 408": b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    "an interim answer": b"HTTP/1.1 102 Processing\r\n\r\n",
    "a single byte": b"\n",
    "nothing but the end": b"",
}


class Server:
    """An HTTP server that answers each request with its number, and sends `stray` behind every answer. b"": it closes
    the connection. None: it sends nothing."""

    def __init__(self, stray: bytes | None) -> None:
        self.connections = 0
        self.requests = 0
        self._stray = stray
        self._open: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"{}"):
                self.requests += 1
                body = b"answer %d" % self.requests
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                await asyncio.sleep(0.01)  # stray bytes come when the answer has been read
                if self._stray:
                    writer.write(self._stray)
                elif self._stray is not None:
                    break
        writer.close()


@pytest.fixture(params=STRAY)
def server(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[Server]:
    """A server for each form of stray bytes."""
    server = Server(STRAY[request.param])
    io_loop.run_sync(server.start)
    yield server
    io_loop.run_sync(server.stop)


@pytest.fixture
def client(io_loop: IOLoop) -> Iterator[UpstreamClient]:
    """The client of an agent."""

    async def start() -> UpstreamClient:
        return UpstreamClient(http_client(Config().upstream), Config().upstream)

    client = io_loop.run_sync(start)
    yield client
    client.http_client.close()


async def ask(client: UpstreamClient, server: Server) -> list[bytes]:
    """Sends ten requests, one after the other, and returns their answers."""
    answers = []
    for _ in range(10):
        exchange = client.send(f"http://127.0.0.1:{server.port}/v1/chat/completions", b"{}", [])
        await exchange.head()
        answers.append(await exchange.read())
        assert await exchange.read() == b""
        await asyncio.sleep(0.05)
    return answers


ANSWERS = [b"answer %d" % number for number in range(1, 11)]


async def test_stray_bytes_never_reach_the_next_request(client: UpstreamClient, server: Server) -> None:
    """Each of ten requests gets its own answer, on a new connection after the stray bytes, and is sent once."""
    assert await ask(client, server) == ANSWERS
    assert server.connections == server.requests == 10


async def test_clean_connection_is_kept(client: UpstreamClient) -> None:
    """Ten requests share one connection where nothing comes between two of them."""
    server = Server(None)
    await server.start()
    assert await ask(client, server) == ANSWERS
    assert server.connections == 1
    await server.stop()
