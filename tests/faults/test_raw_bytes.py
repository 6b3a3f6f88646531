"""Whatever bytes a client sends, and however it leaves: no traceback, no request that it did not send, one answer for
each request."""

import asyncio
import contextlib
import logging
import random
import socket
import struct
from urllib.parse import urlsplit

import pytest

from tests.support.agent import Agent
from tests.support.client import fetch

pytestmark = [pytest.mark.shared_agent, pytest.mark.slow]

CONNECTIONS = 40  # with each seed
LINES = ["GET /", "GET /healthz", "HEAD /readyz", "GET /v1/models", "GET /me", "POST /chat", "POST /v1/embeddings",
         "POST /nowhere", "PUT /chat", "OPTIONS /", "OPTIONS *", "GET http://a/healthz", "CONNECT a:1",
         "GET /v1/models/%ff", "GET /me/usage?days=%ff", "GET /%zz?%", "GET /api/v1/users?limit=%ff",
         "POST /api/v1/users", "PATCH /api/v1/users/%ff", "DELETE /api/v1/tokens/1"]  # fmt: skip
FIELDS = ["Connection: close", "Connection: keep-alive", "Expect: 100-continue", "Content-Length: 5",
          "Content-Length: 99999999999999999999", "Content-Length: -1", "Content-Length: 5, 5", "Content-Length: 5, 6",
          "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Host: b", "X-Odd: \xff", "X-Odd: a\0b",
          "Authorization: Bearer wrong", "Upgrade: websocket", "Upgrade: h2c", "Origin: http://a", " folded",
          "X-Long: " + "x" * 40_000, "Accept-Encoding: gzip", "If-None-Match: *", "Range: bytes=0-1"]  # fmt: skip
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"-5\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"{}" * 20_000,
]


def conversation(chance: random.Random, token: str) -> bytes:
    """Returns what a client sends: some requests, of which some are not HTTP."""
    sent = b""
    for _ in range(chance.choice([1, 1, 2, 5])):
        fields = ["Host: a"] * (chance.random() < 0.95) + chance.choices(FIELDS, k=chance.randrange(4))
        if chance.random() < 0.2:
            fields.append(f"Authorization: Bearer {token}")
        version = chance.choice(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9", ""])
        end = chance.choice(["\r\n"] * 9 + ["\n"])
        lines = [f"{chance.choice(LINES)} {version}", *fields, "", ""]
        sent += end.join(lines).encode("latin-1") + chance.choice(BODIES)
    if chance.random() < 0.3:
        at = chance.randrange(len(sent))
        sent = sent[:at] + chance.randbytes(chance.randrange(5)) + sent[at + chance.randrange(5) :]
    return chance.randbytes(50) if chance.random() < 0.05 else sent


async def talk(url: str, chance: random.Random, token: str) -> bytes:
    """Sends a conversation in two pieces and leaves in some way; returns what came back until then."""
    loop, sent, received = asyncio.get_running_loop(), conversation(chance, token), b""
    at = chance.randrange(len(sent) + 1)
    with socket.socket() as client:
        client.setblocking(False)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.3):
                await loop.sock_connect(client, ("127.0.0.1", urlsplit(url).port))
                for piece in (sent[:at], sent[at:]):
                    await loop.sock_sendall(client, piece)
                    await asyncio.sleep(chance.choice([0, 0, 0.002, 0.02]))
                leave(client, chance)
                while data := await loop.sock_recv(client, 65536):
                    received += data
    return received


def leave(client: socket.socket, chance: random.Random) -> None:
    """Lets a client close one direction, or prepares a reset instead of a close, or neither."""
    kind = chance.choice(["reset", "half close", ""])
    if kind == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == "half close":
        client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("seed", range(10))
async def test_no_bytes_cause_a_traceback(agent: Agent, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """No conversation and no way to leave writes a traceback or a warning of the loop to the log."""
    urls = [agent.url, agent.admin_url]
    with caplog.at_level(logging.INFO):
        chances = [random.Random(f"{seed} {number}") for number in range(CONNECTIONS)]
        await asyncio.gather(*(talk(chance.choice(urls), chance, agent.token) for chance in chances))
        await agent.until(lambda: not any(listener.connections for listener in agent.server.listeners))
    assert tracebacks(caplog) == []
    assert (await fetch(agent.url + "/healthz")).status == 200


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns the records of the log with a traceback, and the warnings of the loop."""
    return [record.getMessage() for record in caplog.records if record.exc_info or record.name == "asyncio"]


ONE_BYTE = "HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
LAST = [f"POST /chat {ONE_BYTE}", f"POST /x {ONE_BYTE}", f"GET /chat {ONE_BYTE}",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]  # fmt: skip
BEHIND = [*LAST, f"POST /chat {ONE_BYTE}x", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET /\r\n\r\n",
          "POST /chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-"]  # fmt: skip
LEAVE = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)  # with a reset, and without


@pytest.mark.parametrize("last", LAST)
async def test_request_behind_the_last_causes_no_traceback(
    agent: Agent, caplog: pytest.LogCaptureFixture, last: str
) -> None:
    """What stands behind the last request of a connection is not read, however the client leaves."""
    with caplog.at_level(logging.INFO):
        for behind in BEHIND:
            for linger in LEAVE * 4:
                with socket.create_connection(("127.0.0.1", urlsplit(agent.url).port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.sendall((last + behind).encode())
                await asyncio.sleep(0)
        await agent.until(lambda: not agent.server.listeners[0].connections)
    assert tracebacks(caplog) == []
