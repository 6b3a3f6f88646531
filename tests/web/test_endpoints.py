"""Every endpoint that is forwarded, asked with the official SDK; the ledger has each kind of token, at its own rate."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse
from openai.types.audio import Transcription
from openai.types.responses import Response

from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS
from chatgpt_agent.core.money.pricing import Tier
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.endpoints import TEXT, counts_for, usage_of, whole
from tests.support.sdk import MODEL, call, priced, sdk
from tests.support.upstream import Received, Reply, Upstream, chunk_data, completion, event

PATHS = [endpoint.path for endpoint in ENDPOINTS if endpoint is not CHAT]
STREAMED = [endpoint.path for endpoint in ENDPOINTS if endpoint is not CHAT and endpoint.can_stream]


def cost_of(counts: dict[str, int]) -> Decimal:
    """USD for these counts, of which no token is of two kinds."""
    rates = {
        "cached_tokens": "0.07", "cache_write_tokens": "0.11", "audio_input_tokens": "6.13",
        "image_input_tokens": "10.17", "audio_output_tokens": "12.19", "image_output_tokens": "40.23",
    }  # fmt: skip
    cost = sum(counts[kind] * Decimal(rate) for kind, rate in rates.items())
    given = counts["input_tokens"] - sum(counts[kind] for kind in list(rates)[:4])
    made = counts["output_tokens"] - sum(counts[kind] for kind in list(rates)[4:])
    return (cost + given * Decimal("0.37") + made * Decimal("1.41")) / 1_000_000


def check_row(row: dict[str, Any], upstream: Upstream, path: str) -> None:
    """The row has every count, and costs what they cost."""
    told = upstream.counts[row["request_id"]]
    assert (row["endpoint"], row["model"], row["state"]) == (path, MODEL, "done")
    assert {kind: row[kind] for kind in told} == told
    assert Decimal(row["cost"]) == cost_of(told)


@pytest.mark.parametrize("path", PATHS)
async def test_a_whole_answer(agent: Agent, upstream: Upstream, path: str) -> None:
    """The SDK gets OpenAI's answer, the request goes to the sibling, the ledger has every kind of token."""
    async with sdk(await priced(agent)) as client:
        answer = await call(client, path)
    assert answer.usage.model_dump(exclude_unset=True) == usage_of(path, counts_for(path, 1))
    assert upstream.requests[0].target == path
    [row] = await agent.rows(1)
    check_row(row, upstream, path)
    assert not row["streamed"]


@pytest.mark.parametrize("path", STREAMED)
async def test_a_stream(agent: Agent, upstream: Upstream, path: str) -> None:
    """The SDK gets OpenAI's events, the ledger has every kind of token."""
    async with sdk(await priced(agent)) as client:
        events = [event async for event in await call(client, path, stream=True)]
    assert len(events) >= 2
    [row] = await agent.rows(1)
    check_row(row, upstream, path)
    assert row["streamed"]


async def test_the_usage_that_only_we_asked_for(agent: Agent, upstream: Upstream) -> None:
    """A client of legacy completions that did not ask for it does not see it; one that did does."""
    async with sdk(await priced(agent)) as client:
        unasked = [each async for each in await call(client, "/v1/completions", stream=True)]
        options = {"include_usage": True}
        asked = [each async for each in await call(client, "/v1/completions", stream=True, stream_options=options)]
    assert [each for each in unasked if not each.choices or each.usage] == []
    assert asked[-1].usage.completion_tokens == upstream.counts[(await agent.rows(2))[1]["request_id"]]["output_tokens"]


@pytest.mark.parametrize("path", PATHS)
async def test_the_sdk_that_blocks(agent: Agent, upstream: Upstream, path: str) -> None:
    """The same with the SDK's other client."""
    await priced(agent)

    def ask() -> None:
        with OpenAI(base_url=agent.url + "/v1", api_key=agent.token, max_retries=0) as client:
            call(client, path)
            if path in STREAMED:
                assert list(call(client, path, stream=True))

    await asyncio.to_thread(ask)
    for row in await agent.rows():
        check_row(row, upstream, path)
    assert len(await agent.rows()) == 1 + (path in STREAMED)


def test_the_fake_speaks_the_sdks_types() -> None:
    """What the fake sends is what the SDK's own types say."""
    kinds = dict(
        zip(PATHS, (Completion, Response, CreateEmbeddingResponse, ImagesResponse, Transcription), strict=True)
    )
    for path, kind in kinds.items():
        kind.model_validate_json(whole(path, usage_of(path, counts_for(path, 1)), {}), strict=True)


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_without_usage(agent: Agent, upstream: Upstream, path: str) -> None:
    """It passes, and the row says that nobody knows, whole and streamed."""
    async with sdk(await priced(agent)) as client:
        await call(client, path, "nousage=1")
        if path in STREAMED:
            assert [event async for event in await call(client, path, "nousage=1", stream=True)]
    assert {(row["state"], row["cost"], row["input_tokens"]) for row in await agent.rows()} == {
        ("usage_unknown", 0, None)
    }


@pytest.mark.parametrize("path", PATHS)
async def test_openais_refusal(agent: Agent, path: str) -> None:
    """RateLimitError with OpenAI's own body; the row says so."""
    async with sdk(await priced(agent)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await call(client, path, "status=429")
    assert caught.value.code == "rate_limit_exceeded"
    [row] = await agent.rows(1)
    assert (row["state"], row["status"]) == ("upstream_error", 429)


@pytest.mark.parametrize("path", PATHS)
async def test_a_model_without_a_price(agent: Agent, upstream: Upstream, path: str) -> None:
    """NotFoundError, and nothing is sent."""
    async with sdk(agent) as client:
        with pytest.raises(openai.NotFoundError):
            await call(client, path)
    assert upstream.requests == []


# Chat with more than text.


async def test_a_chat_with_sound_and_pictures(agent: Agent, upstream: Upstream) -> None:
    """Each kind of token at its own rate, whole and streamed."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "total_tokens": 1500,
        "prompt_tokens_details": {
            "cached_tokens": 101, "cache_write_tokens": 53, "audio_tokens": 211, "image_tokens": 307, "text_tokens": 482
        },
        "completion_tokens_details": {"reasoning_tokens": 17, "audio_tokens": 203},
    }  # fmt: skip

    async def script(request: Received, reply: Reply) -> None:
        body = {**json.loads(completion(1, 0, 1)), "usage": usage}
        if not request.json.get("stream"):
            await reply.whole(json.dumps(body).encode())
            return
        await reply.stream_head()
        await reply.chunk(event(chunk_data({"content": "Hi"})) + event(chunk_data(None, usage=usage)) + event("[DONE]"))
        await reply.end()

    upstream.script = script
    await priced(agent)
    for stream in (False, True):
        await agent.post(json.dumps({"model": MODEL, "messages": [], "stream": stream}).encode())
    for row in await agent.rows(2):
        assert (row["audio_input_tokens"], row["image_input_tokens"], row["audio_output_tokens"]) == (211, 307, 203)
        due = 101 * 7 + 53 * 11 + 211 * 613 + 307 * 1017 + 328 * 37 + 203 * 1219 + 297 * 141
        assert (Decimal(row["cost"]), row["service_tier"]) == (Decimal(due) / 10**8, "default")


async def test_the_tier_that_served_is_charged(agent: Agent, upstream: Upstream) -> None:
    """Not the one that was asked for."""
    await agent.set_price(MODEL, "2", "8", tiers=[Tier(service_tier="flex", multiplier=Decimal("0.5"))])
    async with sdk(agent) as client:
        await call(client, "/v1/responses", "tier=flex", service_tier="auto")
        await call(client, "/v1/responses", "tier=default", service_tier="flex")
    rows = {row["service_tier"]: row for row in await agent.rows(2)}
    assert rows["flex"]["cost"] == Decimal(1007 * 2 + 305 * 8) / 2 / 10**6
    assert rows["default"]["cost"] == Decimal(1014 * 2 + 310 * 8) / 10**6


async def test_whisper_answers_by_the_second(agent: Agent, upstream: Upstream) -> None:
    """Seconds are no tokens: nobody knows what it cost."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b'{"text":"Hi","usage":{"type":"duration","seconds":3}}')

    upstream.script = script
    async with sdk(await priced(agent)) as client:
        assert (await call(client, "/v1/audio/transcriptions")).text == "Hi"
    [row] = await agent.rows(1)
    assert row["state"] == "usage_unknown"


# Where they are.


async def test_a_prefix_is_kept(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Siblings are beside the configured URL, wherever that is."""
    agent = await make_agent(openai_url=f"http://127.0.0.1:{upstream.port}/eu/openai/v9/chat/completions")
    upstream.script = _whole_embedding
    async with sdk(await priced(agent)) as client:
        await call(client, "/v1/embeddings")
    assert upstream.requests[0].target == "/eu/openai/v9/embeddings"


async def _whole_embedding(request: Received, reply: Reply) -> None:
    await reply.whole(whole("/v1/embeddings", usage_of("/v1/embeddings", counts_for("/v1/embeddings", 1)), {}))


@pytest.mark.parametrize("path", PATHS)
async def test_another_url_has_no_siblings(make_agent: MakeAgent, upstream: Upstream, path: str) -> None:
    """Nobody knows where they would be: 404, and nothing is sent; chat works."""
    agent = await make_agent(openai_url=f"http://127.0.0.1:{upstream.port}/my-proxy")
    assert (await agent.post(agent.body(), path)).error["code"] == "unknown_url"
    assert upstream.requests == []


UNKNOWN = [
    ("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel"),
    ("GET", "/v1/responses/resp_1/input_items"), ("POST", "/v1/responses/input_tokens"),
    ("POST", "/v1/responses/compact"), ("POST", "/v1/conversations"), ("GET", "/v1/conversations/conv_1"),
    ("GET", "/v1/chat/completions/chatcmpl-1"), ("GET", "/v1/chat/completions/chatcmpl-1/messages"),
    ("POST", "/v1/audio/speech"), ("POST", "/v1/audio/translations"), ("POST", "/v1/audio/voices"),
    ("POST", "/v1/images/edits"), ("POST", "/v1/images/variations"), ("POST", "/v1/videos"), ("GET", "/v1/videos/v_1"),
    ("POST", "/v1/moderations"), ("POST", "/v1/files"), ("GET", "/v1/files"), ("GET", "/v1/files/file-1/content"),
    ("POST", "/v1/uploads"), ("POST", "/v1/batches"), ("GET", "/v1/batches"), ("POST", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/evals"), ("POST", "/v1/assistants"), ("POST", "/v1/threads"), ("POST", "/v1/threads/runs"),
    ("POST", "/v1/vector_stores"), ("POST", "/v1/vector_stores/vs_1/search"), ("POST", "/v1/containers"),
    ("POST", "/v1/realtime/sessions"), ("GET", "/v1/realtime"), ("POST", "/v1/realtime/calls"), ("POST", "/v1/edits"),
    ("POST", "/v1/engines/davinci/completions"), ("GET", "/v1/organization/usage/completions"), ("POST", "/v1/skills"),
    ("POST", "/v1/chatkit/sessions"), ("POST", "/v1/graders/run"), ("POST", "/responses"), ("POST", "/embeddings"),
    ("POST", "/v1/embeddings/"), ("POST", "/v1//embeddings"), ("POST", "/v1/%65mbeddings"), ("POST", "/V1/embeddings"),
]  # fmt: skip


async def test_nothing_else_is_forwarded(agent: Agent, upstream: Upstream) -> None:
    """Every other path of OpenAI's is 404 in OpenAI's envelope."""
    for method, path in UNKNOWN:
        answer = await fetch(agent.url + path, method, agent.headers(), agent.body() if method == "POST" else b"")
        assert (answer.status, answer.error["code"]) == (404, "unknown_url"), path
    assert upstream.requests == []
    assert await agent.rows() == []


# What would use tokens that no answer tells us.

IMAGE_TOOL = {"type": "image_generation", "size": "1024x1024"}


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("/v1/responses", {"background": True}, "background"),
        ("/v1/responses", {"tools": [IMAGE_TOOL]}, "tools"),
        ("/v1/responses", {"tools": [{"type": "function", "name": "f"}, IMAGE_TOOL]}, "tools"),
        ("/v1/embeddings", {"extra_body": {"stream": True}}, "stream"),
        ("/v1/images/generations", {"stream": True, "n": 2}, "n"),
        ("/v1/images/generations", {"output_format": "svg"}, "output_format"),
        ("/v1/images/generations", {"extra_body": {"svg": {"model": "x"}}}, "output_format"),
        ("/v1/images/generations", {"n": 129}, "n"),
        ("/v1/completions", {"best_of": 0}, "best_of"),
        ("/v1/responses", {"extra_body": {"max_output_tokens": "9"}}, "max_output_tokens"),
        *(("/v1/audio/transcriptions", {"response_format": kind}, "response_format")
          for kind in ("text", "srt", "vtt", "verbose_json")),
    ],
)  # fmt: skip
async def test_what_cannot_be_metered_is_refused(
    agent: Agent, upstream: Upstream, path: str, more: dict[str, Any], param: str
) -> None:
    """400 that names the parameter, and nothing is sent."""
    async with sdk(await priced(agent)) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await call(client, path, **more)
    assert (caught.value.param, upstream.requests) == (param, [])


async def test_a_diarized_transcription_passes(agent: Agent, upstream: Upstream) -> None:
    """Its answer has usage like the plain one."""
    async with sdk(await priced(agent)) as client:
        answer = await call(client, "/v1/audio/transcriptions", response_format="diarized_json")
    assert answer.text == TEXT
    check_row((await agent.rows(1))[0], upstream, "/v1/audio/transcriptions")


async def test_a_form_passes_as_it_came(agent: Agent, upstream: Upstream) -> None:
    """Byte for byte, with its boundary."""
    form = (
        b'--x-y\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
        b'--x-y\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n\x00\xff\r\n\r\n'
        b"--x-y--\r\n" % MODEL.encode()
    )
    await priced(agent)
    kind = 'multipart/form-data; boundary="x-y"'
    answer = await agent.post(form, "/v1/audio/transcriptions", **{"Content-Type": kind})
    assert (answer.status, upstream.requests[0].body) == (200, form)
    assert upstream.requests[0].header("content-type") == kind


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=a", ""])
async def test_another_type_than_a_form_is_refused(agent: Agent, upstream: Upstream, kind: str) -> None:
    """415, before the body is read."""
    answer = await agent.post(b"{}", "/v1/audio/transcriptions", **{"Content-Type": kind})
    assert (answer.status, answer.error["code"], upstream.requests) == (415, "unsupported_media_type", [])


async def test_a_form_over_the_limit_is_refused(make_agent: MakeAgent, upstream: Upstream) -> None:
    """`max_body_size` is the limit of uploads, too."""
    agent = await priced(await make_agent(max_body_size=4096))
    async with sdk(agent) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.audio.transcriptions.create(model=MODEL, file=("a.mp3", b"x" * 5000))
    assert (caught.value.status_code, upstream.requests) == (413, [])


async def test_no_message_stays_behind(agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a row nor in a log line, of any endpoint."""
    async with sdk(await priced(agent)) as client:
        for path in PATHS:
            await call(client, path, "canary-of-a-prompt")
    rows = await agent.rows(len(PATHS))
    for word in ("canary-of-a-prompt", "made up", TEXT):
        assert word not in json.dumps(rows, default=str)
        assert word not in caplog.text
