"""When something fails on the way: the client's answer, whether OpenAI was asked, and the row's state."""

import asyncio
import json
import socket
import sqlite3
from decimal import Decimal

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import MODEL, OPENAI_KEY, Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.upstream import Received, Reply, Upstream, completion, error_body, event, stream_events

EVENTS = stream_events(2, (20, 5, 7, 3))


async def state_of(agent: Agent) -> str:
    """The state of the only row."""
    [row] = await agent.rows(1)
    return str(row["state"])


# OpenAI says no.


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_openais_errors_pass_as_they_came(agent: Agent, upstream: Upstream, status: int) -> None:
    """Status, body and Retry-After; the row costs nothing."""
    answer = await agent.chat(f"status={status}")
    assert (answer.status, answer.body, answer.header("retry-after")) == (status, error_body(status), "1")
    [row] = await agent.rows(1)
    assert (row["state"], row["status"], row["cost"]) == ("upstream_error", status, 0)


async def test_an_html_error_passes_as_it_came(agent: Agent, upstream: Upstream) -> None:
    """With its type, but never as a page of ours."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b"<html>Bad gateway</html>", 502, content_type="text/html")

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.body) == (502, b"<html>Bad gateway</html>")
    assert answer.header("content-security-policy") == "sandbox"
    assert answer.header("x-agent-error") is None


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_shown(agent: Agent, upstream: Upstream, status: int) -> None:
    """OpenAI's text would hold a part of the stored key."""
    answer = await agent.chat(f"status={status}")
    assert (answer.status, answer.error["code"]) == (502, "upstream_key_rejected")
    assert answer.header("x-should-retry") == "false"
    assert b"sk-" not in answer.body
    assert await state_of(agent) == "upstream_error"


@pytest.mark.parametrize("status", [401, 302])
async def test_a_refusal_in_one_packet_leaves_the_next_request_alone(
    agent: Agent, upstream: Upstream, status: int
) -> None:
    """Tornado has taken its handle back by then: what aborts the one must not abort the other."""
    body = error_body(status)

    async def script(request: Received, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    for _ in range(5):
        upstream.script = script
        assert (await agent.chat()).status == 502
        upstream.script = upstream.openai
        assert (await agent.chat()).status == 200


@pytest.mark.parametrize("status", [301, 307, 304, 999])
async def test_an_answer_that_is_none_is_refused(agent: Agent, upstream: Upstream, status: int) -> None:
    """A redirect is not followed: it would take the message and the key elsewhere."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.head(status, location=upstream.url, content_length="0")

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], len(upstream.requests)) == (502, "upstream_invalid", 1)


CONTINUE = b"HTTP/1.1 100 Continue\r\nRetry-After: 99\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nX-Request-Id: early\r\nRetry-After: 99\r\n\r\n"
EARLY = {"100 and 103": CONTINUE + HINTS, "100 fifty times": CONTINUE * 50, "fifty of each": (CONTINUE + HINTS) * 50}


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("early", EARLY)
async def test_heads_before_the_head_do_not_count(agent: Agent, upstream: Upstream, early: str, status: int) -> None:
    """100 and 103 are passed over with their fields, however many there are (RFC 9110 §15.2)."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.raw(EARLY[early])
        await reply.whole(completion(1, 0, 1) if status == 200 else error_body(status), status)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.body) == (status, upstream.sent())
    assert (answer.header("x-request-id"), answer.header("retry-after")) == ("req_0123456789abcdef", None)
    assert await state_of(agent) == ("done" if status == 200 else "upstream_error")


async def test_hostile_headers_stay_behind(agent: Agent, upstream: Upstream) -> None:
    """Only named ones cross."""

    async def script(request: Received, reply: Reply) -> None:
        hostile = {"Set-Cookie": "a=b", "Server": "x", "Location": "/", "Access-Control-Allow-Origin": "*",
                   "X-Http-Reason": "evil", "openai-organization": "org-x", "Connection": "x-odd"}  # fmt: skip
        await reply.whole(completion(1, 0, 1), **hostile, **{"x-ratelimit-remaining-tokens": "9", "retry-after": "3"})

    upstream.script = script
    answer = await agent.chat()
    assert {name.lower() for name, _ in answer.headers} == {
        "date", "x-agent-request-id", "content-type", "content-length", "x-request-id", "x-content-type-options",
        "content-security-policy", "x-ratelimit-remaining-tokens", "retry-after",
    }  # fmt: skip


# The way there.


async def test_nobody_listens(make_agent: MakeAgent) -> None:
    """502, which may be tried again; the row says that nothing was sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        agent = await make_agent(openai_url=f"http://127.0.0.1:{port}/v1/chat/completions")
        answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert answer.header("x-should-retry") == "true"
    assert await state_of(agent) == "not_sent"


async def test_a_name_that_nobody_has(make_agent: MakeAgent) -> None:
    """502 for a host that does not exist (RFC 6761 §6.4 reserves it)."""
    agent = await make_agent(openai_url="https://openai.invalid/v1/chat/completions")
    answer = await agent.chat()
    assert (answer.error["code"], answer.header("x-should-retry")) == ("upstream_unreachable", "true")
    assert await state_of(agent) == "not_sent"


async def test_nobody_answers(make_agent: MakeAgent, upstream: Upstream) -> None:
    """504 when the first byte takes too long; OpenAI may have billed."""

    async def script(request: Received, reply: Reply) -> None:
        await asyncio.sleep(60)

    upstream.script = script
    agent = await make_agent(first_byte_timeout=0.2)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (504, "upstream_timeout", "false")
    assert await state_of(agent) == "unknown"


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_in_the_middle_of_an_answer(make_agent: MakeAgent, upstream: Upstream, stream: bool) -> None:
    """A whole answer gets 504, a stream is cut off; the row says `incomplete`."""

    async def script(request: Received, reply: Reply) -> None:
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
    assert await state_of(agent) == "incomplete"


async def test_silence_is_not_what_a_slow_stream_does(make_agent: MakeAgent, upstream: Upstream) -> None:
    """A stream that says something now and then may take longer than the limit."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for piece in [EVENTS[0]] * 12 + EVENTS:
            await reply.chunk(piece)
            await asyncio.sleep(0.1)
        await reply.end()

    upstream.script = script
    agent = await make_agent(silence_timeout=1, first_byte_timeout=1)
    assert (await agent.chat(stream=True)).complete


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_the_connection_is_lost_before_the_answer(agent: Agent, upstream: Upstream, how: str) -> None:
    """502 that must not be tried again: OpenAI may have billed."""

    async def script(request: Received, reply: Reply) -> None:
        await getattr(reply, how)()

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (502, "upstream_lost", "false")
    assert await state_of(agent) == "unknown"


async def test_a_post_is_never_sent_twice(agent: Agent, upstream: Upstream) -> None:
    """Where a kept connection dies under a request, libcurl would send it again."""
    assert (await agent.chat()).status == 200

    async def script(request: Received, reply: Reply) -> None:
        await reply.close()

    upstream.script = script
    answer = await agent.chat()
    assert upstream.requests[0].connection == upstream.requests[1].connection
    assert (answer.error["code"], len(upstream.requests)) == ("upstream_lost", 2)


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_whole_answer_is_cut_short(agent: Agent, upstream: Upstream, how: str) -> None:
    """Never a shorter answer: 502."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.head(200, content_length="1000", content_type="application/json")
        await reply.raw(completion(1, 0, 1)[:200])
        await asyncio.sleep(0.05)
        await getattr(reply, how)()

    upstream.script = script
    answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (502, "upstream_truncated")
    assert await state_of(agent) == "incomplete"


async def test_a_stream_that_breaks_off_after_its_usage(agent: Agent, upstream: Upstream) -> None:
    """The row keeps what is known."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for piece in EVENTS[:-1]:
            await reply.chunk(piece)
        await asyncio.sleep(0.05)
        await reply.reset()

    upstream.script = script
    assert not (await agent.chat(stream=True)).complete
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"], row["error"]) == ("incomplete", 7, "upstream_truncated")
    assert row["cost"] > 0


@pytest.mark.parametrize("part", [b"", b"ff\r\ndata: {}", b"5"])
async def test_a_stream_that_ends_without_its_last_chunk(agent: Agent, upstream: Upstream, part: bytes) -> None:
    """A FIN between chunks, in a chunk, or in the length of one is no end."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        await reply.raw(part)
        await reply.close()

    upstream.script = script
    assert not (await agent.chat(stream=True)).complete
    assert await state_of(agent) == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_one_byte_a_packet_is_the_same(agent: Agent, upstream: Upstream, stream: bool) -> None:
    """Status, headers and body do not depend on how they are cut."""
    body = b"".join(EVENTS) if stream else completion(1, 0, 1)
    kind = b"text/event-stream" if stream else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))

    async def script(request: Received, reply: Reply) -> None:
        for byte in head + body:
            await reply.raw(bytes([byte]))
            await asyncio.sleep(0)

    upstream.script = script
    answer = await agent.chat(stream=stream)
    assert (answer.status, answer.body) == (200, body.replace(EVENTS[-2], b""))
    assert await state_of(agent) == "done"


@pytest.mark.parametrize("encoding", ["br", "gzip", "deflate"])
async def test_an_encoding_that_is_not_what_it_says(agent: Agent, upstream: Upstream, encoding: str) -> None:
    """The answer passes as it came, with its header; what cannot be read is unknown, not zero."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(completion(1, 0, 1), content_encoding=encoding)

    upstream.script = script
    answer = await agent.chat()
    assert (answer.body, answer.header("content-encoding")) == (completion(1, 0, 1), encoding)
    assert await state_of(agent) == "usage_unknown"


async def test_an_answer_without_framing_may_be_cut(agent: Agent, upstream: Upstream) -> None:
    """Old servers end with the connection: a cut JSON is relayed, and its usage is unknown, not zero."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + completion(1, 0, 1)[:-30])
        await reply.close()

    upstream.script = script
    assert (await agent.chat()).status == 200
    assert await state_of(agent) == "usage_unknown"


USAGES = {
    "missing": None,
    "text": "many",
    "a list": [1],
    "a float": {"prompt_tokens": 1.5, "completion_tokens": 1},
    "negative": {"prompt_tokens": -5, "completion_tokens": 1},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 1},
    "more cached than all": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
}  # fmt: skip


@pytest.mark.parametrize("kind", USAGES)
async def test_a_usage_that_makes_no_sense_is_unknown(agent: Agent, upstream: Upstream, kind: str) -> None:
    """The answer passes; the numbers are not trusted."""
    body = json.dumps({"id": "x", "model": MODEL, "choices": [], "usage": USAGES[kind]}).encode()

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(body)

    upstream.script = script
    assert (await agent.chat()).body == body
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("usage_unknown", None, 0)


async def test_a_usage_of_zero_is_done(agent: Agent, upstream: Upstream) -> None:
    """Zero that is said is not the same as nothing said."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(completion(0, 0, 0))

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["cost"]) == ("done", 0, 0)


async def test_odd_names_in_an_answer_do_not_block_the_ledger(agent: Agent, upstream: Upstream) -> None:
    """An id of 10 KB, or with a NUL, is left out of the row."""

    async def script(request: Received, reply: Reply) -> None:
        body = json.loads(completion(1, 0, 1)) | {"id": "x" * 10_000, "model": "gpt\0"}
        await reply.whole(json.dumps(body).encode())

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (row["state"], row["upstream_id"], row["served_model"]) == ("done", None, None)


# The agent refuses.


async def test_nothing_is_sent_when_the_ledger_cannot_be_written(agent: Agent, upstream: Upstream) -> None:
    """503 that may be tried again; it works when the disk does."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    answer = await agent.chat()
    ready = await fetch(agent.url + "/readyz")
    blocker.close()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (503, "ledger_unavailable", "true")
    assert (ready.status, upstream.requests) == (503, [])
    assert (await agent.chat()).status == 200


async def test_more_at_once_than_there_are_places(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The third of two gets 503, and its place is free afterwards."""
    agent = await make_agent(max_concurrent_requests=2)
    running = [asyncio.create_task(agent.chat("delay=0.4")) for _ in range(2)]
    await agent.until(lambda: len(upstream.requests) == 2)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "overloaded", "1")
    assert [(await task).status for task in running] == [200, 200]
    assert (await agent.chat()).status == 200


async def test_a_copy_that_is_too_old_is_not_answered_from(make_agent: MakeAgent, upstream: Upstream) -> None:
    """503 `directory_stale` when the database was away for longer than `stale_after`."""
    agent = await make_agent(stale_after=0.1)
    await agent.server.directory.background.close()
    await agent.until(lambda: not agent.server.directory.loaded)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "directory_stale", [])
    assert (await fetch(agent.url + "/readyz")).status == 503


async def test_an_agent_that_does_not_know_what_was_spent_is_not_ready(agent: Agent) -> None:
    """It would refuse everybody who has a budget."""
    agent.server.budgets.loaded = False
    assert (await fetch(agent.url + "/readyz")).status == 503


async def test_while_it_shuts_down_nothing_new_is_taken(agent: Agent, upstream: Upstream) -> None:
    """503 `draining` on a connection that is kept."""
    agent.server.lifecycle.draining = True
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "draining", [])
    assert json.loads((await fetch(agent.url + "/readyz")).body)["draining"] is True


async def test_a_key_that_was_copied_between_users_is_refused(agent: Agent, upstream: Upstream) -> None:
    """Somebody who can write the database cannot spend another's money."""
    token = await agent.add_user("mallory", "sk-made-up-of-mallory")
    sql = "UPDATE users SET upstream_key = (SELECT upstream_key FROM users WHERE name = 'alice') WHERE name = 'mallory'"
    before = agent.server.directory._version
    await agent.store.fetch(sql)
    await agent.until(lambda: agent.server.directory._version != before)
    answer = await agent.post(agent.body(), Authorization=f"Bearer {token}")
    assert (answer.status, answer.error["code"], upstream.requests) == (502, "upstream_key_rejected", [])


# Changes while a request is under way.


async def test_a_price_is_that_of_the_dispatch(agent: Agent, upstream: Upstream) -> None:
    """A price that changes while OpenAI thinks is not charged."""
    go = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await go.wait()
        await reply.whole(completion(1_000_000, 0, 0))

    upstream.script = script
    running = asyncio.create_task(agent.chat())
    await agent.until(lambda: upstream.requests)
    await agent.set_price(MODEL, "99", "99")
    go.set()
    assert (await running).status == 200
    [row] = await agent.rows(1)
    assert Decimal(row["cost"]) == Decimal("0.15")


async def test_the_served_model_is_charged_where_it_has_a_price(agent: Agent, upstream: Upstream) -> None:
    """Its own name's price wins over the asked model's."""
    await agent.set_price("gpt-4o-mini-2024-07-18", "3", "4")

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(completion(1_000_000, 0, 1_000_000))

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (Decimal(row["cost"]), row["model"]) == (7, MODEL)


async def test_a_new_key_is_used_for_the_next_request(agent: Agent, upstream: Upstream) -> None:
    """And the old one for the request under way."""
    before = agent.server.directory._users
    user = next(iter(before.values()))
    await agent.chat()
    await agent.administration.users.set_openai_key("alice", "sk-made-up-second")
    await agent.until(lambda: agent.server.directory._users[user.id] is not user)
    await agent.chat()
    keys = [request.header("authorization") for request in upstream.requests]
    assert keys == [f"Bearer {OPENAI_KEY}", "Bearer sk-made-up-second"]


async def test_a_revoked_token_lets_its_request_finish(agent: Agent, upstream: Upstream) -> None:
    """The one under way is answered, the next is refused."""
    running = asyncio.create_task(agent.chat("delay=0.5"))
    await agent.until(lambda: upstream.requests)
    await agent.administration.tokens.revoke(1)
    await agent.until(lambda: not agent.works(agent.token))
    assert (await agent.chat()).status == 401
    assert (await running).status == 200


async def test_pipelined_requests_are_answered_in_order(agent: Agent, upstream: Upstream) -> None:
    """Two on one connection, each once."""
    connection = await Connection.open(agent.url)
    for content in ("delay=0.1", "second"):
        await connection.send(request_bytes("POST", "/chat", agent.headers(), agent.body(content)))
    answers = [await connection.answer(), await connection.answer()]
    await connection.close()
    assert [answer.body for answer in answers] == [upstream.sent(0), upstream.sent(1)]
    assert len(await agent.rows(2)) == 2


async def test_an_error_event_of_a_stream_keeps_its_usage(agent: Agent, upstream: Upstream) -> None:
    """What OpenAI counted before it failed is charged."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[-2])
        await reply.chunk(event({"error": {"message": "no", "type": "server_error"}}))
        await reply.end()

    upstream.script = script
    await agent.chat(stream=True)
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("upstream_error", 7)
