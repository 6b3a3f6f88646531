"""A simulated OpenAI on this machine: chat completions, responses and models in OpenAI's wire format, whole and
streamed. It keeps the pace of a model, counts its words, and reads no key."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from chatgpt_agent.demo.words import answer_words, input_tokens

FIRST_SECONDS = 0.25  # before the first word
WORD_SECONDS = 0.03
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
NO_ENDPOINT = "The simulated OpenAI of the demonstration has chat completions, responses and models, and nothing else."

Json = dict[str, Any]


class SimulatedOpenAI:
    """The server, on a free port of 127.0.0.1. `models`: those that it answers for."""

    def __init__(self, models: list[str], seed: int) -> None:
        services = {"models": models, "draw": random.Random(seed)}  # noqa: S311 - text, not secrets
        routes = [
            (r"/v1/chat/completions", ChatHandler, services),
            (r"/v1/responses", ResponsesHandler, services),
            (r"/v1/models", ModelsHandler, services),
        ]
        self._server = HTTPServer(
            Application(routes, default_handler_class=UnknownHandler, log_function=lambda handler: None)
        )
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1/chat/completions"

    async def close(self) -> None:
        """Accepts no more requests, and ends those in progress."""
        self._server.stop()
        await self._server.close_all_connections()


class Answer:
    """What one request gets."""

    def __init__(self, body: Json, prompt: object, draw: random.Random) -> None:
        self.model = str(body.get("model"))
        self.id = f"{draw.getrandbits(96):024x}"
        self.created = int(time.time())
        limit = next((body[name] for name in LIMITS if isinstance(body.get(name), int)), None)
        self.pieces, self.is_cut = answer_words(draw, limit)
        self.inputs, self.outputs = input_tokens(prompt), len(self.pieces)

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces).rstrip()


class SimulatedHandler(RequestHandler):
    """Reads a request, and answers in OpenAI's format."""

    def initialize(self, models: list[str], draw: random.Random) -> None:
        self._models, self._draw = models, draw

    def set_default_headers(self) -> None:
        self.set_header("Server", "simulated-openai")

    def refuse(self, status: int, message: str, code: str) -> None:
        """Answers with an error."""
        self.set_status(status)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.finish({"error": error})


class UnknownHandler(RequestHandler):
    """Answers at every other path."""

    def prepare(self) -> None:
        self.set_status(404)
        error = {"message": NO_ENDPOINT, "type": "invalid_request_error", "param": None, "code": "unknown_url"}
        self.finish({"error": error})


class ModelsHandler(SimulatedHandler):
    """`GET /v1/models`."""

    def get(self) -> None:
        """Lists the models."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulated-openai"} for name in self._models]
        self.finish({"object": "list", "data": data})


class AnswerHandler(SimulatedHandler):
    """What both kinds of answers share. `prompt`: the member of the body that has the messages."""

    prompt = ""

    async def post(self) -> None:
        """Answers at the pace of a model."""
        try:
            body = json.loads(self.request.body)
            prompt = body[self.prompt]
        except (ValueError, LookupError, TypeError):
            self.refuse(400, f"The body must be a JSON object with {self.prompt!r}.", "invalid_request")
            return
        if body.get("model") not in self._models:
            self.refuse(404, f"The simulated OpenAI has no model {str(body.get('model'))!r}.", "model_not_found")
            return
        answer = Answer(body, prompt, self._draw)
        self.set_header("x-request-id", f"req_demo_{answer.id}")
        await asyncio.sleep(FIRST_SECONDS)
        if body.get("stream"):
            await self._stream(self.events(answer, body))
        else:
            await asyncio.sleep(WORD_SECONDS * answer.outputs)
            self.finish(self.whole(answer))

    async def _stream(self, events: Iterator[Json | str]) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        try:
            for event in events:
                if isinstance(event, dict) and "type" in event:
                    self.write(f"event: {event['type']}\n")
                self.write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
                await self.flush()
                await asyncio.sleep(WORD_SECONDS)
        except StreamClosedError:  # the agent has left
            return
        self.finish()

    def whole(self, answer: Answer) -> Json:
        """Returns the answer as one object."""
        raise NotImplementedError

    def events(self, answer: Answer, body: Json) -> Iterator[Json | str]:
        """Yields the events of a stream."""
        raise NotImplementedError


class ChatHandler(AnswerHandler):
    """`POST /v1/chat/completions` (openai.types.chat.ChatCompletion, ChatCompletionChunk)."""

    prompt = "messages"

    def whole(self, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
        return {**_chat(answer, "chat.completion"), "choices": [choice], "usage": _chat_usage(answer)}

    def events(self, answer: Answer, body: Json) -> Iterator[Json | str]:
        base = _chat(answer, "chat.completion.chunk")
        deltas: list[tuple[Json, str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": word}, None) for word in answer.pieces]
        for delta, reason in (*deltas, ({}, _reason(answer))):
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield {**base, "choices": [choice]}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**base, "choices": [], "usage": _chat_usage(answer)}
        yield "[DONE]"


class ResponsesHandler(AnswerHandler):
    """`POST /v1/responses` (openai.types.responses.Response, ResponseStreamEvent)."""

    prompt = "input"

    def whole(self, answer: Answer) -> Json:
        return _response(answer, "incomplete" if answer.is_cut else "completed")

    def events(self, answer: Answer, body: Json) -> Iterator[Json | str]:
        place = {"item_id": f"msg_demo_{answer.id}", "output_index": 0, "content_index": 0, "logprobs": []}
        started = _response(answer, "in_progress")
        ended = self.whole(answer)
        steps: list[Json] = [{"type": f"response.{each}", "response": started} for each in ("created", "in_progress")]
        steps += [{"type": "response.output_text.delta", **place, "delta": word} for word in answer.pieces]
        steps.append({"type": "response.output_text.done", **place, "text": answer.text})
        steps.append({"type": f"response.{ended['status']}", "response": ended})
        yield from ({**step, "sequence_number": number} for number, step in enumerate(steps))


def _reason(answer: Answer) -> str:
    return "length" if answer.is_cut else "stop"


def _chat(answer: Answer, kind: str) -> Json:
    return {
        "id": f"chatcmpl-demo-{answer.id}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _chat_usage(answer: Answer) -> Json:
    return {
        "prompt_tokens": answer.inputs,
        "completion_tokens": answer.outputs,
        "total_tokens": answer.inputs + answer.outputs,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _response(answer: Answer, status: str) -> Json:
    has_ended = status != "in_progress"
    part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    message: Json = {
        "id": f"msg_demo_{answer.id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    usage = {
        "input_tokens": answer.inputs,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.outputs,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.inputs + answer.outputs,
    }
    return {
        "id": f"resp_demo_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": [message] if has_ended else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
        "usage": usage if has_ended else None,
    }
