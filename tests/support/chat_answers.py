"""Parts of answers to chat requests as OpenAI sends them, for tests that read them byte by byte."""

import json
from typing import Any

from chatgpt_agent.core.usage import Usage

USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
COUNTED = Usage(input=19, output=10, cached=4, reasoning=3)


def text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: object, end: bytes = b"\n") -> bytes:
    return b"data: " + text(value) + end + end


def chunk(content: str = "Hi", **more: Any) -> dict[str, Any]:
    """Returns a chunk of a stream as OpenAI sends it."""
    delta = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return {"id": "chatcmpl-1", "model": "gpt-6-sol-2026-09-15", "choices": [delta], "usage": None, **more}


def done(end: bytes = b"\n") -> bytes:
    return b"data: [DONE]" + end + end


LAST = chunk(choices=[], usage=USAGE)  # the event for which only we ask


def counts(**changes: Any) -> dict[str, Any]:
    return {"prompt_tokens": 5, "completion_tokens": 7, **changes}
