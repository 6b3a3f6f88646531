"""Meters answers with the rules of the checkout in PYTHONPATH, for `metering.py`, which may be of another checkout.

For each line `KIND COUNT` of its standard input it reads and settles so many answers of the kind, encodes their rows as
the outbox does, and prints the nanoseconds of processor time for one. It ends with its standard input.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.answer import read_answer
from chatgpt_agent.core.http.endpoints import CHAT, RESPONSES, Endpoint
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.ledger import Intent, Outcome, State, settle
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer

CHUNKS = 100
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
RATES = Rates(input=Decimal(2), cached_input=Decimal("0.2"), cache_write=Decimal("2.5"), output=Decimal(10))
PRICE = Price(id=7, model="gpt-6-sol", effective_at=NOON, rates=RATES)
BOOK = PriceBook([PRICE])
TEXT = "Of course: a ledger has one line for each request, and none is lost. " * 6

CHAT_USAGE = {
    "prompt_tokens": 1219,
    "completion_tokens": 110,
    "total_tokens": 1329,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 32,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSE_USAGE = {
    "input_tokens": 1219,
    "input_tokens_details": {
        "cached_tokens": 1024,
        "cache_write_tokens": 128,
        "cache_write_tokens_details": {"ttl_30m_tokens": 128, "ttl_12h_tokens": 0},
    },
    "output_tokens": 110,
    "output_tokens_details": {"reasoning_tokens": 32},
    "total_tokens": 1329,
}
TOOL_USAGE = {
    "image_gen": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "total_tokens": 0,
    },
    "web_search": {"num_requests": 0},
}
CHAT_HEAD = {"id": "chatcmpl-Bk4", "created": 1764580000, "model": PRICE.model, "service_tier": "default"}


def chat() -> dict[str, Any]:
    """Returns a ChatCompletion as OpenAI sends it."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**CHAT_HEAD, "object": "chat.completion", "choices": [choice], "usage": CHAT_USAGE}


def response() -> dict[str, Any]:
    """Returns a Response as OpenAI sends it."""
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message: dict[str, Any] = {
        "id": "msg_68af",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_68af",
        "object": "response",
        "created_at": 1764580000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": 2048,
        "max_tool_calls": None,
        "model": PRICE.model,
        "output": [{"id": "rs_68af", "type": "reasoning", "summary": []}, message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "reasoning": {"effort": "medium", "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tool_usage": TOOL_USAGE,
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": RESPONSE_USAGE,
        "user": None,
        "metadata": {},
    }


def _event(data: dict[str, Any]) -> bytes:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def chat_stream() -> list[bytes]:
    """Returns the events of a streamed ChatCompletion."""
    head = {**CHAT_HEAD, "object": "chat.completion.chunk", "usage": None}
    choices = [{"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None} for n in range(CHUNKS)]
    chunks = [_event({**head, "choices": [choice]}) for choice in choices]
    return [*chunks, _event({**head, "choices": [], "usage": CHAT_USAGE}), b"data: [DONE]\n\n"]


def response_stream() -> list[bytes]:
    """Returns the events of a streamed Response."""
    begun = {**response(), "status": "in_progress", "output": [], "usage": None, "tool_usage": None}
    place = {"item_id": "msg_68af", "output_index": 1, "content_index": 0, "logprobs": []}
    deltas = [{"type": "response.output_text.delta", **place, "delta": f"word{n} "} for n in range(CHUNKS)]
    first: dict[str, Any] = {"type": "response.created", "response": begun}
    last = {"type": "response.completed", "response": response()}
    return [_event({**each, "sequence_number": n}) for n, each in enumerate([first, *deltas, last])]


def _row(endpoint: Endpoint, answer: Answer) -> bytes:
    assert answer.usage is not None
    assert answer.usage.input == CHAT_USAGE["prompt_tokens"]
    intent = Intent(
        request_id=UUID(int=7),
        user_id=3,
        token_id=11,
        endpoint=endpoint.path,
        model=PRICE.model,
        price_id=PRICE.id,
        streamed=True,
        started_at=NOON,
    )
    outcome = Outcome(state=State.DONE, status=200, answer=answer, duration_ms=1200, first_byte_ms=300)
    return _encoder.encode(settle(intent, outcome, PRICE, BOOK))


_encoder = msgspec.json.Encoder(decimal_format="string")


def _whole(endpoint: Endpoint, answer: dict[str, Any]) -> Callable[[], bytes]:
    body = json.dumps(answer, indent=2).encode()
    return lambda: _row(endpoint, run_to_end(read_answer([body], endpoint)))


def _stream(endpoint: Endpoint, events: list[bytes]) -> Callable[[], bytes]:
    def work() -> bytes:
        meter = StreamMeter(endpoint, hide_usage=True)
        for event in events:
            meter.feed(event)
        meter.end(clean=True)
        meter.take_held()
        return _row(endpoint, meter.answer())

    return work


KINDS = {
    "chat": _whole(CHAT, chat()),
    "responses": _whole(RESPONSES, response()),
    "chat-stream": _stream(CHAT, chat_stream()),
    "responses-stream": _stream(RESPONSES, response_stream()),
}


def nanoseconds(kind: str, count: int) -> float:
    """Returns the processor time for one answer of a kind."""
    work = KINDS[kind]
    gc.collect()
    began = time.process_time_ns()
    for _ in range(count):
        work()
    return (time.process_time_ns() - began) / count


if __name__ == "__main__":
    for line in sys.stdin:
        kind, count = line.split()
        print(nanoseconds(kind, int(count)), flush=True)
