"""Clients that are slow, odd or hostile: others are served, memory is bounded, and no nonsense is dispatched."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from chatgpt_agent.web.listener import ConnectionLimits
from tests.cli.commands import Cli
from tests.cli.serving import body
from tests.conftest import MakeAgent
from tests.faults.processes import CHAT, Flood, ask, narrow, resident, serving
from tests.support.agent import Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.oracle import verify
from tests.support.upstream import Reply, Upstream, completion

MIB = 1024 * 1024


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI behind it."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


# Who does not read (C4).


async def test_a_hundred_who_do_not_read_cost_little_memory(cli: Cli, upstream: Upstream) -> None:
    """Streams of 15 MB each, of which the agent holds less than 1 MB each; others are served meanwhile, and who reads
    on after all gets everything."""
    flood = Flood(150)
    async with serving(cli, DRAIN_AFTER_DISCONNECT="0") as (serve, url, token):
        assert (await fetch(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"})).status == 200
        before = resident(serve.process.pid)
        upstream.script = flood
        clients = [await narrow(url) for _ in range(100)]
        for client in clients:
            await ask(client, token, body(stream=True))
        await flood.stands_still()
        grown = resident(serve.process.pid) - before
        upstream.script = upstream.openai
        assert (await chat(url, token)).status == 200
        last = await clients[0].answer()
        for client in clients:
            await client.close()
        assert await serve.stopped() == 0
    assert 0 < flood.sent < 15_000
    assert (last.complete, len(last.body) > 15_000_000) == (True, True)
    assert grown < 100 * MIB


async def chat(url: str, token: str) -> Answer:
    """A request of somebody else's."""
    connection = await Connection.open(url)
    await ask(connection, token, body(stream=False))
    async with asyncio.timeout(10):
        answer = await connection.answer()
    await connection.close()
    return answer


async def test_who_does_not_read_is_cut_off(make_agent: MakeAgent, upstream: Upstream) -> None:
    """After `stall_seconds`; as after any hang-up, the stream is read on to its usage, and the row says so."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5))
    flood = Flood(300)
    upstream.script = flood
    connection = await narrow(agent.url)
    await ask(connection, agent.token, agent.body(stream=True))
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"], row["client_closed"]) == ("done", 5, True)
    await connection.close()


async def test_who_is_cut_off_gives_the_place_back(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Four who do not read, in four places: the fifth is served."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5), max_concurrent_requests=4)
    upstream.script = Flood(300)
    clients = [await narrow(agent.url) for _ in range(4)]
    for client in clients:
        await ask(client, agent.token, agent.body(stream=True))
    await agent.until(lambda: agent.server.admissions.full)
    await agent.until(lambda: agent.server.admissions.running == 0, seconds=20)
    upstream.script = upstream.openai
    assert (await agent.chat()).status == 200
    for client in clients:
        await client.close()


async def test_a_whole_answer_that_nobody_reads_is_let_go(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Its row was written before its first byte went out."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5))

    async def script(request: object, reply: Reply) -> None:
        await reply.whole(completion(10, 2, 5, text="x" * 20_000_000))

    upstream.script = script
    connection = await narrow(agent.url)
    await ask(connection, agent.token, agent.body())
    assert [row["state"] for row in await agent.rows(1)] == ["done"]
    await agent.until(lambda: agent.server.lifecycle.in_flight == 0, seconds=20)
    await connection.close()


# Who hangs up half (C5).


async def test_half_a_hang_up_is_one(agent: Agent, upstream: Upstream) -> None:
    """A client that says it will send no more counts as gone: it gets no answer, and what was asked is in the books."""
    connection = await agent.begin("delay=0.3")
    await agent.until(lambda: upstream.requests)
    connection.writer.write_eof()
    async with asyncio.timeout(10):
        assert await connection.reader.read() == b""
    await connection.close()
    [row] = await verify(agent, upstream)
    assert row["state"] == "done"


# Bodies in chunks (C7).


def in_chunks(agent: Agent, chunks: bytes) -> bytes:
    """A request whose body is framed by the test."""
    fields = {"Host": "a", **agent.headers(), "Transfer-Encoding": "chunked"}
    head = f"POST {CHAT} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + chunks


async def test_a_body_in_chunks_is_a_body(agent: Agent, upstream: Upstream) -> None:
    """It reaches OpenAI as one."""
    text = agent.body()
    connection = await Connection.open(agent.url)
    await connection.send(in_chunks(agent, b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (text[:5], len(text) - 5, text[5:])))
    assert (await connection.answer()).status == 200
    await connection.close()
    assert upstream.requests[0].body == text


ODD_CHUNKS = {
    "extension": b"%x;name=value\r\n%s\r\n0\r\n\r\n",
    "trailer": b"%x\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n",
    "space": b"%x \r\n%s\r\n0\r\n\r\n",
    "sign": b"+%x\r\n%s\r\n0\r\n\r\n",
    "bare LF": b"%x\n%s\n0\n\n" + b" " * 100,
    "too long": b"%x\r\n%sxx0\r\n\r\n",
}


@pytest.mark.parametrize("kind", ODD_CHUNKS)
async def test_odd_chunks_are_refused(agent: Agent, upstream: Upstream, kind: str) -> None:
    """What two programs may read in two ways is not read: 400, or nothing, and the end of the connection."""
    text = agent.body()
    connection = await Connection.open(agent.url)
    got = await exchange(connection, in_chunks(agent, ODD_CHUNKS[kind] % (len(text), text)))
    await connection.close()
    assert got in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"")
    assert upstream.requests == []


# What is not HTTP (C10).

GOOD = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'


def raw(token: str, *fields: str, line: str = f"POST {CHAT} HTTP/1.1", end: str = "\r\n", body: bytes = GOOD) -> bytes:
    """A request, good but for what is said otherwise."""
    lines = [line, "Host: a", f"Authorization: Bearer {token}", "Content-Type: application/json", *fields, "", ""]
    return end.join(lines).encode("latin-1") + body


LENGTH = f"Content-Length: {len(GOOD)}"
CORPUS = {
    "both framings": lambda token: raw(token, LENGTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "two lengths": lambda token: raw(token, LENGTH, "Content-Length: 1"),
    "two lengths in one": lambda token: raw(token, f"{LENGTH}, 1"),
    "a length with a sign": lambda token: raw(token, f"Content-Length: +{len(GOOD)}"),
    "a negative length": lambda token: raw(token, "Content-Length: -1"),
    "a length in hex": lambda token: raw(token, "Content-Length: 0x25"),
    "a length with an underscore": lambda token: raw(token, "Content-Length: 3_7"),
    "an unknown framing": lambda token: raw(token, "Transfer-Encoding: gzip"),
    "chunked twice": lambda token: raw(token, "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunked, hidden": lambda token: raw(token, "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a folded line": lambda token: raw(token, LENGTH, "X-Odd: a\r\n b"),
    "two hosts": lambda token: raw(token, LENGTH, "Host: b"),
    "no host": lambda token: raw(token, LENGTH).replace(b"Host: a\r\n", b""),
    "a nul in a value": lambda token: raw(token, LENGTH, "X-Odd: a\0b"),
    "a nul in a name": lambda token: raw(token, LENGTH, "X\0Odd: a"),
    "a cr in a value": lambda token: raw(token, LENGTH, "X-Odd: a\rb"),
    "a space before the colon": lambda token: raw(token, f"Content-Length : {len(GOOD)}"),
    "a field without a name": lambda token: raw(token, LENGTH, ": a"),
    "a line without a colon": lambda token: raw(token, LENGTH, "odd"),
    "two tokens": lambda token: raw(token, LENGTH, f"Authorization: Bearer {token}"),
    "another absolute form": lambda token: raw(
        token, LENGTH, line="POST http://evil.example/v1/chat/completions HTTP/1.1"
    ),
    "authority form": lambda token: raw(token, LENGTH, line="CONNECT evil.example:443 HTTP/1.1"),
    "asterisk form": lambda token: raw(token, LENGTH, line="OPTIONS * HTTP/1.1"),
    "HTTP/0.9": lambda token: f"GET {CHAT}\r\n\r\n".encode(),
    "HTTP/2.0": lambda token: raw(token, LENGTH, line=f"POST {CHAT} HTTP/2.0"),
    "the preface of h2": lambda token: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": lambda token: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    "a method with a space": lambda token: raw(token, LENGTH, line=f"PO ST {CHAT} HTTP/1.1"),
    "a head without end": lambda token: raw(token, LENGTH, "X-Odd: " + "x" * 70_000),
    "ten thousand fields": lambda token: raw(token, LENGTH, *["X: y"] * 10_000),
}


@pytest.mark.parametrize("kind", CORPUS)
async def test_what_is_not_good_http_is_refused(agent: Agent, upstream: Upstream, kind: str) -> None:
    """An error or nothing, then the end of the connection; nothing is dispatched, and the next request is served."""
    connection = await Connection.open(agent.url)
    got = await exchange(connection, CORPUS[kind](agent.token))
    await connection.close()
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ", b"HTTP/1.1 404 ", b"HTTP/1.1 405 ")) or got == b""
    assert got.count(b"HTTP/1.1") <= 1
    assert upstream.requests == []
    assert (await agent.chat()).status == 200


async def exchange(connection: Connection, data: bytes) -> bytes:
    """All that comes back on a connection until the other side ends it."""
    try:
        async with asyncio.timeout(10):
            await connection.send(data)
            return await connection.reader.read()
    except ConnectionError:
        return b""


TOLERATED = {
    "bare LF": lambda token: raw(token, LENGTH, end="\n"),
    "the same length twice": lambda token: raw(token, LENGTH, LENGTH),
    "the same length twice in one": lambda token: raw(token, f"{LENGTH}, {len(GOOD)}"),
}


@pytest.mark.parametrize("kind", TOLERATED)
async def test_what_has_one_meaning_is_served_once(agent: Agent, upstream: Upstream, kind: str) -> None:
    """RFC 9112 §2.2 and §6.3 leave these to the server."""
    connection = await Connection.open(agent.url)
    await connection.send(TOLERATED[kind](agent.token))
    assert (await connection.answer()).status == 200
    await connection.close()
    assert [request.body for request in upstream.requests] == [GOOD]


async def test_a_refused_request_ends_its_connection(agent: Agent) -> None:
    """As its `Connection: close` says (RFC 9112 §9.6), also where all of its body had come."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", CHAT, agent.headers(Authorization="Bearer wrong"), agent.body()))
    assert (await connection.answer()).status == 401
    async with asyncio.timeout(10):
        assert await connection.reader.read() == b""
    await connection.close()


# Who does not get on with the request (C11).

HALF = {
    "head": lambda agent: b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Odd: ",
    "body": lambda agent: request_bytes("POST", CHAT, agent.headers(**{"Content-Length": "1000"}), b"{"),
}


@pytest.mark.parametrize("part", HALF)
async def test_two_hundred_halves_leave_others_alone(make_agent: MakeAgent, upstream: Upstream, part: str) -> None:
    """Others are served while these wait, and these are cut off in time."""
    agent = await make_agent(limits=ConnectionLimits(head_seconds=2.0, body_seconds=2.0))
    halves = [await Connection.open(agent.url) for _ in range(200)]
    for connection in halves:
        await connection.send(HALF[part](agent))
    for _ in range(10):
        assert (await agent.chat()).status == 200
    async with asyncio.timeout(20):
        await asyncio.gather(*(ended(connection) for connection in halves))
    await agent.until(lambda: agent.server.listeners[0].connections == 0)
    for connection in halves:
        await connection.close()
    assert len(upstream.requests) == 10


async def ended(connection: Connection) -> None:
    """Waits until the other side ends a connection, one way or the other."""
    with contextlib.suppress(ConnectionError):
        await connection.reader.read()


async def test_those_over_the_limit_wait_and_are_served(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Where halves take every place, others come in when these are cut off; administrators come in at once."""
    agent = await make_agent(limits=ConnectionLimits(connections=5, head_seconds=1.0), max_concurrent_requests=5)
    halves = [await Connection.open(agent.url) for _ in range(5)]
    await agent.until(lambda: agent.server.listeners[0].connections == 5)
    assert (await fetch(f"http://127.0.0.1:{agent.server.admin_port}/healthz")).status == 200
    async with asyncio.timeout(20):
        assert (await agent.chat()).status == 200
    for connection in halves:
        await connection.close()
