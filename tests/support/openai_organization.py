"""OpenAI's organization API: pages of usage and costs, scripts that serve them, and a file with an admin key."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import openai
import pytest

from chatgpt_agent.core.openai_usage import Kind
from tests.support.upstream import Received, Reply

KEY = "sk-admin-made-up-0123456789"
START = 1_793_491_200  # the first of November 2026
SNAPSHOT = "gpt-6-luna-2026-09-15"
GOLDEN = Path(__file__).parent.parent / "golden/organization"


def usage_result(**other: Any) -> dict[str, Any]:
    """Returns a result as in OpenAI's reference."""
    fields = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1000,
        "output_tokens": 500,
        "input_cached_tokens": 800,
        "num_model_requests": 5,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": SNAPSHOT,
        "batch": None,
    }
    return fields | other


def bucket(results: Sequence[Any], *, day: int = 0, seconds: int = 86_400) -> dict[str, Any]:
    """Returns the bucket of a day; 0 is the first of November."""
    start = START + day * 86_400
    return {"object": "bucket", "start_time": start, "end_time": start + seconds, "results": results}


def usage_type(kind: Kind, suffix: str) -> Any:
    """Returns a type of the SDK for figures of this kind: `Response` or `Params`. Skips the test with an older SDK."""
    if tuple(map(int, openai.__version__.split(".")[:2])) < (3, 57):
        pytest.skip(f"openai {openai.__version__} does not have all of these figures")
    types = importlib.import_module("openai.types.admin.organization")
    return getattr(types, f"Usage{kind.value.title().replace('_', '')}{suffix}")


def cost_result(value: float = 0.06, **other: Any) -> dict[str, Any]:
    """Returns an amount as in OpenAI's reference."""
    return {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, **other}


def page_of(*buckets: Any, has_more: bool = False) -> bytes:
    """Returns a page as JSON."""
    return json.dumps({"object": "page", "data": buckets, "has_more": has_more, "next_page": None}).encode()


def costs_page(value: str, currency: str = "usd", day: int = 0) -> bytes:
    """Returns a page with one amount, with the number exactly as written here."""
    start = START + day * 86_400
    result = f'{{"object":"organization.costs.result","amount":{{"value":{value},"currency":"{currency}"}}}}'
    return (
        f'{{"object":"page","data":[{{"start_time":{start},"end_time":{start + 86_400},"results":[{result}]}}]}}'
    ).encode()


def page(kind: Kind, number: int = 0, following: str | None = None) -> dict[str, Any]:
    """A page with one day; the number is its distance from the first day. Only completions and costs have figures."""
    usage = usage_result(num_model_requests=1, input_tokens=10, output_tokens=2, input_cached_tokens=1)
    results = {Kind.COMPLETIONS: [usage | {"api_key_id": "key_a"}], Kind.COSTS: [cost_result()]}.get(kind, [])
    data = [bucket(results, day=number)]
    return {"object": "page", "data": data, "has_more": following is not None, "next_page": following}


def query_of(request: Received) -> dict[str, list[str]]:
    """The query of a request."""
    return parse_qs(urlsplit(request.target).query)


async def organization(request: Received, reply: Reply) -> None:
    """Answers with three pages of completions and one of everything else."""
    kind = Kind(urlsplit(request.target).path.rpartition("/")[2])
    number = int(query_of(request).get("page", ["page=0"])[0].removeprefix("page="))
    following = f"page={number + 1}" if kind is Kind.COMPLETIONS and number < 2 else None
    await reply.whole(json.dumps(page(kind, number, following)).encode())


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
