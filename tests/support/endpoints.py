"""OpenAI's endpoints beside chat, in their wire format: whole answers and streams, each with counts of its own.

`counts` are the columns of the ledger that an answer's usage must fill.
"""

import base64
import json
import re
from typing import Any

Counts = dict[str, int]

SERVED = {  # the models that serve, where the answer says so
    "/v1/responses": "gpt-5-mini-2025-08-07",
    "/v1/completions": "gpt-3.5-turbo-instruct:20230824-v2",
    "/v1/embeddings": "text-embedding-3-small",
}
IMAGE = base64.b64encode(b"\x89PNG made up " * 40).decode()
TEXT = "Hello there, how can I help?"


def fields_of(body: bytes, content_type: str) -> dict[str, str]:
    """The text fields of a form, read in another way than the agent's."""
    boundary = content_type.split("boundary=")[1].strip('"').encode()
    pattern = rb'; name="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--' + re.escape(boundary)
    found = re.findall(pattern, body, re.DOTALL)
    return {name.decode(): value.decode() for name, value in found}


def asked_of(path: str, body: bytes, content_type: str) -> dict[str, Any]:
    """What a request asks, whichever way it is written."""
    if path != "/v1/audio/transcriptions":
        found: dict[str, Any] = json.loads(body)
        return found
    fields: dict[str, Any] = fields_of(body, content_type)
    return {**fields, "stream": fields.get("stream") == "true"}


def words_of(asked: dict[str, Any]) -> dict[str, str]:
    """The words `key=value` that tell the fake what to answer."""
    text = str(asked.get("input") or asked.get("prompt") or "")
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def counts_for(path: str, salt: int) -> Counts:
    """Counts that differ from request to request and from kind to kind, as far as an endpoint has them."""
    given, made = 1000 + 7 * salt, 300 + 5 * salt
    kinds: dict[str, Counts] = {
        "/v1/responses": {"cached_tokens": 100 + salt, "cache_write_tokens": 50 + salt, "reasoning_tokens": 20 + salt},
        "/v1/completions": {},
        "/v1/embeddings": {"output_tokens": 0},
        "/v1/images/generations": {"image_input_tokens": 400 + salt, "image_output_tokens": 250 + salt},
        "/v1/audio/transcriptions": {"audio_input_tokens": 900 + salt},
    }
    nothing = dict.fromkeys(
        [
            "cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens", "reasoning_tokens",
            "audio_output_tokens", "image_output_tokens",
        ],
        0,
    )  # fmt: skip
    return {"input_tokens": given, "output_tokens": made, **nothing, **kinds[path]}


def usage_of(path: str, counts: Counts) -> dict[str, Any]:
    """The `usage` that says these counts."""
    given, made = counts["input_tokens"], counts["output_tokens"]
    total = {"total_tokens": given + made}
    if path == "/v1/embeddings":
        return {"prompt_tokens": given, **total}
    if path == "/v1/completions":
        return {"prompt_tokens": given, "completion_tokens": made, **total}
    usage = {"input_tokens": given, "output_tokens": made, **total}
    if path == "/v1/responses":
        inputs = {"cached_tokens": counts["cached_tokens"], "cache_write_tokens": counts["cache_write_tokens"]}
        return {
            **usage,
            "input_tokens_details": inputs,
            "output_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
        }
    if path == "/v1/images/generations":
        image = counts["image_input_tokens"]
        drawn = counts["image_output_tokens"]
        return {
            **usage,
            "input_tokens_details": {"image_tokens": image, "text_tokens": given - image},
            "output_tokens_details": {"image_tokens": drawn, "text_tokens": made - drawn},
        }
    audio = counts["audio_input_tokens"]
    details = {"audio_tokens": audio, "text_tokens": given - audio}
    return {"type": "tokens", **usage, "input_token_details": details}


def whole(path: str, usage: dict[str, Any] | None, words: dict[str, str]) -> bytes:
    """A whole answer."""
    return json.dumps(_answer(path, usage, words), indent=2).encode()


def _answer(path: str, usage: dict[str, Any] | None, words: dict[str, str]) -> dict[str, Any]:
    if path == "/v1/responses":
        return response(usage, words.get("end", "completed"), words.get("tier", "default"))
    if path == "/v1/completions":
        choice = {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
        head = {"id": "cmpl-fake0001", "object": "text_completion", "created": 1730000000, "model": SERVED[path]}
        return {**head, "choices": [choice], "usage": usage}
    if path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}
        return {"object": "list", "data": [vector], "model": SERVED[path], "usage": usage}
    if path == "/v1/images/generations":
        return {"created": 1730000000, "data": [{"b64_json": IMAGE}], "usage": usage}
    return {"text": TEXT, "usage": usage}


def response(usage: dict[str, Any] | None, status: str, tier: str = "default") -> dict[str, Any]:
    """openai.types.responses.Response."""
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


def stream(path: str, usage: dict[str, Any] | None, words: dict[str, str]) -> list[bytes]:
    """The events of a stream, each as it is sent."""
    if path == "/v1/responses":
        return response_events(usage, words.get("end", "completed"), int(words.get("chunks", 3)))
    if path == "/v1/completions":
        base = {key: value for key, value in _answer(path, None, words).items() if key != "usage"}
        choice = base["choices"][0]
        null: dict[str, Any] = {} if usage is None else {"usage": None}
        texts = [{**choice, "text": f"word{n} ", "finish_reason": None} for n in range(int(words.get("chunks", 3)))]
        events = [_data({**base, "choices": [text], **null}) for text in texts]
        if usage is not None:
            events.append(_data({**base, "choices": [], "usage": usage}))
        return [*events, b"data: [DONE]\n\n"]
    if path == "/v1/images/generations":
        picture = {
            "b64_json": IMAGE,
            "background": "opaque",
            "created_at": 1730000000,
            "output_format": "png",
            "quality": "high",
            "size": "1024x1024",
        }
        partial = {"type": "image_generation.partial_image", **picture, "partial_image_index": 0}
        return [_event(partial), _event({"type": "image_generation.completed", **picture, "usage": usage})]
    deltas = [_data({"type": "transcript.text.delta", "delta": f"word{n} "}) for n in range(3)]
    done = {"type": "transcript.text.done", "text": TEXT, "usage": usage}
    return [*deltas, _data(done), b"data: [DONE]\n\n"]


def response_events(usage: dict[str, Any] | None, end: str = "completed", chunks: int = 3) -> list[bytes]:
    """openai.types.responses.ResponseStreamEvent, from `response.created` to its end."""
    began = response(None, "in_progress", "auto")
    events: list[dict[str, Any]] = [
        {"type": f"response.{kind}", "response": began} for kind in ("created", "in_progress")
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
