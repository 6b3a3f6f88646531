"""A budget holds for requests whose bodies only point to their input."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.config import Config
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget, spent, until_shipped
from tests.support.upstream import Received, Reply, Upstream

LINKED = Config().budget_linked_tokens
USD = Decimal(10)  # for a million tokens: 0.32 for those behind a pointer
DATA = "data:text/plain;base64," + "QUJD" * 20_000

pytestmark = pytest.mark.shared_agent


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/v1/responses", {"input": [{"type": "image_generation_call", "id": "ig_1", "status": None}]}, LINKED),
        ("/v1/responses", {"input": [{"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}"}]}, LINKED),
        (
            "/v1/responses",
            {"input": [{"id": "msg_1", "status": None}, {"type": "reasoning", "id": "rs_1"}]},
            2 * LINKED,
        ),
        ("/v1/responses", {"input": "x", "tools": [{"type": "a_tool_of_next_year"}], "max_tool_calls": 1}, LINKED),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, LINKED),
        (
            "/v1/chat/completions",
            {"messages": [{"content": [{"type": "file", "file": {"file_data": DATA}}]}]},
            len(DATA),
        ),
        ("/v1/embeddings", {"input": [{"type": "image_url", "image_url": "https://example.org/a"}]}, LINKED),
    ],
)
async def test_200_requests_at_once_do_not_overdraw_a_budget(
    agent: Agent, upstream: Upstream, path: str, body: dict[str, Any], tokens: int
) -> None:
    """No 200 requests at once overdraw a budget of 1 USD if their input is elsewhere and they only point to it."""
    await agent.store.fetch("UPDATE users SET concurrency = 1000; UPDATE tokens SET concurrency = 1000")
    await agent.set_price(MODEL, str(USD), str(USD))
    await set_budget(agent, Decimal(1))
    text = json.dumps({"model": MODEL, "max_completion_tokens": 0, "max_output_tokens": 0, **body}).encode()
    decided = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await decided.wait()
        name = "input" if path == "/v1/responses" else "prompt"
        output = "completion" if name == "prompt" else "output"
        await reply.whole(json.dumps({"usage": {f"{name}_tokens": tokens, f"{output}_tokens": 0}}).encode())

    upstream.script = script
    requests = [asyncio.ensure_future(agent.post(text, path)) for _ in range(200)]
    while sum(request.done() for request in requests) + len(upstream.requests) < 200:
        await asyncio.sleep(0.01)
    decided.set()
    statuses = [(await request).status for request in requests]
    assert 0 < statuses.count(200) <= 1 / (USD * tokens / 1_000_000)
    assert statuses.count(200) + statuses.count(429) == 200
    await until_shipped(agent)
    assert 0 < await spent(agent) <= 1
