"""The official OpenAI SDK, unchanged but for its base URL, over real sockets."""

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionUserMessageParam

from tests.support.agent import MODEL, Agent
from tests.support.sdk import sdk
from tests.support.upstream import MODEL_SERVED, Received, Reply, Upstream, completion, stream_events

MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hello chunks=4"}]

pytestmark = pytest.mark.shared_agent


async def test_chat_completion_is_parsed(agent: Agent) -> None:
    """The SDK gets its completion, with the usage and the request id that the row has."""
    async with sdk(agent) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello there, how can I help?"
    assert answer.usage is not None
    [row] = await agent.rows(1)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row["input_tokens"], row["output_tokens"])
    # The SDK documents this attribute as public.
    assert answer._request_id == row["upstream_request_id"]  # noqa: SLF001


async def test_stream_has_no_usage_by_default(agent: Agent, upstream: Upstream) -> None:
    """Every chunk has a choice, as a user's loop expects, and the row has the usage all the same."""
    async with sdk(agent) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "word0 é word1 é word2 é word3 é "
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", upstream.billed[row["request_id"]][2])


async def test_stream_has_usage_on_demand(agent: Agent) -> None:
    """A client that asks for the usage gets it in the last chunk."""
    async with sdk(agent) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        *_, last = [chunk async for chunk in stream]
    [row] = await agent.rows(1)
    assert (last.choices, last.usage and last.usage.completion_tokens) == ([], row["output_tokens"])


async def test_models_are_listed(agent: Agent) -> None:
    """The SDK lists and retrieves the models that have a price."""
    async with sdk(agent) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL


async def test_invalid_token_is_an_authentication_error(agent: Agent) -> None:
    """An invalid token raises AuthenticationError, as with OpenAI."""
    async with sdk(agent, "cga_wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "invalid_api_key"


async def test_model_without_a_price_is_a_not_found_error(agent: Agent, upstream: Upstream) -> None:
    """A model without a price raises NotFoundError, as a model that OpenAI does not have."""
    async with sdk(agent) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-9", messages=MESSAGES)
    assert (caught.value.code, upstream.requests) == ("model_not_found", [])


async def test_429_of_openai_is_a_rate_limit_error(agent: Agent) -> None:
    """OpenAI's 429 raises RateLimitError with OpenAI's own body."""
    async with sdk(agent) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "status=429"}])
    assert caught.value.code == "rate_limit_exceeded"


async def test_sdk_does_not_retry_what_may_have_been_billed(agent: Agent, upstream: Upstream) -> None:
    """The SDK would retry a 502, but `x-should-retry: false` stops it."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.close()

    upstream.script = script
    async with sdk(agent, retries=3) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert len(upstream.requests) == 1


def test_fake_upstream_conforms_to_the_sdk() -> None:
    """The answers of the fake upstream are valid by the SDK's own types."""
    assert ChatCompletion.model_validate_json(completion(3, 1, 2), strict=True).model == MODEL_SERVED
    for text in stream_events(2, (3, 1, 2, 1))[:-1]:
        ChatCompletionChunk.model_validate_json(text.removeprefix(b"data: "), strict=True)
