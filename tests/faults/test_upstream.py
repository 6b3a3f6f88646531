"""An upstream that sends huge, tiny or odd answers: the agent stays small and quick, and passes no odd header on."""

import asyncio
import zlib
from pathlib import Path

import pytest

from tests.faults.processes import serving
from tests.support.agent import Agent
from tests.support.client import Connection, fetch
from tests.support.commands import Cli
from tests.support.oracle import verify
from tests.support.serving import begin_stream, chat
from tests.support.upstream import Received, Reply, Script, Upstream, completion, event, stream_events

pytestmark = [pytest.mark.shared_agent, pytest.mark.slow]

MIB = 1024 * 1024
EVENTS = stream_events(1, (10, 2, 5, 0))


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI behind it."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


# Huge answers (U15).


def bomb() -> bytes:
    """Returns a gigabyte of zeros, compressed: a block of 16 MB, 64 times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(b"{") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 64


def most_resident(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compressed_gigabyte_costs_little_memory(cli: Cli, upstream: Upstream, stream: bool) -> None:
    """A gigabyte that is compressed to one megabyte passes unchanged, and costs the agent less than 70 MB."""
    packed = bomb()

    async def script(request: Received, reply: Reply) -> None:
        if not stream:
            await reply.whole(packed, content_encoding="gzip")
            return
        await reply.stream_head(content_encoding="gzip")
        for at in range(0, len(packed), 10_000):
            await reply.chunk(packed[at : at + 10_000])
        await reply.end()

    async with serving(cli) as (serve, url, token):
        await chat(url, token)
        before = most_resident(serve.process.pid)
        upstream.script = script
        connection = await begin_stream(url, token)
        answer = await connection.answer()
        await connection.close()
        grown = most_resident(serve.process.pid) - before
        assert await serve.stopped() == 0
    assert (answer.status, answer.body == packed) == (200, True)
    assert grown < 70 * MIB


# Tiny events (U17).


async def test_many_tiny_events_delay_no_other_request(cli: Cli, upstream: Upstream) -> None:
    """While a hundred thousand events pass, each in a chunk of its own, other requests are answered, each before
    half of them have. Not within a time: a slow or busy machine delays both alike."""
    tiny = event({"a": 1})
    batch = b"%x\r\n%s\r\n" % (len(tiny), tiny) * 100

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for _ in range(1000):
            await reply.raw(batch)
        for piece in EVENTS:
            await reply.chunk(piece)
        await reply.end()

    async with serving(cli) as (serve, url, token):
        upstream.script = script
        connection = await begin_stream(url, token)
        received = bytearray()
        reading = asyncio.create_task(read_chunks(connection, received))
        passed = []  # bytes of the stream, during each other request
        while not reading.done():
            before = len(received)
            assert (await fetch(f"{url}/healthz")).status == 200
            passed.append(len(received) - before)
        await reading
        await connection.close()
        assert await serve.stopped() == 0
    assert received.count(tiny) == 100_000
    assert max(passed) < len(received) / 2


async def read_chunks(connection: Connection, received: bytearray) -> None:
    """Reads a chunked answer to its end without parsing it, which would take this process seconds."""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received += await connection.reader.read(1 << 20)


# Odd heads (U25).

GOOD = completion(10, 2, 5)


def head(*fields: bytes) -> bytes:
    """Returns an answer with these fields and those that it needs."""
    needed = (b"Content-Type: application/json", b"Content-Length: %d" % len(GOOD))
    return b"\r\n".join([b"HTTP/1.1 200 OK", *needed, *fields, b"", GOOD])


UNUSABLE = {
    "a CR in a value": head(b"x-request-id: a\rSet-Cookie: evil=1"),
    "a NUL in a value": head(b"x-request-id: a\0b"),
    "no colon": head(b"Set-Cookie evil=1"),
    "400 KB": head(b"x-request-id: " + b"x" * 400_000),
    "two lengths": head(b"Content-Length: 5"),
}
USABLE = {
    "a thousand fields": head(*(b"X-Odd-%d: %d" % (n, n) for n in range(1000))),
    "controls in a value": head(b"x-request-id: a\x01\x1b[31mb"),
    "a folded line": head(b"x-request-id: a\r\n Set-Cookie: evil=1"),
    "not ASCII": head("x-request-id: é".encode()),
    "no name": head(b": Set-Cookie"),
    "a redirect": head(b"Location: http://evil.example/", b"Refresh: 0; url=http://evil.example/"),
    "a trailer": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%s\r\n0\r\nSet-Cookie: evil=1\r\nx-request-id: late\r\n\r\n" % (len(GOOD), GOOD),
}
ALLOWED_FIELDS = {
    "date", "x-agent-request-id", "content-type", "content-length", "x-request-id", "x-content-type-options",
    "content-security-policy",
}  # fmt: skip


def answering(data: bytes) -> Script:
    """Makes a script that answers with these bytes."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.raw(data)

    return script


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_an_unusable_head_is_an_upstream_error(agent: Agent, upstream: Upstream, kind: str) -> None:
    """The client gets 502, the request is sent once, and the row says that its cost is unknown."""
    upstream.script = answering(UNUSABLE[kind])
    assert (await agent.chat()).status == 502
    [row] = await verify(agent, upstream)
    assert (row["state"], len(upstream.requests)) == ("unknown", 1)


@pytest.mark.parametrize("kind", USABLE)
async def test_odd_header_fields_are_not_passed_on(agent: Agent, upstream: Upstream, kind: str) -> None:
    """The answer passes with allowed header fields only, and without unprintable characters in them."""
    upstream.script = answering(USABLE[kind])
    answer = await agent.chat()
    assert (answer.status, answer.body) == (200, GOOD)
    assert {name.lower() for name, _ in answer.headers} <= ALLOWED_FIELDS
    assert all(value.isprintable() for _, value in answer.headers)
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_trailer_is_not_passed_on(agent: Agent, upstream: Upstream) -> None:
    """A field that comes behind the body is not passed on, though its name is allowed."""
    upstream.script = answering(USABLE["a trailer"])
    answer = await agent.chat()
    assert (answer.status, answer.header("x-request-id")) == (200, None)
