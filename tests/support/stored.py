"""Answers of OpenAI's endpoints that cost nothing: those of stored objects, of moderations, and of token counts."""

import json
import re
from typing import Any

from tests.support.endpoints import TEXT, response, response_events, usage_of

COUNTS = {"input_tokens": 41, "output_tokens": 17, "cached_tokens": 5, "cache_write_tokens": 0, "reasoning_tokens": 3}
USAGE = usage_of("/v1/responses", COUNTS)
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_text", "text": TEXT}],
}
_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1730000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": TEXT}, "logprobs": None, "finish_reason": "stop"}
    ],
    "metadata": {},
    "usage": {"prompt_tokens": 41, "completion_tokens": 17, "total_tokens": 58},
}
_CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1730000000, "metadata": {}}
_ITEM = {**_MESSAGE, "id": "msg_1"}
_SCORES = {"harassment": 0.01, "violence": 0.02}
_MODERATION = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [
        {
            "flagged": False,
            "categories": dict.fromkeys(_SCORES, False),
            "category_scores": _SCORES,
            "category_applied_input_types": {name: ["text"] for name in _SCORES},
        }
    ],
}


def _list(*items: dict[str, Any]) -> dict[str, Any]:
    ids = [item["id"] for item in items]
    return {"object": "list", "data": list(items), "first_id": ids[0], "last_id": ids[-1], "has_more": False}


_ANSWERS: dict[str, dict[str, Any]] = {
    "POST /v1/responses/input_tokens": {"object": "response.input_tokens", "input_tokens": 41},
    "POST /v1/moderations": _MODERATION,
    "GET /v1/responses/ID": response(USAGE, "completed"),
    "DELETE /v1/responses/ID": {"id": "resp_1", "object": "response", "deleted": True},
    "POST /v1/responses/ID/cancel": response(None, "cancelled"),
    "GET /v1/responses/ID/input_items": _list(_ITEM),
    "POST /v1/conversations": _CONVERSATION,
    "GET /v1/conversations/ID": _CONVERSATION,
    "POST /v1/conversations/ID": _CONVERSATION,
    "DELETE /v1/conversations/ID": {"id": "conv_1", "object": "conversation.deleted", "deleted": True},
    "GET /v1/conversations/ID/items": _list(_ITEM),
    "POST /v1/conversations/ID/items": _list(_ITEM),
    "GET /v1/conversations/ID/items/ID": _ITEM,
    "DELETE /v1/conversations/ID/items/ID": _CONVERSATION,
    "GET /v1/chat/completions": _list(_COMPLETION),
    "GET /v1/chat/completions/ID": _COMPLETION,
    "POST /v1/chat/completions/ID": _COMPLETION,
    "DELETE /v1/chat/completions/ID": {"id": "chatcmpl-1", "object": "chat.completion.deleted", "deleted": True},
    "GET /v1/chat/completions/ID/messages": _list({"role": "user", "content": TEXT, "id": "chatcmpl-1-0"}),
}


def free_answer(method: str, path: str) -> bytes | None:
    """Returns the body of an answer without a price; None for the endpoints with one."""
    name = f"{method} {re.sub(r'/(?:resp_|conv_|msg_|chatcmpl-)[^/]*', '/ID', path)}"
    return json.dumps(_ANSWERS[name]).encode() if name in _ANSWERS else None


def stored_stream() -> list[bytes]:
    """Returns the events of a stored response."""
    return response_events(USAGE)
