"""OpenAI's organization API: pages of usage and costs, scripts that serve them, and a file with an admin key."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chatgpt_agent.core.openai_usage import Kind
from tests.support.upstream import Received, Reply

KEY = "sk-admin-made-up-0123456789"
START = 1_793_491_200  # the first of November 2026


def page(kind: Kind, number: int = 0, following: str | None = None) -> dict[str, Any]:
    """A page with one day; the number is its distance from the first day."""
    usage = {
        "object": "organization.usage.completions.result",
        "input_tokens": 10,
        "output_tokens": 2,
        "input_cached_tokens": 1,
        "num_model_requests": 1,
        "model": "gpt-6-luna-2026-09-15",
        "api_key_id": "key_a",
    }
    cost = {"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}}
    start = START + number * 86_400
    results = [usage if kind is Kind.USAGE else cost]
    data = [{"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results}]
    return {"object": "page", "data": data, "has_more": following is not None, "next_page": following}


def query_of(request: Received) -> dict[str, list[str]]:
    """The query of a request."""
    return parse_qs(urlsplit(request.target).query)


async def organization(request: Received, reply: Reply) -> None:
    """Answers with three pages of usage and one of costs."""
    path = urlsplit(request.target).path
    if path == "/v1/organization/costs":
        await reply.whole(json.dumps(page(Kind.COSTS)).encode())
        return
    number = int(query_of(request).get("page", ["page=0"])[0].removeprefix("page="))
    following = f"page={number + 1}" if number < 2 else None
    await reply.whole(json.dumps(page(Kind.USAGE, number, following)).encode())


def answering(body: bytes, status: int = 200, **headers: str) -> Any:
    """A script that gives this answer to all requests."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(body, status, **headers)

    return script


def key_file(path: Path, data: bytes = KEY.encode() + b"\n", mode: int = 0o600) -> Path:
    """A file with a key."""
    path.write_bytes(data)
    path.chmod(mode)
    return path
