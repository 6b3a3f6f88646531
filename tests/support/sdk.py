"""The official SDK's calls of every endpoint beside chat, and a model with a price for every kind of token."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI

from tests.support.agent import Agent

MODEL = "a-model-of-every-kind"
RATES = {
    "cached_input": "0.07",
    "cache_write": "0.11",
    "audio_input": "6.13",
    "image_input": "10.17",
    "audio_output": "12.19",
    "image_output": "40.23",
}
AUDIO = ("hello.mp3", b"ID3\x00\xff made up \r\n--sound", "audio/mpeg")


async def priced(agent: Agent) -> Agent:
    """The same agent, with a price for every kind of token."""
    await agent.set_price(MODEL, "0.37", "1.41", **RATES)
    return agent


@asynccontextmanager
async def sdk(agent: Agent) -> AsyncIterator[AsyncOpenAI]:
    """A client as a user makes one."""
    async with AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token, max_retries=0) as client:
        yield client


def call(client: Any, path: str, words: str = "", **more: Any) -> Any:
    """The SDK's call of an endpoint, with either of its clients."""
    calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "/v1/responses": (client.responses.create, {"input": f"hello {words}"}),
        "/v1/completions": (client.completions.create, {"prompt": f"hello {words}"}),
        "/v1/embeddings": (client.embeddings.create, {"input": f"hello {words}"}),
        "/v1/images/generations": (client.images.generate, {"prompt": f"hello {words}"}),
        "/v1/audio/transcriptions": (client.audio.transcriptions.create, {"file": AUDIO, "prompt": f"hello {words}"}),
    }
    function, arguments = calls[path]
    return function(model=MODEL, **arguments, **more)
