"""The official OpenAI SDK, unchanged but for its base URL, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.support.agent import MODEL, Agent
from tests.support.upstream import MODEL_SERVED, Upstream, completion, stream_events

MESSAGES = [{"role": "user", "content": "hello chunks=4"}]


@asynccontextmanager
async def sdk(agent: Agent, token: str | None = None) -> AsyncIterator[AsyncOpenAI]:
    """A client as a user makes one."""
    async with AsyncOpenAI(base_url=agent.url + "/v1", api_key=token or agent.token, max_retries=0) as client:
        yield client


async def test_a_chat(agent: Agent, upstream: Upstream) -> None:
    """The SDK gets its completion, with the usage that the ledger has."""
    async with sdk(agent) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "Hello there, how can I help?"
    [row] = await agent.rows(1)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row["input_tokens"], row["output_tokens"])
    assert answer._request_id == row["upstream_request_id"]


async def test_a_stream_without_usage(agent: Agent, upstream: Upstream) -> None:
    """No chunk is without choices, as the user's loop expects; the ledger has the usage."""
    async with sdk(agent) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "word0 é word1 é word2 é word3 é "
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", upstream.billed[row["request_id"]][2])


async def test_a_stream_with_usage(agent: Agent, upstream: Upstream) -> None:
    """A user who asked for the usage gets it."""
    async with sdk(agent) as client:
        stream = await client.chat.completions.create(  # type: ignore[call-overload]
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    [row] = await agent.rows(1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == row["output_tokens"]


async def test_models(agent: Agent) -> None:
    """The list is that of the models with a price."""
    async with sdk(agent) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL


async def test_a_wrong_token(agent: Agent) -> None:
    """AuthenticationError, as from OpenAI."""
    async with sdk(agent, "cga_wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[call-overload]
    assert caught.value.code == "invalid_api_key"


async def test_a_model_without_a_price(agent: Agent, upstream: Upstream) -> None:
    """NotFoundError, as from OpenAI for a model that it does not have."""
    async with sdk(agent) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-9", messages=MESSAGES)  # type: ignore[call-overload]
    assert (caught.value.code, upstream.requests) == ("model_not_found", [])


async def test_openais_429(agent: Agent) -> None:
    """RateLimitError, with OpenAI's own body."""
    async with sdk(agent) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "status=429"}])
    assert caught.value.code == "rate_limit_exceeded"


async def test_what_may_have_been_billed_is_not_tried_again(agent: Agent, upstream: Upstream) -> None:
    """The SDK would repeat a 502 by itself; our header says not to."""

    async def script(request: object, reply: object) -> None:
        await reply.close()  # type: ignore[attr-defined]

    upstream.script = script
    async with AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token, max_retries=3) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[call-overload]
    assert len(upstream.requests) == 1


def test_the_fake_speaks_the_sdks_types() -> None:
    """What the fake sends is what the SDK's own types say."""
    assert ChatCompletion.model_validate_json(completion(3, 1, 2), strict=True).model == MODEL_SERVED
    for text in stream_events(2, (3, 1, 2, 1))[:-1]:
        ChatCompletionChunk.model_validate_json(text.removeprefix(b"data: "), strict=True)
