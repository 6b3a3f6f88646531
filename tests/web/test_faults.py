"""Failures of OpenAI and of the agent: the client's answer, and the state of the row."""

import asyncio
import json
import socket

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.upstream import (
    Received,
    Reply,
    Upstream,
    completion,
    error_body,
    event,
    stream_events,
    without_null_usage,
)

EVENTS = stream_events(2, (20, 5, 7, 3))

pytestmark = pytest.mark.shared_agent


async def only_state(agent: Agent) -> str:
    """Returns the state of the only row."""
    [row] = await agent.rows(1)
    return str(row["state"])


# Errors of OpenAI.


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_error_of_openai_is_forwarded_unchanged(agent: Agent, upstream: Upstream, status: int) -> None:
    """An error of OpenAI is forwarded with its status, body and Retry-After, and its row costs nothing."""
    answer = await agent.chat(f"status={status}")
    assert (answer.status, answer.body, answer.header("retry-after")) == (status, error_body(status), "1")
    [row] = await agent.rows(1)
    assert (row["state"], row["status"], row["cost"]) == ("upstream_error", status, 0)


async def test_html_error_is_forwarded_in_a_sandbox(agent: Agent, upstream: Upstream) -> None:
    """An HTML error is forwarded unchanged, and browsers treat it as untrusted."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b"<html>Bad gateway</html>", 502, content_type="text/html")

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.body) == (502, b"<html>Bad gateway</html>")
    assert answer.header("content-security-policy") == "sandbox"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-agent-error") is None


@pytest.mark.parametrize("status", [401, 403])
async def test_rejection_of_the_key_is_replaced(agent: Agent, upstream: Upstream, status: int) -> None:
    """OpenAI's 401 or 403 is replaced by an error of ours, because its text shows a part of the stored key."""
    answer = await agent.chat(f"status={status}")
    assert (answer.status, answer.error["code"]) == (502, "upstream_key_rejected")
    assert answer.header("x-should-retry") == "false"
    assert b"sk-" not in answer.body
    assert await only_state(agent) == "upstream_error"


@pytest.mark.parametrize("status", [401, 302])
async def test_abort_of_a_complete_answer_does_not_affect_the_next_request(
    agent: Agent, upstream: Upstream, status: int
) -> None:
    """An answer that is refused when it has arrived completely does not abort the next request on its connection."""
    body = error_body(status)

    async def script(_: Received, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    for _ in range(5):
        upstream.script = script
        assert (await agent.chat()).status == 502
        upstream.script = upstream.openai
        assert (await agent.chat()).status == 200


@pytest.mark.parametrize("status", [301, 307, 304, 999])
async def test_invalid_status_is_refused(agent: Agent, upstream: Upstream, status: int) -> None:
    """A redirect is not followed, because that would take message and key elsewhere; it is a 502, like every status
    that is not one of OpenAI's."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.head(status, location=upstream.url, content_length="0")

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], len(upstream.requests)) == (502, "upstream_invalid", 1)


CONTINUE = b"HTTP/1.1 100 Continue\r\nRetry-After: 99\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nX-Request-Id: early\r\nRetry-After: 99\r\n\r\n"
INFORMATIONAL = {
    "100 and 103": CONTINUE + HINTS,
    "100 fifty times": CONTINUE * 50,
    "fifty of each": (CONTINUE + HINTS) * 50,
}


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("case", INFORMATIONAL)
async def test_informational_responses_are_skipped(agent: Agent, upstream: Upstream, case: str, status: int) -> None:
    """Responses with 100 and 103 are skipped with their fields, however many there are (RFC 9110 §15.2)."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.raw(INFORMATIONAL[case])
        await reply.whole(completion(1, 0, 1) if status == 200 else error_body(status), status)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.body) == (status, upstream.sent())
    assert (answer.header("x-request-id"), answer.header("retry-after")) == ("req_0123456789abcdef", None)
    assert await only_state(agent) == ("done" if status == 200 else "upstream_error")


async def test_other_headers_are_not_forwarded(agent: Agent, upstream: Upstream) -> None:
    """Only the header fields on the allow-list reach the client."""

    async def script(_: Received, reply: Reply) -> None:
        hostile = {"Set-Cookie": "a=b", "Server": "x", "Location": "/", "Access-Control-Allow-Origin": "*",
                   "X-Http-Reason": "evil", "openai-organization": "org-x", "Connection": "x-odd"}  # fmt: skip
        await reply.whole(completion(1, 0, 1), **hostile, **{"x-ratelimit-remaining-tokens": "9", "retry-after": "3"})

    upstream.script = script
    answer = await agent.chat()
    assert {name.lower() for name, _ in answer.headers} == {
        "date", "x-agent-request-id", "content-type", "content-length", "x-request-id", "x-content-type-options",
        "content-security-policy", "x-ratelimit-remaining-tokens", "retry-after",
    }  # fmt: skip


# Failures of the exchange.


async def test_refused_connection_is_retryable(make_agent: MakeAgent) -> None:
    """If no server listens at the URL, the answer is a 502 that may be retried, and the row is `not_sent`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        agent = await make_agent(openai_url=f"http://127.0.0.1:{port}/v1/chat/completions")
        answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert answer.header("x-should-retry") == "true"
    assert await only_state(agent) == "not_sent"


async def test_unknown_host_is_retryable(make_agent: MakeAgent) -> None:
    """A host that does not exist (RFC 6761 §6.4) is a 502 that may be retried."""
    agent = await make_agent(openai_url="https://openai.invalid/v1/chat/completions")
    answer = await agent.chat()
    assert (answer.error["code"], answer.header("x-should-retry")) == ("upstream_unreachable", "true")
    assert await only_state(agent) == "not_sent"


async def test_late_first_byte_is_a_timeout(make_agent: MakeAgent, upstream: Upstream) -> None:
    """If the first byte takes too long, the answer is a 504 that must not be retried: OpenAI may have billed."""

    async def script(_: Received, reply: Reply) -> None:
        await asyncio.sleep(60)

    upstream.script = script
    agent = await make_agent(first_byte_timeout=0.2)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (504, "upstream_timeout", "false")
    assert await only_state(agent) == "unknown"


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_during_an_answer_is_a_timeout(make_agent: MakeAgent, upstream: Upstream, stream: bool) -> None:
    """If OpenAI falls silent, a whole answer becomes a 504 and a stream is cut off; the row is incomplete."""

    async def script(_: Received, reply: Reply) -> None:
        if stream:
            await reply.stream_head()
            await reply.chunk(EVENTS[0])
        else:
            await reply.head(200, content_length="1000", content_type="application/json")
            await reply.raw(b"{")
        await asyncio.sleep(60)

    upstream.script = script
    agent = await make_agent(silence_timeout=0.3)
    answer = await agent.chat(stream=stream)
    assert (answer.status, answer.complete) == ((200, False) if stream else (504, True))
    assert await only_state(agent) == "incomplete"


async def test_slow_stream_is_not_silent(make_agent: MakeAgent, upstream: Upstream) -> None:
    """A stream that sends something now and then may take longer than the limit of silence."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        for chunk in [EVENTS[0]] * 12 + EVENTS:
            await reply.chunk(chunk)
            await asyncio.sleep(0.1)
        await reply.end()

    upstream.script = script
    agent = await make_agent(silence_timeout=1, first_byte_timeout=1)
    assert (await agent.chat(stream=True)).complete


@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_lost_connection_is_not_retryable(agent: Agent, upstream: Upstream, ending: str) -> None:
    """If the connection is lost after sending, the answer is a 502 that must not be retried: OpenAI may have billed."""

    async def script(_: Received, reply: Reply) -> None:
        await getattr(reply, ending)()

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (502, "upstream_lost", "false")
    assert await only_state(agent) == "unknown"


async def test_request_is_never_sent_twice(agent: Agent, upstream: Upstream) -> None:
    """A request whose kept connection dies is not sent again, as libcurl would do by default."""
    assert (await agent.chat()).status == 200

    async def script(_: Received, reply: Reply) -> None:
        await reply.close()

    upstream.script = script
    answer = await agent.chat()
    assert upstream.requests[0].connection == upstream.requests[1].connection
    assert (answer.error["code"], len(upstream.requests)) == ("upstream_lost", 2)


@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_truncated_whole_answer_is_a_502(agent: Agent, upstream: Upstream, ending: str) -> None:
    """A whole answer that is cut short is a 502, never a shorter answer."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.head(200, content_length="1000", content_type="application/json")
        await reply.raw(completion(1, 0, 1)[:200])
        await asyncio.sleep(0.05)
        await getattr(reply, ending)()

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_truncated")
    assert await only_state(agent) == "incomplete"


async def test_stream_truncated_after_its_usage_is_charged(agent: Agent, upstream: Upstream) -> None:
    """The row of a stream that breaks off keeps the usage that was reported by then."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        for chunk in EVENTS[:-1]:
            await reply.chunk(chunk)
        await asyncio.sleep(0.05)
        await reply.reset()

    upstream.script = script
    assert not (await agent.chat(stream=True)).complete
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"], row["error"]) == ("incomplete", 7, "upstream_truncated")
    assert row["cost"] > 0


@pytest.mark.parametrize("part", [b"", b"ff\r\ndata: {}", b"5"])
async def test_stream_without_its_last_chunk_is_incomplete(agent: Agent, upstream: Upstream, part: bytes) -> None:
    """A stream whose connection is closed between chunks, in a chunk or in the length of one is incomplete."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        await reply.raw(part)
        await reply.close()

    upstream.script = script
    assert not (await agent.chat(stream=True)).complete
    assert await only_state(agent) == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_in_packets_of_one_byte_is_unchanged(agent: Agent, upstream: Upstream, stream: bool) -> None:
    """Status, headers and body do not depend on how the answer is split."""
    body = b"".join(EVENTS) if stream else completion(1, 0, 1)
    kind = b"text/event-stream" if stream else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))

    async def script(_: Received, reply: Reply) -> None:
        for byte in head + body:
            await reply.raw(bytes([byte]))
            await asyncio.sleep(0)

    upstream.script = script
    answer = await agent.chat(stream=stream)
    assert (answer.status, answer.body) == (200, without_null_usage(body.replace(EVENTS[-2], b"")))
    assert await only_state(agent) == "done"


@pytest.mark.parametrize("encoding", ["br", "gzip", "deflate"])
async def test_false_content_encoding_is_forwarded(agent: Agent, upstream: Upstream, encoding: str) -> None:
    """An answer that is not encoded as it says is forwarded unchanged, and its usage is unknown."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(1, 0, 1), content_encoding=encoding)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.body, answer.header("content-encoding")) == (completion(1, 0, 1), encoding)
    assert await only_state(agent) == "usage_unknown"


async def test_truncated_answer_without_length_has_unknown_usage(agent: Agent, upstream: Upstream) -> None:
    """An HTTP/1.0 answer ends with its connection: if its JSON is cut, it is forwarded, and its usage is unknown."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + completion(1, 0, 1)[:-30])
        await reply.close()

    upstream.script = script
    assert (await agent.chat()).status == 200
    assert await only_state(agent) == "usage_unknown"


USAGES = {
    "missing": None,
    "text": "many",
    "a list": [1],
    "a float": {"prompt_tokens": 1.5, "completion_tokens": 1},
    "negative": {"prompt_tokens": -5, "completion_tokens": 1},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 1},
    "more cached than all": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
}  # fmt: skip


@pytest.mark.parametrize("case", USAGES)
async def test_invalid_usage_is_recorded_as_unknown(agent: Agent, upstream: Upstream, case: str) -> None:
    """An answer with an invalid usage is forwarded, and the usage is unknown."""
    body = json.dumps({"id": "x", "model": MODEL, "choices": [], "usage": USAGES[case]}).encode()

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(body)

    upstream.script = script
    assert (await agent.chat()).body == body
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("usage_unknown", None, 0)


async def test_usage_of_zero_is_known(agent: Agent, upstream: Upstream) -> None:
    """A reported usage of zero is recorded as done, unlike a missing one."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(0, 0, 0))

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("done", 0, 0)


async def test_invalid_names_in_an_answer_are_left_out(agent: Agent, upstream: Upstream) -> None:
    """An id that is too long and a model with a NUL are left out of the row."""

    async def script(_: Received, reply: Reply) -> None:
        body = json.loads(completion(1, 0, 1)) | {"id": "x" * 10_000, "model": "gpt\0"}
        await reply.whole(json.dumps(body).encode())

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (row["state"], row["upstream_id"], row["served_model"]) == ("done", None, None)


async def test_usage_before_an_error_event_is_charged(agent: Agent, upstream: Upstream) -> None:
    """What OpenAI has counted before an error event is charged."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[-2])
        await reply.chunk(event({"error": {"message": "no", "type": "server_error"}}))
        await reply.end()

    upstream.script = script
    await agent.chat(stream=True)
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("upstream_error", 7)


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_is_not_utf_8_is_forwarded(agent: Agent, upstream: Upstream, stream: bool) -> None:
    """An answer with a byte in its usage that is not UTF-8 is passed on as it is, and has one row."""
    usage = b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"\xdf":1}'

    async def script(_: Received, reply: Reply) -> None:
        body = b'{"id":"a","model":"m","choices":[],"usage":%b}' % usage
        if not stream:
            await reply.whole(body)
            return
        await reply.stream_head()
        await reply.chunk(b"data: %b\n\ndata: [DONE]\n\n" % body)
        await reply.end()

    upstream.script = script
    answer = await agent.chat(stream=stream, stream_options={"include_usage": True})
    assert (answer.status, answer.body, answer.complete) == (200, upstream.sent(), True)
    [row] = await agent.rows()
    assert (row["state"], row["input_tokens"], row["output_tokens"]) == ("done", 10, 5)
