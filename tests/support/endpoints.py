"""Answers of OpenAI's endpoints other than chat, in their wire format: whole and streamed, with different token counts.

`counts` are the columns of the ledger that an answer's usage must fill.
"""

import base64
import json
import re
from typing import Any

Counts = dict[str, int]

SERVED = {  # the model that an answer names
    "/v1/responses": "gpt-6-luna-2026-09-15",
    "/v1/completions": "gpt-3.5-turbo-instruct:20230824-v2",
    "/v1/embeddings": "text-embedding-3-small",
    "/v1/decisions": "gpt-6-luna-2026-09-15",
}
FORMS = ("/v1/audio/transcriptions", "/v1/images/edits")
AS_RESPONSES = ("/v1/responses", "/v1/responses/compact", "/v1/decisions")  # with the same usage
IMAGES = ("/v1/images/generations", "/v1/images/edits")
IMAGE = base64.b64encode(b"\x89PNG invented " * 40).decode()
TEXT = "Hello there, how can I help?"


def fields_of(body: bytes, content_type: str) -> dict[str, str]:
    """Returns the text fields of a form; independent of the agent's parser."""
    boundary = content_type.split("boundary=")[1].strip('"').encode()
    pattern = rb'; name="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--' + re.escape(boundary)
    return {name.decode(): value.decode() for name, value in re.findall(pattern, body, re.DOTALL)}


def parse_body(path: str, body: bytes, content_type: str) -> dict[str, Any]:
    """Returns the parameters of a request, from JSON or from a form."""
    if path not in FORMS or content_type == "application/json":
        parameters: dict[str, Any] = json.loads(body)
        return parameters
    fields: dict[str, Any] = fields_of(body, content_type)
    return {**fields, "stream": fields.get("stream") == "true"}


def options_of(parameters: dict[str, Any]) -> dict[str, str]:
    """Returns the words `key=value` of the text, which say what the fake answers."""
    text = str(parameters.get("input") or parameters.get("prompt") or "")
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def counts_for(path: str, salt: int) -> Counts:
    """Returns counts that differ between requests and between the kinds that an endpoint has."""
    parts = {"cached_tokens": 100, "cache_write_tokens": 50, "reasoning_tokens": 20}
    kinds: dict[str, Counts] = {
        **{each: {name: number + salt for name, number in parts.items()} for each in AS_RESPONSES},
        "/v1/completions": {},
        "/v1/embeddings": {"output_tokens": 0},
        **{each: {"image_input_tokens": 400 + salt, "image_output_tokens": 250 + salt} for each in IMAGES},
        "/v1/audio/transcriptions": {"audio_input_tokens": 900 + salt},
    }
    zeros = dict.fromkeys(
        [
            "cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens", "reasoning_tokens",
            "audio_output_tokens", "image_output_tokens",
        ],
        0,
    )  # fmt: skip
    return {"input_tokens": 1000 + 7 * salt, "output_tokens": 300 + 5 * salt, **zeros, **kinds[path]}


def usage_of(path: str, counts: Counts) -> dict[str, Any]:
    """Returns the `usage` object with these counts."""
    inputs, outputs = counts["input_tokens"], counts["output_tokens"]
    total = {"total_tokens": inputs + outputs}
    if path == "/v1/embeddings":
        return {"prompt_tokens": inputs, **total}
    if path == "/v1/completions":
        return {"prompt_tokens": inputs, "completion_tokens": outputs, **total}
    usage = {"input_tokens": inputs, "output_tokens": outputs, **total}
    if path in AS_RESPONSES:
        details = {"cached_tokens": counts["cached_tokens"], "cache_write_tokens": counts["cache_write_tokens"]}
        return {
            **usage,
            "input_tokens_details": details,
            "output_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
        }
    if path in IMAGES:
        image = counts["image_input_tokens"]
        image_output = counts["image_output_tokens"]
        return {
            **usage,
            "input_tokens_details": {"image_tokens": image, "text_tokens": inputs - image},
            "output_tokens_details": {"image_tokens": image_output, "text_tokens": outputs - image_output},
        }
    audio = counts["audio_input_tokens"]
    return {"type": "tokens", **usage, "input_token_details": {"audio_tokens": audio, "text_tokens": inputs - audio}}


def whole(path: str, usage: dict[str, Any] | None, options: dict[str, str]) -> bytes:
    """Returns the body of an answer that is not a stream."""
    return json.dumps(_answer(path, usage, options), indent=2).encode()


def _answer(path: str, usage: dict[str, Any] | None, options: dict[str, str]) -> dict[str, Any]:
    if path == "/v1/responses":
        return response(usage, options.get("end", "completed"), options.get("tier", "default"))
    if path == "/v1/completions":
        choice = {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
        head = {"id": "cmpl-fake0001", "object": "text_completion", "created": 1730000000, "model": SERVED[path]}
        return {**head, "choices": [choice], "usage": usage}
    if path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}
        return {"object": "list", "data": [vector], "model": SERVED[path], "usage": usage}
    if path == "/v1/responses/compact":
        return compacted(usage, options.get("tier", "default"))
    if path == "/v1/decisions":
        answers = [{"type": "predicate", "name": None, "probability": 0.5}]
        return {"answers": answers, "model": SERVED[path], "usage": usage}
    if path in IMAGES:
        return {"created": 1730000000, "data": [{"b64_json": IMAGE}], "usage": usage}
    return {"text": TEXT, "usage": usage}


def response(usage: dict[str, Any] | None, status: str, tier: str = "default") -> dict[str, Any]:
    """Returns an openai.types.responses.Response."""
    done = status in ("completed", "incomplete")
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": "resp_fake0001",
        "object": "response",
        "created_at": 1730000000.0,
        "status": status,
        "background": False,
        "error": {"code": "server_error", "message": "It failed."} if status == "failed" else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": SERVED["/v1/responses"],
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": tier,
        "usage": usage,
    }


def compacted(usage: dict[str, Any] | None, tier: str) -> dict[str, Any]:
    """Returns an openai.types.responses.CompactedResponse."""
    compaction = {"id": "cmp_1", "type": "compaction", "encrypted_content": "made up"}
    return {
        "id": "resp_fake0002",
        "object": "response.compaction",
        "created_at": 1730000000,
        "output": [compaction],
        "service_tier": tier,
        "usage": usage,
    }


def stream(path: str, usage: dict[str, Any] | None, options: dict[str, str]) -> list[bytes]:
    """Returns the events of a stream."""
    if path == "/v1/responses":
        return response_events(usage, options.get("end", "completed"), int(options.get("chunks", 3)))
    if path == "/v1/completions":
        base = {key: value for key, value in _answer(path, None, options).items() if key != "usage"}
        choice = base["choices"][0]
        null: dict[str, Any] = {} if usage is None else {"usage": None}
        texts = [{**choice, "text": f"word{n} ", "finish_reason": None} for n in range(int(options.get("chunks", 3)))]
        events = [_data({**base, "choices": [text], **null}) for text in texts]
        if usage is not None:
            events.append(_data({**base, "choices": [], "usage": usage}))
        return [*events, b"data: [DONE]\n\n"]
    if path in IMAGES:
        picture = {
            "b64_json": IMAGE,
            "background": "opaque",
            "created_at": 1730000000,
            "output_format": "png",
            "quality": "high",
            "size": "1024x1024",
        }
        kind = "image_edit" if path == "/v1/images/edits" else "image_generation"
        partial = {"type": f"{kind}.partial_image", **picture, "partial_image_index": 0}
        return [_event(partial), _event({"type": f"{kind}.completed", **picture, "usage": usage})]
    deltas = [_data({"type": "transcript.text.delta", "delta": f"word{n} "}) for n in range(3)]
    done = {"type": "transcript.text.done", "text": TEXT, "usage": usage}
    return [*deltas, _data(done), b"data: [DONE]\n\n"]


def response_events(usage: dict[str, Any] | None, end: str = "completed", chunks: int = 3) -> list[bytes]:
    """Returns an openai.types.responses.ResponseStreamEvent for each step from `response.created` to the end."""
    started = response(None, "in_progress", "auto")
    events: list[dict[str, Any]] = [
        {"type": f"response.{kind}", "response": started} for kind in ("created", "in_progress")
    ]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    deltas = [{"type": "response.output_text.delta", **place, "delta": f'word{n} é "usage" '} for n in range(chunks)]
    events += [*deltas, {"type": "response.output_text.done", **place, "text": TEXT}]
    if end == "error":
        events.append({"type": "error", "code": "server_error", "message": "It failed.", "param": None})
    elif end != "nothing":
        events.append({"type": f"response.{end}", "response": response(usage, end)})
    return [_event({**each, "sequence_number": number}) for number, each in enumerate(events)]


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\n".encode() + _data(data)


def _data(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
