"""Streams are forwarded byte for byte, however they are split, and their end waits for the ledger."""

import asyncio
import gc
import gzip
import hashlib
import json
import sqlite3

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.upstream import (
    Received,
    Reply,
    Script,
    Upstream,
    completion,
    event,
    stream_events,
    without_null_usage,
)
from tests.support.waiting import until_steady

COUNTS = (20, 5, 7, 3)
EVENTS = stream_events(2, COUNTS)
STREAM = b"".join(EVENTS)
USAGE_EVENT = EVENTS[-2]
WITHOUT_USAGE = without_null_usage(STREAM.replace(USAGE_EVENT, b""))

pytestmark = pytest.mark.shared_agent


def streaming(chunks: list[bytes], *, end: bool = True) -> Script:
    """Returns a script that streams these chunks, each in a packet of its own."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        for chunk in filter(None, chunks):
            await reply.chunk(chunk)
            await asyncio.sleep(0)
        if end:
            await reply.end()
        else:
            await reply.reset()

    return script


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("include_usage", [False, True])
async def test_stream_split_at_every_byte_is_unchanged(agent: Agent, upstream: Upstream, include_usage: bool) -> None:
    """However a stream is split, its bytes and usage are the same, and only the event that we asked for is missing."""
    expected = sha(STREAM if include_usage else WITHOUT_USAGE)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    for at in range(1, len(STREAM)):
        upstream.script = streaming([STREAM[:at], STREAM[at:]])
        answer = await agent.chat(stream=True, **options)
        assert (sha(answer.body), answer.complete) == (expected, True), at
    rows = await agent.rows(len(STREAM) - 1)
    records = {(row["state"], row["input_tokens"], row["cached_tokens"], row["output_tokens"]) for row in rows}
    assert records == {("done", 20, 5, 7)}


@pytest.mark.parametrize("include_usage", [False, True])
async def test_truncated_stream_is_never_complete(agent: Agent, upstream: Upstream, include_usage: bool) -> None:
    """Wherever a stream breaks off, the client gets its beginning with all complete events, and no clean end."""
    visible = STREAM if include_usage else WITHOUT_USAGE
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    for at in range(1, len(STREAM), 7):
        upstream.script = streaming([STREAM[:at]], end=False)
        answer = await agent.chat(stream=True, **options)
        whole = STREAM.rfind(b"\n\n", 0, at) + 2 if b"\n\n" in STREAM[:at] else 0
        expected = STREAM[:whole]
        if not include_usage:
            expected = without_null_usage(expected.replace(USAGE_EVENT, b""))
        assert not answer.complete, at
        assert visible.startswith(answer.body) or answer.body == expected + STREAM[whole:at], at
        assert len(answer.body) >= len(expected), at
        assert at > STREAM.index(b"data: [DONE]") or b"[DONE]" not in answer.body, at
    assert {row["state"] for row in await agent.rows()} == {"incomplete"}


async def test_whole_answer_split_at_every_byte_is_unchanged(agent: Agent, upstream: Upstream) -> None:
    """However a JSON body is split into two packets, it is the same body."""
    body = completion(*COUNTS)
    for at in range(1, len(body), 3):

        async def script(_: Received, reply: Reply, at: int = at) -> None:
            await reply.head(200, content_type="application/json", content_length=str(len(body)))
            await reply.raw(body[:at])
            await asyncio.sleep(0)
            await reply.raw(body[at:])

        upstream.script = script
        answer = await agent.chat()
        assert (answer.status, sha(answer.body)) == (200, sha(body)), at


async def test_stream_in_one_packet_is_unchanged(agent: Agent, upstream: Upstream) -> None:
    """A stream whose head, body and end come in one packet is forwarded like any other."""

    async def script(_: Received, reply: Reply) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await reply.raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(STREAM), STREAM))

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert (answer.status, answer.body) == (200, WITHOUT_USAGE)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_every_line_end_is_understood(agent: Agent, upstream: Upstream, line_end: bytes) -> None:
    """The usage is read with every line end, with a BOM, comments, `event:` fields and no space after the colon."""
    events = [b"\xef\xbb\xbf: hello\n\n", *[event.replace(b"data: ", b"event: x\ndata:") for event in EVENTS]]
    events = [event.replace(b"\n", line_end) for event in events]
    upstream.script = streaming([b"".join(events)])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(without_null_usage(b"".join(events[:-2] + events[-1:])))
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_events_are_forwarded_at_once(agent: Agent, upstream: Upstream) -> None:
    """The client gets the first event before the upstream sends the second."""
    first_seen = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        await first_seen.wait()
        for chunk in EVENTS[1:]:
            await reply.chunk(chunk)
        await reply.end()

    upstream.script = script
    connection = await agent.begin(stream=True)
    assert (await connection.head())[0] == 200
    assert await connection.chunk() == without_null_usage(EVENTS[0])
    first_seen.set()
    while await connection.chunk():
        pass
    await connection.close()


async def test_done_waits_for_the_row(agent: Agent, upstream: Upstream) -> None:
    """While the outbox cannot be written, the client gets all but `[DONE]`, and no clean end."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)

    async def script(request: Received, reply: Reply) -> None:
        blocker.execute("BEGIN EXCLUSIVE")
        await streaming(EVENTS)(request, reply)

    upstream.script = script
    answer = await agent.chat(stream=True)
    blocker.close()
    assert answer.body == without_null_usage(b"".join(EVENTS[:-2]))
    assert not answer.complete
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_missing_done_is_not_added(agent: Agent, upstream: Upstream) -> None:
    """A stream without `[DONE]` is forwarded without it, and its usage is charged."""
    upstream.script = streaming(EVENTS[:-1])
    answer = await agent.chat(stream=True)
    assert (answer.complete, b"[DONE]" in answer.body) == (True, False)
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_stream_without_usage_is_recorded_as_unknown(agent: Agent, upstream: Upstream) -> None:
    """A stream without usage has a row in state `usage_unknown`, without a cost."""
    upstream.script = streaming(stream_events(2, None))
    assert (await agent.chat(stream=True)).complete
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("usage_unknown", None, 0)


async def test_error_event_is_forwarded(agent: Agent, upstream: Upstream) -> None:
    """An error event in a stream is forwarded, and the row is in state `upstream_error`."""
    error = event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})
    upstream.script = streaming([EVENTS[0], error])
    assert (await agent.chat(stream=True)).body == without_null_usage(EVENTS[0]) + error
    assert [row["state"] for row in await agent.rows(1)] == ["upstream_error"]


async def test_line_of_a_megabyte_is_forwarded(agent: Agent, upstream: Upstream) -> None:
    """A line of a megabyte is forwarded, and the usage after it is read."""
    huge = event({"choices": [{"index": 0, "delta": {"content": "x" * 1_000_000}}]})
    upstream.script = streaming([EVENTS[0], huge, *EVENTS[-2:]])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(without_null_usage(EVENTS[0]) + huge + EVENTS[-1])
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_oversized_event_is_forwarded_unread(agent: Agent, upstream: Upstream) -> None:
    """An event of ten megabytes is forwarded without being held, and the usage after it is read."""
    huge = event({"choices": [{"index": 0, "delta": {"content": "x" * 10_000_000}}]})
    upstream.script = streaming([huge[i : i + 100_000] for i in range(0, len(huge), 100_000)] + EVENTS[-2:])
    answer = await agent.chat(stream=True)
    assert sha(answer.body) == sha(huge + EVENTS[-1])
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_compressed_stream_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """A stream that comes compressed, although we asked for identity, is forwarded as it is, and its usage is read."""
    compressed = gzip.compress(STREAM)

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head(content_encoding="gzip")
        await reply.chunk(compressed[:50])
        await reply.chunk(compressed[50:])
        await reply.end()

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert (answer.body, answer.header("content-encoding")) == (compressed, "gzip")
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_content_encoding_identity_means_uncompressed(agent: Agent, upstream: Upstream) -> None:
    """A stream with the Content-Encoding `identity` is read like one without: the event that we asked for is hidden."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head(content_encoding="identity")
        await reply.chunk(STREAM)
        await reply.end()

    upstream.script = script
    assert (await agent.chat(stream=True)).body == WITHOUT_USAGE
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


async def test_slow_client_slows_the_upstream_down(agent: Agent, upstream: Upstream) -> None:
    """While the client reads none of 40 MB, the upstream can send only what buffers hold."""
    chunk, sent = event("x" * 100_000), 0

    async def script(request: Received, reply: Reply) -> None:
        nonlocal sent
        await reply.stream_head()
        for _ in range(400):
            await reply.chunk(chunk)
            sent += len(chunk)
        await reply.end()

    upstream.script = script
    connection = await agent.begin(stream=True)
    await connection.head()
    assert await until_steady(lambda: sent) < 25_000_000
    size = 0
    while data := await connection.chunk():
        size += len(data)
    assert size == 400 * len(chunk)
    await connection.close()


async def test_answer_over_the_limit_is_cut_off(make_agent: MakeAgent, upstream: Upstream) -> None:
    """A stream over `max_response_size` is cut off without a clean end, and a whole answer over it is a 502."""
    agent = await make_agent(max_response_size=100_000)
    upstream.script = streaming([event("x" * 1000)] * 500)
    assert not (await agent.chat(stream=True)).complete

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b" " * 200_000)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_invalid")
    assert [row["state"] for row in await agent.rows(2)] == ["incomplete", "incomplete"]


async def test_request_for_usage_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The body of a client that asks for the usage is not edited, and the client gets the event."""
    body = agent.body(stream=True, stream_options={"include_usage": True})
    answer = await agent.post(body)
    assert upstream.requests[0].body == body
    assert b'"usage":{' in answer.body


async def test_concurrent_streams_are_kept_apart(agent: Agent, upstream: Upstream) -> None:
    """Each client of twenty streams at once gets its own bytes."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for _ in range(20):
            await reply.chunk(event(request.json["messages"][0]["content"]))
            await asyncio.sleep(0.001)
        await reply.end()

    upstream.script = script
    answers = await asyncio.gather(*(agent.chat(f"stream {n}", stream=True) for n in range(20)))
    assert [answer.body for answer in answers] == [event(f"stream {n}") * 20 for n in range(20)]


async def test_stream_is_read_to_its_usage_after_a_disconnect(agent: Agent, upstream: Upstream) -> None:
    """After its client has disconnected, a stream is read to its usage, and the row has `client_closed`."""
    connection = await agent.begin("chunks=20 gap=0.01", stream=True)
    await connection.head()
    await connection.chunk()
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", True)
    assert row["output_tokens"] == upstream.billed[row["request_id"]][2]


@pytest.mark.parametrize("case", ["stream", "whole answer", "refusal", "truncated stream"])
async def test_request_leaves_no_reference_cycle(
    agent: Agent, upstream: Upstream, source_address: str, case: str
) -> None:
    """All memory of a request is freed when it ends: if it waited for the garbage collector, a thousand streams would
    take 50 MB more."""

    async def truncated(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"data: {}\n\n")
        await reply.reset()

    async def send() -> None:
        if case == "refusal":
            headers = agent.headers(Authorization="Bearer wrong")
            assert (
                await fetch(f"{agent.url}/chat", "POST", headers, agent.body(), source=source_address)
            ).status == 401
        else:
            answer = await agent.chat(stream=case != "whole answer")
            assert answer.complete == (case != "truncated stream")
        await agent.until(lambda: not agent.server.lifecycle.in_progress)
        await asyncio.sleep(0.05)

    if case == "truncated stream":
        upstream.script = truncated
    await send()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await send()
        gc.collect()
        packages = {type(garbage).__module__.partition(".")[0] for garbage in gc.garbage}
        assert not packages & {"chatgpt_agent", "tornado"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


# Streams of other servers.


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/octet-stream", ""])
@pytest.mark.parametrize("start", [b"", b": ping\n\n", b"\xef\xbb\xbf", b"\n", b"event: message\n"])
async def test_stream_of_another_type_is_recognized(
    agent: Agent, upstream: Upstream, content_type: str, start: bytes
) -> None:
    """A stream that was asked for is one by its first bytes, however they are split, and its type passes as it is."""
    stream = start + STREAM

    async def script(_: Received, reply: Reply) -> None:
        await reply.head(200, transfer_encoding="chunked", **({"content_type": content_type} if content_type else {}))
        for chunk in (stream[:1], stream[1:3], stream[3:4], stream[4:]):
            await reply.chunk(chunk)
            await asyncio.sleep(0.002)
        await reply.end()

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert answer.body.removeprefix(start) == WITHOUT_USAGE or start.endswith(b"\xbf")
    assert USAGE_EVENT not in answer.body
    assert (answer.header("content-type") or "") == content_type
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_whole_answer_to_a_stream_is_read(agent: Agent, upstream: Upstream) -> None:
    """A server that does not stream answers with JSON, which is read as such."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(*COUNTS))

    upstream.script = script
    assert (await agent.chat(stream=True)).body == upstream.sent()
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


async def test_whole_answer_that_is_typed_as_a_stream_is_read(agent: Agent, upstream: Upstream) -> None:
    """JSON that is typed as a stream is read as JSON."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(*COUNTS), content_type="text/event-stream")

    upstream.script = script
    assert (await agent.chat(stream=True)).body == upstream.sent()
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 7)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("no-cache", "no")),
        ({"cache_control": "no-store", "x_accel_buffering": "yes"}, ("no-store", "yes")),
    ],
)
async def test_stream_is_not_held_back_on_the_way(
    agent: Agent, upstream: Upstream, fields: dict[str, str], expected: tuple[str, str]
) -> None:
    """A stream tells proxies not to hold it back, unless the upstream says something else."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head(**fields)
        await reply.chunk(STREAM)
        await reply.end()

    upstream.script = script
    answer = await agent.chat(stream=True)
    assert (answer.header("cache-control"), answer.header("x-accel-buffering")) == expected


@pytest.mark.own_agent
async def test_stream_is_not_asked_for_its_usage_where_a_setting_says_so(
    make_agent: MakeAgent, upstream: Upstream
) -> None:
    """With `openai_ask_stream_usage: false` the body is sent as it is, and all of the stream passes."""
    agent = await make_agent(openai_ask_stream_usage=False)
    upstream.script = streaming(EVENTS)
    assert (await agent.chat(stream=True)).body == STREAM
    assert upstream.requests[-1].body == agent.body(stream=True)
    assert [row["state"] for row in await agent.rows(1)] == ["done"]


# Streams that fail.

FAILED = {"error": {"message": "The server had an error", "type": "server_error", "code": None}}


@pytest.mark.parametrize(
    ("chunks", "is_uncertain"),
    [
        ([*EVENTS[:3], event(FAILED)], True),
        ([*EVENTS[:3], b'event: error\ndata: {"message": "overloaded"}\n\n'], True),
        ([*[EVENTS[1]] * 1000, event({"type": "error", **FAILED}), EVENTS[-1]], True),
        ([event(FAILED)], False),
        ([b": ping\n\n", event(FAILED), EVENTS[-1]], False),
        ([json.dumps(FAILED, indent=1).encode()], False),
    ],
)
async def test_stream_that_fails_after_output_has_an_uncertain_cost(
    agent: Agent, upstream: Upstream, chunks: list[bytes], is_uncertain: bool
) -> None:
    """A stream that ends in an error event after output may cost as much as its request; before output it is free."""
    upstream.script = streaming([b"".join(chunks)])
    await agent.chat(stream=True)
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["uncertain_cost"] > 0) == ("upstream_error", 0, is_uncertain)


@pytest.mark.parametrize(("more", "is_uncertain"), [({}, False), ({"choices": [{"index": 0}]}, True)])
async def test_error_in_a_whole_answer_with_status_200(
    agent: Agent, upstream: Upstream, more: dict[str, object], is_uncertain: bool
) -> None:
    """An answer that is an error is one whatever its status; it is free unless it holds output, too."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(json.dumps({**FAILED, **more}).encode())

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["uncertain_cost"] > 0) == ("upstream_error", 0, is_uncertain)
