"""A small fake OpenAI for measurements: its wire format on raw sockets, and its own count of what it received and
billed, by `X-Client-Request-Id`.

The last user message says how to answer: `think=0.1 chunks=5 gap=0.01 status=429 cut nousage`, or
`size=1000000` for an answer, or all chunks of a stream together, of about this many bytes.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import Any

import msgspec

MAX_REQUEST = 64 * 1024  # bytes of a request's head
EVENT = 210  # bytes of an event, about


class Tokens(msgspec.Struct, frozen=True):
    """The token counts of a request. `cached` is a part of `input`, `reasoning` of `output`."""

    input: int
    cached: int
    output: int
    reasoning: int

    def usage(self) -> dict[str, Any]:
        """Returns the usage in OpenAI's format (openai.types.CompletionUsage)."""
        return {
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning, "audio_tokens": 0},
        }


class Upstream:
    """The server. `dispatched`: how often each request id arrived; `billed`: what was charged for it, up to `max_input`
    input tokens each."""

    def __init__(self, random_: random.Random, *, max_input: int = 5000) -> None:
        self._random = random_
        self._max_input = max_input
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.dispatched: Counter[str] = Counter()
        self.billed: dict[str, Tokens] = {}
        self.url = ""

    async def __aenter__(self) -> "Upstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MAX_REQUEST, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether no connection is open."""
        return not self._tasks

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="upstream connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                key, body = await _read_request(reader)
                self.dispatched[key] += 1
                await self._answer(writer, key, body)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, writer: asyncio.StreamWriter, key: str, body: dict[str, Any]) -> None:
        options = _options(body)
        if "status" in options:
            await asyncio.sleep(float(options.get("think", 0)))
            await _send(writer, _whole(int(options["status"]), _error(int(options["status"]))))
            return
        # Charged from here on, even if the client disconnects.
        tokens = self.billed[key] = self._tokens()
        await asyncio.sleep(float(options.get("think", 0)))
        usage = None if "nousage" in options else tokens
        if not body.get("stream"):
            answer = _whole(200, _completion(body["model"], usage, int(options.get("size", 0))))
            await _send(writer, answer[: len(answer) // 2] if "cut" in options else answer)
        else:
            await self._stream(writer, body, options, usage)
        if "cut" in options:
            writer.close()

    async def _stream(
        self, writer: asyncio.StreamWriter, body: dict[str, Any], options: dict[str, str], usage: Tokens | None
    ) -> None:
        with_usage = (body.get("stream_options") or {}).get("include_usage", False)
        chunks = int(options["size"]) // EVENT if "size" in options else int(options.get("chunks", 3))
        events = _events(body["model"], chunks, usage if with_usage else None)
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        await _send(writer, head.encode())
        for event in events[: len(events) // 2] if "cut" in options else events:
            await _send(writer, b"%x\r\n%s\r\n" % (len(event), event))
            await asyncio.sleep(float(options.get("gap", 0)))
        if "cut" not in options:
            await _send(writer, b"0\r\n\r\n")

    def _tokens(self) -> Tokens:
        inputs, outputs = self._random.randint(10, self._max_input), self._random.randint(1, 3000)
        return Tokens(inputs, self._random.randint(0, inputs), outputs, self._random.randint(0, outputs))


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    """Returns the id and the body of a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return fields["x-client-request-id"], json.loads(body)


def _options(body: dict[str, Any]) -> dict[str, str]:
    pairs = (word.partition("=") for word in str(body["messages"][-1]["content"]).split())
    return {name: value for name, _, value in pairs}


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _whole(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Fine\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _error(status: int) -> bytes:
    error = {"message": f"Upstream says {status}", "type": "some_error", "param": None, "code": None}
    return json.dumps({"error": error}).encode()


def _completion(model: str, usage: Tokens | None, size: int = 0) -> bytes:
    content = "word " * (size // 5) or "Hello there, how can I help?"
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    more = {} if usage is None else {"usage": usage.usage()}
    base = {"id": "chatcmpl-fake0001", "object": "chat.completion", "created": 1730000000, "model": model}
    return json.dumps({**base, "choices": [choice], **more}, indent=2).encode()


def _events(model: str, chunks: int, usage: Tokens | None) -> list[bytes]:
    """Returns the events of a stream. The last one before `[DONE]` has the usage, if there is one."""
    null = {} if usage is None else {"usage": None}
    base = {"id": "chatcmpl-fake0001", "object": "chat.completion.chunk", "created": 1730000000, "model": model}

    def event(choices: list[Any], **more: Any) -> bytes:
        text = json.dumps({**base, "choices": choices, **null, **more}, separators=(",", ":"))
        return f"data: {text}\n\n".encode()

    def choice(delta: dict[str, str], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    events = [event(choice({"role": "assistant", "content": ""}))]
    events += [event(choice({"content": f"word{n} é "})) for n in range(chunks)]
    events.append(event(choice({}, "stop")))
    if usage is not None:
        events.append(event([], usage=usage.usage()))
    return [*events, b"data: [DONE]\n\n"]
