"""A few requests of the made-up users while the demonstration runs, so that its pages move."""

import asyncio
import json
import random
from contextlib import suppress

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from chatgpt_agent.demo.contents import UNPRICED
from chatgpt_agent.demo.usage import MODELS

SECONDS = 12.0  # from an answer to the next request, on average
SENDERS = ("search-team", "data-platform", "code-review-bot", "example-alice")
QUESTIONS = ("Summarize the made-up report.", "What changed since last week?", "Review this made-up function.")


class Traffic:
    """Sends requests to the agent at `url`, with the tokens of some users."""

    def __init__(self, url: str, tokens: dict[str, str], seed: int) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._tokens = tokens
        self._draw = random.Random(seed)  # noqa: S311 - what is asked, and when
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Sends until it is closed. The first request is for a model without a price."""
        client = AsyncHTTPClient(force_instance=True)
        await self._send(client, UNPRICED)
        while not self._closing.is_set():
            [model] = self._draw.choices(list(MODELS), list(MODELS.values()))
            await self._send(client, model)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._draw.expovariate(1 / SECONDS)):
                    await self._closing.wait()
        client.close()

    def close(self) -> None:
        """Lets the request in progress be the last one."""
        self._closing.set()

    async def _send(self, client: AsyncHTTPClient, model: str) -> None:
        """Sends one request, the answer of which is dropped, whatever it is."""
        message = {"role": "user", "content": self._draw.choice(QUESTIONS)}
        token = self._tokens[self._draw.choice(SENDERS)]
        with suppress(OSError, HTTPClientError):  # the agent is stopping
            await client.fetch(
                self._url,
                method="POST",
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                body=json.dumps({"model": model, "messages": [message]}),
                raise_error=False,
            )
