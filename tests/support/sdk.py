"""The official SDK's calls of every endpoint but chat, and a model with a price for every kind of token."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from operator import attrgetter
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from chatgpt_agent.core.money.pricing import Tier
from tests.support.agent import Agent

MODEL = "a-model-of-every-kind"
RATES: dict[str, Any] = {
    "cached_input": "0.07",
    "cache_write": "0.11",
    "audio_input": "6.13",
    "image_input": "10.17",
    "audio_output": "12.19",
    "image_output": "40.23",
}
TIERS = [Tier(service_tier="decisions", multiplier=Decimal(1))]
QUESTION = {"type": "predicate", "instructions": "Is it a greeting?"}
PNG = ("a.png", b"\x89PNG invented \r\n--picture", "image/png")
AUDIO = ("hello.mp3", b"ID3\x00\xff invented \r\n--sound", "audio/mpeg")


async def priced(agent: Agent) -> Agent:
    """Sets a price for every kind of token; returns the same agent."""
    await agent.set_price(MODEL, "0.37", "1.41", tiers=TIERS, **RATES)
    return agent


# The certificates of all authorities, which each client would read again, take 30 ms, and agents of tests have none.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@asynccontextmanager
async def sdk(agent: Agent, token: str | None = None, retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
    """Opens a client with the arguments that a user gives. `token`: another one than the agent's."""
    http_client = DefaultAsyncHttpxClient(verify=_NO_AUTHORITIES)
    key = token or agent.token
    async with AsyncOpenAI(
        base_url=agent.url + "/v1", api_key=key, max_retries=retries, http_client=http_client
    ) as client:
        yield client


def call(client: Any, path: str, options: str = "", **more: Any) -> Any:
    """Calls an endpoint with the SDK's asynchronous or synchronous client. Skips the test if that is older than the
    endpoint."""
    calls: dict[str, tuple[Callable[..., Any] | None, dict[str, Any]]] = {
        "/v1/responses": (client.responses.create, {"input": f"hello {options}"}),
        "/v1/responses/compact": (_method(client, "responses.compact"), {"input": f"hello {options}"}),
        "/v1/decisions": (_method(client, "decisions.create"), {"input": f"hello {options}", "questions": [QUESTION]}),
        "/v1/completions": (client.completions.create, {"prompt": f"hello {options}"}),
        "/v1/embeddings": (client.embeddings.create, {"input": f"hello {options}"}),
        "/v1/images/generations": (client.images.generate, {"prompt": f"hello {options}"}),
        "/v1/images/edits": (client.images.edit, {"image": [PNG, PNG], "mask": PNG, "prompt": f"hello {options}"}),
        "/v1/audio/transcriptions": (client.audio.transcriptions.create, {"file": AUDIO, "prompt": f"hello {options}"}),
    }
    function, arguments = calls[path]
    if function is None:
        pytest.skip(f"openai {openai.__version__} does not have {path}")
    return function(model=MODEL, **arguments, **more)


def _method(client: Any, name: str) -> Callable[..., Any] | None:
    """Returns a method such as `responses.compact`; None: this version of the SDK does not have it."""
    try:
        method: Callable[..., Any] = attrgetter(name)(client)
    except AttributeError:
        return None
    return method
