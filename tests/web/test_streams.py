"""Streams pass byte for byte, however they are cut, and their end waits for the ledger."""

import asyncio
import gc
import gzip
import hashlib
import sqlite3

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection
from tests.support.upstream import Received, Reply, Script, Upstream, completion, event, stream_events

COUNTS = (20, 5, 7, 3)
EVENTS = stream_events(2, COUNTS)
STREAM = b"".join(EVENTS)
USAGE_EVENT = EVENTS[-2]


def in_pieces(pieces: list[bytes], *, end: bool = True) -> Script:
    """Streams these pieces, each in a packet of its own."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for piece in filter(None, pieces):
            await reply.chunk(piece)
            await asyncio.sleep(0)
        if end:
            await reply.end()
        else:
            await reply.reset()

    return script


def sha(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_split_at_every_byte_arrives_whole(agent: Agent, upstream: Upstream, asks: bool) -> None:
    """The same bytes and the same usage for each split; the event that we asked for is left out exactly."""
    expected = sha(STREAM if asks else STREAM.replace(USAGE_EVENT, b""))
    options = {"stream_options": {"include_usage": True}} if asks else {}
    for at in range(1, len(STREAM)):
        upstream.script = in_pieces([STREAM[:at], STREAM[at:]])
        answer = await agent.chat(stream=True, **options)
        assert (sha(answer.body), answer.complete) == (expected, True), at
    rows = await agent.rows(len(STREAM) - 1)
    found = {(row["state"], row["input_tokens"], row["cached_tokens"], row["output_tokens"]) for row in rows}
    assert found == {("done", 20, 5, 7)}


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_broken_off_at_every_byte_never_looks_whole(
    agent: Agent, upstream: Upstream, asks: bool
) -> None:
    """What arrives is a beginning of the stream, with every event that was complete, and no clean end."""
    visible = STREAM if asks else STREAM.replace(USAGE_EVENT, b"")
    options = {"stream_options": {"include_usage": True}} if asks else {}
    done = STREAM.index(b"data: [DONE]")
    for at in range(1, len(STREAM), 7):
        upstream.script = in_pieces([STREAM[:at]], end=False)
        answer = await agent.chat(stream=True, **options)
        complete = STREAM[: STREAM.rfind(b"\n\n", 0, at) + 2] if b"\n\n" in STREAM[:at] else b""
        assert not answer.complete, at
        assert visible.startswith(answer.body), at
        assert len(answer.body) >= len(complete if asks else complete.replace(USAGE_EVENT, b"")), at
        if at <= done:
            assert b"[DONE]" not in answer.body
    states = {row["state"] for row in await agent.rows()}
    assert states == {"incomplete"}


async def test_a_whole_answer_split_at_every_byte_arrives_whole(agent: Agent, upstream: Upstream) -> None:
    """A JSON body in two packets is the same body."""
    body = completion(*COUNTS)
    for at in range(1, len(body), 3):

        async def script(request: Received, reply: Reply, at: int = at) -> None:
            await reply.head(200, content_type="application/json", content_length=str(len(body)))
            await reply.raw(body[:at])
            await asyncio.sleep(0)
            await reply.raw(body[at:])

        upstream.script = script
        answer = await agent.chat()
        assert (answer.status, sha(answer.body)) == (200, sha(body)), at


async def test_everything_in_one_packet_is_the_same(agent: Agent, upstream: Upstream) -> None:
    """Head, body and end in one write: status and headers are right all the same."""

    async def script(request: Received, reply: Reply) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await reply.raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(STREAM), STREAM))

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert (answer.status, answer.body) == (200, STREAM.replace(USAGE_EVENT, b""))


LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


@pytest.mark.parametrize("kind", LINE_ENDS)
async def test_every_line_end_is_understood(agent: Agent, upstream: Upstream, kind: str) -> None:
    """With a BOM, comments, `event:` fields and no space after the colon."""
    end = LINE_ENDS[kind]
    events = [b"\xef\xbb\xbf: hello\n\n", *[piece.replace(b"data: ", b"event: x\ndata:") for piece in EVENTS]]
    events = [piece.replace(b"\n", end) for piece in events]
    upstream.script = in_pieces([b"".join(events)])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(b"".join(events[:-2] + events[-1:]))
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_events_come_as_they_are_made(agent: Agent, upstream: Upstream) -> None:
    """The first event arrives while the upstream still waits with the second."""
    go = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        await go.wait()
        for piece in EVENTS[1:]:
            await reply.chunk(piece)
        await reply.end()

    upstream.script = script
    connection = await agent.begin(stream=True)
    assert (await connection.head())[0] == 200
    assert await connection.chunk() == EVENTS[0]
    go.set()
    while await connection.chunk():
        pass
    await connection.close()


async def test_done_waits_for_the_row(agent: Agent, upstream: Upstream) -> None:
    """While the outbox cannot be written, everything but `[DONE]` arrives, and the stream does not end cleanly."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)

    async def script(request: Received, reply: Reply) -> None:
        blocker.execute("BEGIN EXCLUSIVE")
        await in_pieces(EVENTS)(request, reply)

    upstream.script = script
    answer = await agent.chat(stream=True)
    blocker.close()
    assert answer.body == b"".join(EVENTS[:-2])
    assert not answer.complete
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_a_stream_without_done_gets_none(agent: Agent, upstream: Upstream) -> None:
    """Nothing is made up, and the usage counts."""
    upstream.script = in_pieces(EVENTS[:-1])
    answer = await agent.chat(stream=True)
    assert (answer.complete, b"[DONE]" in answer.body) == (True, False)
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_a_stream_without_usage_is_unknown(agent: Agent, upstream: Upstream) -> None:
    """The row says so, and costs nothing that anybody knows."""
    upstream.script = in_pieces(stream_events(2, None))
    assert (await agent.chat(stream=True)).complete
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("usage_unknown", None, 0)


async def test_an_error_in_mid_stream_is_passed_on(agent: Agent, upstream: Upstream) -> None:
    """The client sees it, and the row says `upstream_error`."""
    error = event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})
    upstream.script = in_pieces([EVENTS[0], error])
    assert (await agent.chat(stream=True)).body == EVENTS[0] + error
    assert [row["state"] for row in await agent.rows(1)] == ["upstream_error"]


async def test_a_line_of_a_megabyte_passes(agent: Agent, upstream: Upstream) -> None:
    """No line is too long to pass, nor too long to be followed by a usage."""
    huge = event({"choices": [{"index": 0, "delta": {"content": "x" * 1_000_000}}]})
    upstream.script = in_pieces([EVENTS[0], huge, *EVENTS[-2:]])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(EVENTS[0] + huge + EVENTS[-1])
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_a_line_over_all_bounds_passes_unread(agent: Agent, upstream: Upstream) -> None:
    """Ten megabytes in one event are not held, and what comes after is read again."""
    huge = event({"choices": [{"index": 0, "delta": {"content": "x" * 10_000_000}}]})
    upstream.script = in_pieces([huge[i : i + 100_000] for i in range(0, len(huge), 100_000)] + EVENTS[-2:])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(huge + EVENTS[-1])
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_a_compressed_stream_passes_as_it_is(agent: Agent, upstream: Upstream) -> None:
    """Though identity was asked for; its usage is read all the same."""
    packed = gzip.compress(STREAM)

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head(content_encoding="gzip")
        await reply.chunk(packed[:50])
        await reply.chunk(packed[50:])
        await reply.end()

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert (answer.body, answer.header("content-encoding")) == (packed, "gzip")
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_an_encoding_called_identity_is_none(agent: Agent, upstream: Upstream) -> None:
    """Such a stream is read like any other: the event that we asked for is hidden."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head(content_encoding="identity")
        await reply.chunk(STREAM)
        await reply.end()

    upstream.script = script
    assert (await agent.chat(stream=True)).body == STREAM.replace(USAGE_EVENT, b"")
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_a_slow_reader_slows_the_upstream_down(agent: Agent, upstream: Upstream) -> None:
    """Of 40 MB that nobody reads, the upstream can send only what buffers hold."""
    piece, sent = event("x" * 100_000), 0

    async def script(request: Received, reply: Reply) -> None:
        nonlocal sent
        await reply.stream_head()
        for _ in range(400):
            await reply.chunk(piece)
            sent += len(piece)
        await reply.end()

    upstream.script = script
    connection = await agent.begin(stream=True)
    await connection.head()
    before = -1
    while sent != before:  # until it does not get on any more
        before = sent
        await asyncio.sleep(0.3)
    assert 0 < sent < 25_000_000
    size = 0
    while data := await connection.chunk():
        size += len(data)
    assert size == 400 * len(piece)
    await connection.close()


async def test_an_answer_over_the_limit_is_cut(make_agent: MakeAgent, upstream: Upstream) -> None:
    """A stream without end ends at the limit, and not cleanly; a whole answer gets 502."""
    agent = await make_agent(max_response_size=100_000)
    upstream.script = in_pieces([event("x" * 1000)] * 500)
    assert not (await agent.chat(stream=True)).complete

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b" " * 200_000)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_invalid")
    assert [row["state"] for row in await agent.rows(2)] == ["incomplete", "incomplete"]


async def test_a_request_for_usage_is_asked_once(agent: Agent, upstream: Upstream) -> None:
    """A client that asks for usage has its body left alone, and sees its event."""
    body = agent.body(stream=True, stream_options={"include_usage": True})
    answer = await agent.post(body)
    assert upstream.requests[0].body == body
    assert b'"usage":{' in answer.body


async def test_two_connections_are_kept_apart(agent: Agent, upstream: Upstream) -> None:
    """Twenty streams at once each get their own bytes."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for _ in range(20):
            await reply.chunk(event(request.json["messages"][0]["content"]))
            await asyncio.sleep(0.001)
        await reply.end()

    upstream.script = script
    answers = await asyncio.gather(*(agent.chat(f"stream {n}", stream=True) for n in range(20)))
    assert [answer.body for answer in answers] == [event(f"stream {n}") * 20 for n in range(20)]


async def test_a_half_read_connection_is_a_hang_up(agent: Agent, upstream: Upstream) -> None:
    """The stream is read on to its usage, and the row says that the client has left."""
    connection: Connection = await agent.begin("chunks=20 gap=0.01", stream=True)
    await connection.head()
    await connection.chunk()
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", True)
    assert row["output_tokens"] == upstream.billed[row["request_id"]][2]


@pytest.mark.parametrize("kind", ["a stream", "a whole answer", "a refusal", "one that was cut off"])
async def test_a_request_leaves_no_circle_in_memory(agent: Agent, upstream: Upstream, kind: str) -> None:
    """What it had goes when it ends: with the collector to wait for, a thousand streams would take 50 MB more."""

    async def broken(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"data: {}\n\n")
        await reply.reset()

    async def ask() -> None:
        if kind == "a refusal":
            assert (await agent.post(agent.body(), Authorization="Bearer wrong")).status == 401
        else:
            answer = await agent.chat(stream=kind != "a whole answer")
            assert answer.complete == (kind != "one that was cut off")
        await agent.until(lambda: not agent.server.lifecycle.in_flight)
        await asyncio.sleep(0.05)

    if kind == "one that was cut off":
        upstream.script = broken
    await ask()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await ask()
        gc.collect()
        left = {type(one).__module__.partition(".")[0] for one in gc.garbage}
        assert not left & {"chatgpt_agent", "tornado"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
