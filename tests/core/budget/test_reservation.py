"""What a budget reserves for a request covers its cost, whatever of what the request allows the answer reports."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.max_cost import Assumptions, max_cost
from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.request import parse_request
from tests.support.billed_answers import ANSWERS, SERVICE_TIERS, Billed, Bounds, terms
from tests.support.billing import BY_PATH, IMAGE_MODEL, MODEL, book_of, read_whole, settled
from tests.support.factories import NOON
from tests.support.openai_bill import bill

ASSUMED = Assumptions(attachment_tokens=1000, output_tokens=500, tool_calls=3)
TOOLS: dict[str, dict[str, Any]] = {
    "web_search_call": {"type": "web_search"},
    "file_search_call": {"type": "file_search", "vector_store_ids": ["vs_1"]},
    "code_interpreter_call": {"type": "code_interpreter", "container": {"type": "auto"}},
    "shell_call": {"type": "shell", "environment": {"type": "container_auto"}},
    "image_generation_call": {"type": "image_generation", "model": IMAGE_MODEL},
}
LIMITS = {"/v1/chat/completions": "max_completion_tokens", "/v1/completions": "max_tokens"}
# The tiers in which a request may be served (https://developers.openai.com/api/docs/guides/fast-mode): its own or the
# standard one; without one, any that the project's settings name.
PROJECT = tuple(tier for tier in SERVICE_TIERS if tier is not None)
SERVED: dict[str | None, Sequence[str | None]] = {
    None: (None, *PROJECT),
    "auto": PROJECT,
    "default": ("default",),
    "fast": ("priority", "default"),
    "priority": ("priority", "default"),
    "flex": ("flex", "default"),
    "ultrafast": ("ultrafast", "default"),
}


class Request(NamedTuple):
    """A request, and the bounds of its answer as the documentation of budgets has them."""

    body: bytes
    content_type: str
    service_tier: str | None
    standard_tier_only: bool
    bounds: Bounds


def _responses(draw: st.DrawFn, limit: int | None) -> tuple[dict[str, Any], list[str], int]:
    tools = draw(st.lists(st.sampled_from(sorted(TOOLS)), unique=True))
    max_calls = draw(st.none() | st.integers(0, 5))
    body: dict[str, Any] = {"tools": [TOOLS[name] for name in tools]}
    if max_calls is not None:
        body["max_tool_calls"] = max_calls
    if limit is not None:
        body["max_output_tokens"] = limit
    return body, tools, (ASSUMED.tool_calls if max_calls is None else max_calls) if tools else 0


@st.composite
def requests(draw: st.DrawFn, path: str) -> Request:
    """Draws a request of an endpoint with any limits and tools that it may have."""
    text = "word " * draw(st.integers(0, 300))
    limit = draw(st.none() | st.integers(1, 2000))
    choices, calls = 1, 0
    tools: list[str] = []
    body: dict[str, Any] = {"model": MODEL, "input": text}
    if path == "/v1/responses":
        more, tools, calls = _responses(draw, limit)
        body |= more
    elif path in LIMITS:
        choices = draw(st.integers(1, 4))
        body = {"model": MODEL, "n": choices, "prompt": text, "messages": [{"role": "user", "content": text}]}
        body |= {} if limit is None else {LIMITS[path]: limit}
    elif path.startswith("/v1/images/"):
        limit, choices = None, draw(st.integers(1, 4))
        body = {"model": MODEL, "prompt": text, "n": choices}
    else:
        limit = 0 if path == "/v1/embeddings" else None
    tier = draw(st.sampled_from(list(SERVED))) if path in ("/v1/responses", "/v1/chat/completions") else None
    only = draw(st.booleans())
    body |= {} if tier is None else {"service_tier": tier}
    sent = json.dumps(body).encode()
    inputs = len(sent) * (calls + 1) + calls * ASSUMED.attachment_tokens
    served = ("default", None) if only and tier in (None, "auto") else SERVED[tier]
    outputs = (ASSUMED.output_tokens if limit is None else limit) * choices
    bounds = Bounds(
        inputs=st.integers(0, inputs) | st.just(inputs),
        outputs=st.integers(0, outputs) | st.just(outputs),
        calls=calls,
        call_types=frozenset(tools),
        service_tiers=served,
        draws="image_generation_call" in tools and calls > 0,
        image_inputs=st.integers(0, inputs),
        image_outputs=st.integers(0, calls * ASSUMED.output_tokens),
    )
    return Request(sent, "application/json", tier, only, bounds)


@st.composite
def recordings(draw: st.DrawFn) -> Request:
    """Draws a request with a recording, whose tokens are assumed, and whose seconds follow from its bytes."""
    size = draw(st.integers(1, 20_000))
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n%s\r\n--b--\r\n'
    )
    seconds = size * 8 / 4000  # at 4 kbit/s, less than any codec in use needs
    bounds = Bounds(
        inputs=st.integers(0, ASSUMED.attachment_tokens),
        outputs=st.integers(0, ASSUMED.output_tokens),
        seconds=st.floats(0.001, seconds) | st.just(seconds),
    )
    return Request(
        form % (MODEL.encode(), bytes(size)), "multipart/form-data; boundary=b", None, draw(st.booleans()), bounds
    )


PATHS = list(ANSWERS)


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
def test_no_answer_costs_more_than_was_reserved(path: str, data: st.DataObject) -> None:
    """Tokens within the request's limits and calls of its tools, in any tier that may serve it, cost at most what was
    reserved; where the request has no limit, as many tokens and calls as the configuration assumes."""
    request = data.draw(recordings() if BY_PATH[path].form else requests(path))
    charged = data.draw(terms(path))
    book = book_of(charged)
    price = book.at(MODEL, NOON)
    assert price is not None
    assume(price.covers(request.service_tier))  # else it is refused
    size = run_to_end(parse_request(BY_PATH[path], request.body, request.content_type)).size
    reserved = max_cost(
        price,
        size,
        ASSUMED,
        standard_tier_only=request.standard_tier_only,
        surcharges=book.surcharges.at(MODEL, NOON),
        image_price=book.at(IMAGE_MODEL, NOON),
        memo=book.memo,
    )
    case = Billed(path, data.draw(ANSWERS[path](request.bounds)), charged)
    row = settled(path, read_whole(path, case.body), book, max_cost=reserved)
    due = bill(path, case.body, charged)
    assert due is not None
    assert row.cost <= row.budget_cost <= reserved
    assert due.highest <= Fraction(reserved)
