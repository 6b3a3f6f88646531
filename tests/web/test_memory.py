"""The bytes of bodies and answers that are held at once are limited: a body without room is refused, an answer without
room is passed on as it comes."""

import gzip
import json
import sqlite3

import pytest

from tests.support.agent import Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.endpoints import counts_for, response_events, usage_of
from tests.support.sdk import MODEL, priced
from tests.support.upstream import Received, Reply, Upstream, completion

MIB = 1 << 20
COUNTS = (19, 4, 10, 3)
LIMITS = {"max_body_size": MIB, "max_buffered_size": 2 * MIB}
LONG = 4 * MIB  # bytes of an answer that has no room
TEXTS = {"words": "word " * (LONG // 5), "lines": "a line\n" * (LONG // 7), "quotes": '"' * (LONG // 2)}

pytestmark = pytest.mark.shared_agent(**LIMITS)


async def begin_upload(agent: Agent, token: str, size: int = MIB) -> Connection:
    """Sends the head of a request with a body of a size, and the first byte."""
    connection = await Connection.open(agent.url)
    headers = agent.headers(Authorization=f"Bearer {token}")
    head = request_bytes("POST", "/v1/chat/completions", {**headers, "Content-Length": str(size)}, b"{")
    held = agent.server.memory.held
    await connection.send(head)
    await agent.until(lambda: agent.server.memory.held == held + size)
    return connection


async def all_given_back(agent: Agent) -> None:
    """Waits until no byte is held."""
    await agent.until(lambda: agent.server.memory.held == 0)


async def test_body_without_room_is_refused(agent: Agent, upstream: Upstream) -> None:
    """A body that has no room gets 503 in OpenAI's envelope, which says to try again, and nothing is sent."""
    upload = await begin_upload(agent, agent.token)
    answer = await agent.chat("x" * MIB)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        413,
        "request_too_large",
        "invalid_request_error",
    )
    answer = await agent.chat("x" * (MIB // 2))
    assert (answer.status, answer.error["code"], answer.error["type"]) == (503, "memory_full", "server_error")
    assert (answer.header("retry-after"), answer.header("x-should-retry")) == ("1", "true")
    assert upstream.requests == []
    await upload.close()
    await all_given_back(agent)
    assert (await agent.chat("x" * (MIB // 2))).status == 200


async def test_body_without_room_is_refused_before_it_is_sent(agent: Agent) -> None:
    """The 503 comes when the head is there, so that the client need not send the rest."""
    upload = await begin_upload(agent, agent.token)
    connection = await Connection.open(agent.url)
    head = {**agent.headers(), "Content-Length": str(MIB // 2), "Expect": "100-continue"}
    await connection.send(request_bytes("POST", "/v1/chat/completions", head, b""))
    answer = await connection.answer()
    assert (answer.status, answer.error["code"]) == (503, "memory_full")
    for each in (connection, upload):
        await each.close()
    await all_given_back(agent)


async def test_client_that_sends_all_of_its_body_first_gets_the_refusal(agent: Agent) -> None:
    """The rest of a refused body is read, so that the answer is not lost in a reset."""
    upload = await begin_upload(agent, agent.token)
    connection = await agent.begin("x" * (MIB - 1000))
    assert (await connection.answer()).status == 503
    await connection.close()
    await upload.close()


async def test_body_of_unknown_length_takes_room_as_it_comes(agent: Agent, upstream: Upstream) -> None:
    """A chunked body is refused where it finds no room."""
    upload = await begin_upload(agent, agent.token)
    headers = {"Content-Length": "", "Transfer-Encoding": "chunked"}
    head = request_bytes("POST", "/chat", agent.headers(**headers), b"").replace(b"Content-Length: \r\n", b"")
    connection = await Connection.open(agent.url)
    await connection.send(head + b"%x\r\n%b\r\n" % (MIB // 2, b" " * (MIB // 2)))
    answer = await connection.answer()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "memory_full", [])
    await connection.close()
    await upload.close()
    await all_given_back(agent)


async def test_user_leaves_room_for_others(agent: Agent) -> None:
    """When one user has no more room, another one has."""
    upload = await begin_upload(agent, agent.token)
    assert (await agent.chat()).status == 503
    other = await agent.add_user("bob")
    answer = await fetch(
        f"{agent.url}/chat", "POST", agent.headers(Authorization=f"Bearer {other}"), agent.body("x" * 1000)
    )
    agent.answers.append(answer)
    assert answer.status == 200
    await upload.close()


async def test_disconnect_in_the_middle_of_a_body_gives_its_room_back(agent: Agent) -> None:
    """A client that leaves while it sends takes no room any more."""
    upload = await begin_upload(agent, agent.token)
    await upload.close()
    await all_given_back(agent)


async def test_body_is_not_held_while_openai_works(agent: Agent, upstream: Upstream) -> None:
    """Once a body is sent it takes no room, however long its answer takes."""
    connection = await agent.begin("delay=0.5 " + "x" * (MIB // 2))
    await agent.until(lambda: upstream.requests)
    await all_given_back(agent)
    assert (await connection.answer()).status == 200
    await connection.close()
    await agent.rows(1)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_answer_without_room_passes_as_it_comes(
    agent: Agent, upstream: Upstream, text: str, announced: bool
) -> None:
    """An answer that has no room reaches the client unchanged, and its usage is recorded."""
    body = answer_with(upstream, completion(*COUNTS, text=text), announced=announced)
    answer = await agent.chat()
    assert (answer.status, answer.body == body, answer.complete) == (200, True, True)
    assert answer.header("content-length") == (str(len(body)) if announced else None)
    await expect_row(agent, "done")


async def test_compressed_answer_without_room_passes_as_it_comes(agent: Agent, upstream: Upstream) -> None:
    """The usage of an answer that comes compressed, and has no room, is recorded."""
    noise = "".join(f"{number * 7919 % 1_000_003}" for number in range(600_000))
    body = answer_with(upstream, gzip.compress(completion(*COUNTS, text=noise), 1), content_encoding="gzip")
    assert len(body) > MIB
    answer = await agent.chat()
    assert (answer.body == body, answer.header("content-encoding")) == (True, "gzip")
    await expect_row(agent, "done")


async def test_end_of_an_answer_without_room_waits_for_the_row(agent: Agent, upstream: Upstream) -> None:
    """While the outbox cannot be written, the client does not get the end of such an answer."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)
    body = completion(*COUNTS, text=TEXTS["words"])

    async def script(_: Received, reply: Reply) -> None:
        blocker.execute("BEGIN EXCLUSIVE")
        await reply.whole(body)

    upstream.script = script
    answer = await agent.chat()
    blocker.close()
    assert (answer.status, answer.complete, body.startswith(answer.body)) == (200, False, True)
    await expect_row(agent, "done")


async def test_answer_without_room_that_breaks_off_is_incomplete(agent: Agent, upstream: Upstream) -> None:
    """If such an answer breaks off, the client sees that it is not whole, and the row says so."""
    body = completion(*COUNTS, text=TEXTS["words"])

    async def script(_: Received, reply: Reply) -> None:
        await reply.head(content_type="application/json", content_length=str(len(body)))
        await reply.raw(body[: LONG // 2])
        await reply.close()

    upstream.script = script
    connection = await agent.begin()
    answer = await connection.answer()
    await connection.close()
    assert (answer.status, answer.complete) == (200, False)
    await expect_row(agent, "incomplete")


async def test_disconnect_in_an_answer_without_room_is_read_to_its_usage(agent: Agent, upstream: Upstream) -> None:
    """If the client leaves in the middle of such an answer, the rest is read for its usage."""
    answer_with(upstream, completion(*COUNTS, text=TEXTS["words"]))
    connection = await agent.begin()
    await connection.head()
    await connection.close()
    await expect_row(agent, "done")


async def test_event_without_room_passes_as_it_comes(agent: Agent, upstream: Upstream) -> None:
    """A last event that has no room is not held but for its end; its usage is recorded."""
    usage = usage_of("/v1/responses", counts_for("/v1/responses", 1))
    events = response_events(usage)
    large = events[-1].replace(b'"output":', b'"text":"%b","output":' % (b"word " * (LONG // 5)), 1)
    assert len(large) > LONG

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        for event in (*events[:-1], large):
            await reply.chunk(event)
        await reply.end()

    upstream.script = script
    await priced(agent)
    body = json.dumps({"model": MODEL, "input": "hello", "stream": True}).encode()
    answer = await agent.post(body, "/v1/responses")
    assert (answer.body == b"".join((*events[:-1], large)), answer.complete) == (True, True)
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 305)
    await all_given_back(agent)


async def test_slow_readers_do_not_make_others_wait(agent: Agent, upstream: Upstream) -> None:
    """While clients that read nothing hold all the room that they may, answers of others pass."""
    answer_with(upstream, completion(*COUNTS, text=TEXTS["words"]))
    slow = [await agent.begin() for _ in range(4)]
    for connection in slow:
        await connection.head()
    assert (await agent.chat()).complete
    for connection in slow:
        await connection.close()
    await agent.rows(5)
    await all_given_back(agent)


async def test_files_over_rest_count(agent: Agent) -> None:
    """Files that administrators send take room of their own, and are refused where there is none."""
    token = await agent.admin_token("root")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/csv"}
    head = request_bytes("POST", "/api/v1/user-import", {**headers, "Content-Length": str(8 * MIB)}, b"")
    uploads = [await Connection.open(agent.admin_url) for _ in range(3)]
    for upload in uploads:
        await upload.send(head)
    answer = await uploads[2].answer()
    assert (answer.status, answer.error["code"]) == (503, "memory_full")
    for upload in uploads:
        await upload.close()


def answer_with(upstream: Upstream, body: bytes, *, announced: bool = True, **headers: str) -> bytes:
    """Lets the upstream answer with a body, whose length it announces or not; returns the body."""

    async def script(_: Received, reply: Reply) -> None:
        if announced:
            await reply.whole(body, **headers)
            return
        await reply.head(content_type="application/json", transfer_encoding="chunked", x_request_id="req_1")
        await reply.chunk(body)
        await reply.end()

    upstream.script = script
    return body


async def expect_row(agent: Agent, state: str) -> None:
    """Waits for the row of a request and for the room that it held."""
    [row] = await agent.rows(1)
    tokens = (COUNTS[0], COUNTS[2]) if state == "done" else (None, None)
    assert (row["state"], row["input_tokens"], row["output_tokens"]) == (state, *tokens)
    await all_given_back(agent)


async def test_stored_object_without_room_is_passed_on(agent: Agent, upstream: Upstream) -> None:
    """A stored object for which there is no room passes as it comes, and is not read for its usage."""
    body = json.dumps({"output": TEXTS["words"], "usage": {"input_tokens": 5, "output_tokens": 5}}).encode()

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(body)

    upstream.script = script
    answer = await fetch(agent.url + "/v1/responses/resp_1", headers=agent.headers())
    assert answer.body == body
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["input_tokens"]) == ("done", 0, 0)
    await all_given_back(agent)
