"""Every forwarded endpoint, called with the official SDK; the ledger has every kind of token at its own rate."""

import asyncio
import json
import re
from decimal import Decimal
from operator import attrgetter
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS, METERED
from chatgpt_agent.core.money.pricing import Tier
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.endpoints import TEXT, counts_for, usage_of, whole
from tests.support.sdk import MODEL, call, priced, sdk
from tests.support.sdk_endpoints import kept_endpoints
from tests.support.upstream import Received, Reply, Upstream, chunk_data, completion, event

PATHS = [endpoint.path for endpoint in METERED if endpoint is not CHAT]
STREAMING = [endpoint.path for endpoint in METERED if endpoint is not CHAT and endpoint.can_stream]

pytestmark = pytest.mark.shared_agent


def cost_of(counts: dict[str, int]) -> Decimal:
    """Returns the cost in USD of counts in which no token belongs to two kinds."""
    rates = {
        "cached_tokens": "0.07", "cache_write_tokens": "0.11", "audio_input_tokens": "6.13",
        "image_input_tokens": "10.17", "audio_output_tokens": "12.19", "image_output_tokens": "40.23",
    }  # fmt: skip
    cost = sum(counts[kind] * Decimal(rate) for kind, rate in rates.items())
    input_tokens = counts["input_tokens"] - sum(counts[kind] for kind in list(rates)[:4])
    output_tokens = counts["output_tokens"] - sum(counts[kind] for kind in list(rates)[4:])
    return (cost + input_tokens * Decimal("0.37") + output_tokens * Decimal("1.41")) / 1_000_000


def check_row(row: dict[str, Any], upstream: Upstream, path: str) -> None:
    """Checks that a row has every count of its answer, and their cost."""
    counts = upstream.counts[row["request_id"]]
    assert (row["endpoint"], row["model"], row["state"]) == (path, MODEL, "done")
    assert {kind: row[kind] for kind in counts} == counts
    assert Decimal(row["cost"]) == cost_of(counts)


@pytest.mark.parametrize("path", PATHS)
async def test_whole_answer_is_forwarded_and_recorded(agent: Agent, upstream: Upstream, path: str) -> None:
    """The request goes to the same path of OpenAI, the SDK gets its answer, and the row has every kind of token."""
    async with sdk(await priced(agent)) as client:
        answer = await call(client, path)
    assert answer.usage.model_dump(exclude_unset=True) == usage_of(path, counts_for(path, 1))
    assert upstream.requests[0].target == path
    [row] = await agent.rows(1)
    check_row(row, upstream, path)
    assert not row["streamed"]


@pytest.mark.parametrize("path", STREAMING)
async def test_stream_is_forwarded_and_recorded(agent: Agent, upstream: Upstream, path: str) -> None:
    """The SDK gets OpenAI's events, and the row has every kind of token."""
    async with sdk(await priced(agent)) as client:
        events = [event async for event in await call(client, path, stream=True)]
    assert len(events) >= 2
    [row] = await agent.rows(1)
    check_row(row, upstream, path)
    assert row["streamed"]


async def test_usage_of_a_stream_is_hidden_unless_the_client_asks(agent: Agent, upstream: Upstream) -> None:
    """A client of legacy completions gets the usage event only if it asks for it."""
    async with sdk(await priced(agent)) as client:
        default = [chunk async for chunk in await call(client, "/v1/completions", stream=True)]
        options = {"include_usage": True}
        with_usage = [
            chunk async for chunk in await call(client, "/v1/completions", stream=True, stream_options=options)
        ]
    assert [chunk for chunk in default if not chunk.choices or chunk.usage] == []
    counts = upstream.counts[(await agent.rows(2))[1]["request_id"]]
    assert with_usage[-1].usage.completion_tokens == counts["output_tokens"]


@pytest.mark.parametrize("path", PATHS)
async def test_synchronous_sdk_is_served(agent: Agent, upstream: Upstream, path: str) -> None:
    """The SDK's synchronous client is served like the asynchronous one."""
    await priced(agent)

    def send() -> None:
        with OpenAI(base_url=agent.url + "/v1", api_key=agent.token, max_retries=0) as client:
            call(client, path)
            if path in STREAMING:
                assert list(call(client, path, stream=True))

    await asyncio.to_thread(send)
    rows = await agent.rows()
    assert len(rows) == 1 + (path in STREAMING)
    for row in rows:
        check_row(row, upstream, path)


def test_fake_upstream_conforms_to_the_sdk() -> None:
    """The answers of the fake upstream are valid by the SDK's own types."""
    names = {
        "/v1/completions": "Completion",
        "/v1/responses": "responses.Response",
        "/v1/responses/compact": "responses.CompactedResponse",
        "/v1/decisions": "Decision",
        "/v1/embeddings": "CreateEmbeddingResponse",
        "/v1/images/generations": "ImagesResponse",
        "/v1/images/edits": "ImagesResponse",
        "/v1/audio/transcriptions": "audio.Transcription",
    }
    assert list(names) == PATHS
    for path, name in names.items():
        try:
            type_ = attrgetter(name)(openai.types)
        except AttributeError:  # the SDK is older than the endpoint
            continue
        type_.model_validate_json(whole(path, usage_of(path, counts_for(path, 1)), {}), strict=True)


@pytest.mark.parametrize("path", PATHS)
async def test_answer_without_usage_is_recorded_as_unknown(agent: Agent, path: str) -> None:
    """An answer without usage passes, whole or streamed, and its row says that the usage is unknown."""
    async with sdk(await priced(agent)) as client:
        await call(client, path, "nousage=1")
        if path in STREAMING:
            assert [event async for event in await call(client, path, "nousage=1", stream=True)]
    assert {(row["state"], row["cost"], row["input_tokens"]) for row in await agent.rows()} == {
        ("usage_unknown", 0, None)
    }


@pytest.mark.parametrize("path", PATHS)
async def test_error_of_openai_is_forwarded(agent: Agent, path: str) -> None:
    """OpenAI's 429 reaches the SDK with OpenAI's own body, and its row has the status."""
    async with sdk(await priced(agent)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await call(client, path, "status=429")
    assert caught.value.code == "rate_limit_exceeded"
    [row] = await agent.rows(1)
    assert (row["state"], row["status"]) == ("upstream_error", 429)


@pytest.mark.parametrize("path", PATHS)
async def test_model_without_a_price_is_refused(agent: Agent, upstream: Upstream, path: str) -> None:
    """A model without a price is a 404 on every endpoint, and nothing is sent to OpenAI."""
    async with sdk(agent) as client:
        with pytest.raises(openai.NotFoundError):
            await call(client, path)
    assert upstream.requests == []


# Chat with more than text.


async def test_chat_with_audio_and_images_is_charged_by_kind(agent: Agent, upstream: Upstream) -> None:
    """Each kind of token of a chat is charged at its own rate, whole or streamed."""
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
        cost = 101 * 7 + 53 * 11 + 211 * 613 + 307 * 1017 + 328 * 37 + 203 * 1219 + 297 * 141
        assert (Decimal(row["cost"]), row["service_tier"]) == (Decimal(cost) / 10**8, "default")


async def test_tier_of_the_answer_is_charged(agent: Agent) -> None:
    """A request is charged at the service tier that served it, not at the one that it asked for."""
    await agent.set_price(MODEL, "2", "8", tiers=[Tier(service_tier="flex", multiplier=Decimal("0.5"))])
    async with sdk(agent) as client:
        await call(client, "/v1/responses", "tier=flex", service_tier="auto")
        await call(client, "/v1/responses", "tier=default", service_tier="flex")
    rows = {row["service_tier"]: row for row in await agent.rows(2)}
    assert rows["flex"]["cost"] == Decimal(1007 * 2 + 305 * 8) / 2 / 10**6
    assert rows["default"]["cost"] == Decimal(1014 * 2 + 310 * 8) / 10**6


async def test_decisions_need_a_price_of_their_own(agent: Agent, upstream: Upstream) -> None:
    """A model whose price has no tier `decisions` makes no decisions, and the answer says what is missing."""
    await agent.set_price(MODEL, "2", "8")
    async with sdk(agent) as client:
        with pytest.raises(openai.BadRequestError, match="set a price for its tier 'decisions'") as caught:
            await call(client, "/v1/decisions")
    assert (caught.value.param, upstream.requests) == ("model", [])


async def test_images_may_be_edited_by_a_json_body(agent: Agent, upstream: Upstream) -> None:
    """An edit of images that are named by URL or given in base64 is sent as JSON, byte for byte."""
    await priced(agent)
    images = [{"image_url": "data:image/png;base64,iVBORw0K"}, {"file_id": "file-1"}]
    body = json.dumps({"model": MODEL, "prompt": "a hat", "images": images}).encode()
    assert (await agent.post(body, "/v1/images/edits")).status == 200
    assert (upstream.requests[0].body, upstream.requests[0].header("content-type")) == (body, "application/json")
    check_row((await agent.rows(1))[0], upstream, "/v1/images/edits")


@pytest.mark.parametrize(
    ("more", "cost", "reason"), [({"minute": "0.006"}, Decimal("0.0003"), None), ({}, Decimal(0), "no_price")]
)
async def test_transcription_billed_by_the_second_is_charged_by_the_minute(
    agent: Agent, upstream: Upstream, more: dict[str, Any], cost: Decimal, reason: str | None
) -> None:
    """An answer that reports seconds instead of tokens costs its time; without a price of time the row says so."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b'{"text":"Hi","usage":{"type":"duration","seconds":3}}')

    upstream.script = script
    await agent.set_price(MODEL, "0.37", "1.41", **more)
    async with sdk(agent) as client:
        assert (await call(client, "/v1/audio/transcriptions")).text == "Hi"
    [row] = await agent.rows(1)
    assert (row["state"], row["seconds"], row["cost"], row["uncertain_reason"]) == ("done", 3, cost, reason)


# URLs.


async def test_other_endpoints_are_beside_the_configured_url(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The URLs of the other endpoints have the prefix of the configured chat URL."""
    agent = await make_agent(openai_url=f"http://127.0.0.1:{upstream.port}/eu/openai/v9/chat/completions")
    upstream.script = answer_embedding
    async with sdk(await priced(agent)) as client:
        await call(client, "/v1/embeddings")
    assert upstream.requests[0].target == "/eu/openai/v9/embeddings"


async def answer_embedding(_: Received, reply: Reply) -> None:
    await reply.whole(whole("/v1/embeddings", usage_of("/v1/embeddings", counts_for("/v1/embeddings", 1)), {}))


@pytest.mark.parametrize("path", PATHS)
async def test_other_url_serves_chat_only(make_agent: MakeAgent, upstream: Upstream, path: str) -> None:
    """If the configured URL does not end like OpenAI's, the other endpoints are a 404, and nothing is sent."""
    agent = await make_agent(openai_url=f"http://127.0.0.1:{upstream.port}/my-proxy")
    assert (await agent.post(agent.body(), path)).error["code"] == "unknown_url"
    assert upstream.requests == []


@pytest.mark.parametrize("path", PATHS)
async def test_base_url_may_lack_v1(agent: Agent, upstream: Upstream, path: str) -> None:
    """A client whose base URL has no `/v1` is served, and the row has the path of OpenAI's API."""
    await priced(agent)
    async with AsyncOpenAI(base_url=agent.url, api_key=agent.token, max_retries=0) as client:
        await call(client, path)
    assert upstream.requests[0].target == path
    check_row((await agent.rows(1))[0], upstream, path)


@pytest.mark.parametrize(
    "path", ["/chat", "/chat/", "/chat/completions", "/chat/completions/", "/v1/chat/completions/"]
)
async def test_other_spellings_of_chat_are_served(agent: Agent, upstream: Upstream, path: str) -> None:
    """Chat is served under its short name, without `/v1`, and with a slash at the end; its rows have one endpoint."""
    assert (await agent.post(agent.body(), path)).status == 200
    assert upstream.requests[0].target == "/v1/chat/completions"
    assert [row["endpoint"] for row in await agent.rows(1)] == ["/v1/chat/completions"]


OTHER_SPELLINGS = [
    "/v1/embeddings//", "/v1/v1/embeddings", "/v1//embeddings", "/v1/%65mbeddings", "/V1/embeddings", "/v2/embeddings",
    "/v1/edits", "/v1/engines/davinci/completions", "/files", "/v1/graders/run",
]  # fmt: skip


async def test_other_paths_are_not_forwarded(agent: Agent, upstream: Upstream) -> None:
    """Every other endpoint of OpenAI's SDK is a 404, and so are unusual spellings; nothing is sent or recorded."""
    served = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
    own = {"GET /v1/models", "GET /v1/models/{}", "DELETE /v1/models/{}"}  # the last is a 405
    names = {re.sub(r"\{\w+\}", "{}", name) for name in kept_endpoints()[1] if not name.endswith("?beta=true")}
    others = names - own - {re.sub(r"\{\w+\}", "{}", name) for name in served}
    assert len(others) > 300
    for name in [*others, *(f"POST {path}" for path in OTHER_SPELLINGS)]:
        method, path = name.replace("{}", "id_1").split(" ")
        answer = await fetch(agent.url + path, method, agent.headers(), agent.body() if method == "POST" else b"")
        assert (answer.status, answer.error and answer.error["code"]) == (404, "unknown_url"), name
    assert upstream.requests == []
    assert await agent.rows() == []


# Requests whose tokens the answer does not report.

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
        ("/v1/images/edits", {"stream": True, "n": 2}, "n"),
        ("/v1/images/edits", {"output_format": "svg"}, "output_format"),
        ("/v1/images/edits", {"extra_body": {"svg": {"model": "x"}}}, "output_format"),
        ("/v1/images/edits", {"n": 129}, "n"),
        ("/v1/responses/compact", {"extra_body": {"stream": True}}, "stream"),
        ("/v1/decisions", {"extra_body": {"stream": True}}, "stream"),
        ("/v1/completions", {"best_of": 0}, "best_of"),
        ("/v1/responses", {"extra_body": {"max_output_tokens": "9"}}, "max_output_tokens"),
        *(("/v1/audio/transcriptions", {"response_format": kind}, "response_format")
          for kind in ("text", "srt", "vtt", "verbose_json")),
    ],
)  # fmt: skip
async def test_unmetered_request_is_refused(
    agent: Agent, upstream: Upstream, path: str, more: dict[str, Any], param: str
) -> None:
    """A request whose tokens its answer would not report is a 400 that names the parameter, and nothing is sent."""
    async with sdk(await priced(agent)) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await call(client, path, **more)
    assert (caught.value.param, upstream.requests) == (param, [])


async def test_diarized_transcription_is_forwarded(agent: Agent, upstream: Upstream) -> None:
    """A diarized transcription is served, because its answer reports the usage."""
    async with sdk(await priced(agent)) as client:
        answer = await call(client, "/v1/audio/transcriptions", response_format="diarized_json")
    assert answer.text == TEXT
    check_row((await agent.rows(1))[0], upstream, "/v1/audio/transcriptions")


async def test_form_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """A form reaches OpenAI byte for byte, with its boundary."""
    form = (
        b'--x-y\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
        b'--x-y\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n\x00\xff\r\n\r\n'
        b"--x-y--\r\n" % MODEL.encode()
    )
    await priced(agent)
    content_type = 'multipart/form-data; boundary="x-y"'
    answer = await agent.post(form, "/v1/audio/transcriptions", **{"Content-Type": content_type})
    assert (answer.status, upstream.requests[0].body) == (200, form)
    assert upstream.requests[0].header("content-type") == content_type


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/mixed; boundary=a", ""])
async def test_transcription_that_is_not_a_form_is_refused(agent: Agent, upstream: Upstream, content_type: str) -> None:
    """A transcription whose Content-Type is not a form with a boundary is a 415."""
    answer = await agent.post(b"{}", "/v1/audio/transcriptions", **{"Content-Type": content_type})
    assert (answer.status, answer.error["code"], upstream.requests) == (415, "unsupported_media_type", [])


async def test_form_over_the_limit_is_refused(make_agent: MakeAgent, upstream: Upstream) -> None:
    """`max_body_size` is the limit of uploads, too: a larger form is a 413."""
    agent = await priced(await make_agent(max_body_size=4096))
    async with sdk(agent) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.audio.transcriptions.create(model=MODEL, file=("a.mp3", b"x" * 5000))
    assert (caught.value.status_code, upstream.requests) == (413, [])


async def test_content_is_neither_recorded_nor_logged(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """No text of a request or an answer is in a row or a log line, for any endpoint."""
    async with sdk(await priced(agent)) as client:
        for path in PATHS:
            await call(client, path, "canary-of-a-prompt")
    rows = await agent.rows(len(PATHS))
    for word in ("canary-of-a-prompt", "made up", TEXT):
        assert word not in json.dumps(rows, default=str)
        assert word not in caplog.text
