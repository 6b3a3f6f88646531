"""A fake OpenAI on real sockets, in OpenAI's wire format, with its own count of what it billed.

By default it answers as the last user message says: `chunks=5 gap=0.01 status=429 nousage`. A test that needs other
bytes sets a `script`, which writes any bytes.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.endpoints import Counts, counts_for, options_of, parse_body, stream, usage_of, whole
from tests.support.stored import free_answer, stored_stream

MODEL_SERVED = "gpt-6-luna-2026-09-15"
REQUEST_ID = "req_0123456789abcdef"


class Received:
    """A request that arrived."""

    def __init__(self, line: str, headers: list[tuple[str, str]], body: bytes, connection: int) -> None:
        self.method, self.target, _ = line.split(" ", 2)
        self.headers = headers
        self.body = body
        self.connection = connection

    def header(self, name: str) -> str | None:
        """The value of a header field."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Reply:
    """The answer to one request; a script writes its bytes."""

    def __init__(self, writer: asyncio.StreamWriter, sent: list[bytes]) -> None:
        self.writer = writer
        self._sent = sent

    async def raw(self, data: bytes) -> None:
        """Writes bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        """Writes status line and header fields; `content_type` is Content-Type."""
        lines = [f"HTTP/1.1 {status} Fine"] + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def whole(self, body: bytes, status: int = 200, /, **headers: str) -> None:
        """Writes an answer with its Content-Length."""
        headers = {"content_type": "application/json", "x_request_id": REQUEST_ID, **headers}
        await self.head(status, content_length=str(len(body)), **headers)
        self._sent.append(body)
        await self.raw(body)

    async def stream_head(self, **headers: str) -> None:
        """Writes the head of a stream."""
        fields = {"content_type": "text/event-stream; charset=utf-8", "x_request_id": REQUEST_ID, **headers}
        await self.head(200, transfer_encoding="chunked", **fields)

    async def chunk(self, data: bytes) -> None:
        """Writes one chunk of a chunked body, in one write."""
        self._sent.append(data)
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """Writes the last chunk."""
        await self.raw(b"0\r\n\r\n")

    async def reset(self) -> None:
        """Cuts the connection with a RST."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Ends the connection with a FIN, even in the middle of a body."""
        self.writer.close()


Script = Callable[[Received, Reply], Awaitable[None]]


class Upstream:
    """The server. `requests` is what it received; `billed` its own count of each request id: (input, cached, output);
    `counts` the same with every kind of token that was in the answer."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()  # those of the tasks that run a script now
        self.script: Script = self.openai
        self.requests: list[Received] = []
        self.bodies: list[list[bytes]] = []  # for each request, the parts of the answer's body
        self.billed: dict[str, tuple[int, int, int]] = {}
        self.counts: dict[str, Counts] = {}
        self.connections = 0  # that were opened
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of chat completions."""
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}/v1/chat/completions"

    def sent(self, at: int = -1) -> bytes:
        """The answer's body for one request."""
        return b"".join(self.bodies[at])

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops, and ends what is still connected."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> asyncio.Event:
        """Answers requests that arrive from now on only when the event is set that this returns."""
        may_answer, script = asyncio.Event(), self.script

        async def held(request: Received, reply: Reply) -> None:
            await may_answer.wait()
            await script(request, reply)

        self.script = held
        return may_answer

    async def reset(self) -> None:
        """Forgets what it received and answers as OpenAI again. Ends scripts that still run: their client has left."""
        answering = list(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        self.script = self.openai
        self.requests, self.bodies, self.billed, self.counts, self.connections = [], [], {}, {}, 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while not writer.is_closing():
                request = await _read_request(reader, number)
                self.requests.append(request)
                self.bodies.append([])
                await self._answer(request, Reply(writer, self.bodies[-1]))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the other side has left
        finally:
            writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def _answer(self, request: Received, reply: Reply) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            await self.script(request, reply)
        finally:
            self._answering.discard(task)

    # The default script.

    async def openai(self, request: Received, reply: Reply) -> None:
        """Answers as OpenAI does at this path."""
        answer = free_answer(request.method, request.target.partition("?")[0])
        if answer is not None:
            await self.free(request, answer, reply)
            return
        if request.target != "/v1/chat/completions":
            await self.sibling(request, reply)
            return
        body = request.json
        options = dict(word.split("=", 1) for word in str(body["messages"][-1]["content"]).split() if "=" in word)
        if "status" in options:
            await reply.whole(error_body(int(options["status"])), int(options["status"]), retry_after="1")
            return
        usage = usage_for(body, len(self.requests))
        key = request.header("x-client-request-id") or ""
        self.billed[key] = (usage[0], usage[1], usage[2])
        if not body.get("stream"):
            await asyncio.sleep(float(options.get("delay", 0)))
            await reply.whole(completion(*usage))
            return
        await reply.stream_head()
        wants_usage = (body.get("stream_options") or {}).get("include_usage", False)
        for event in stream_events(int(options.get("chunks", 3)), usage if wants_usage else None):
            await reply.chunk(event)
            await asyncio.sleep(float(options.get("gap", 0)))
        await reply.end()

    async def free(self, request: Received, answer: bytes, reply: Reply) -> None:
        """Answers as OpenAI does where it bills nothing."""
        if "stream=true" not in request.target:
            await reply.whole(answer)
            return
        await reply.stream_head()
        for event in stored_stream():
            await reply.chunk(event)
        await reply.end()

    async def sibling(self, request: Received, reply: Reply) -> None:
        """Answers as OpenAI does at its other endpoints."""
        path = request.target
        body = parse_body(path, request.body, request.header("content-type") or "")
        options = options_of(body)
        if "status" in options:
            await reply.whole(error_body(int(options["status"])), int(options["status"]), retry_after="1")
            return
        counts = counts_for(path, len(self.requests))
        usage = None if "nousage" in options else usage_of(path, counts)
        key = request.header("x-client-request-id") or ""
        self.billed[key] = counts["input_tokens"], counts["cached_tokens"], counts["output_tokens"]
        self.counts[key] = counts
        await asyncio.sleep(float(options.get("delay", 0)))
        if not body.get("stream"):
            await reply.whole(whole(path, usage, options))
            return
        await reply.stream_head()
        with_usage = (body.get("stream_options") or {}).get("include_usage", path != "/v1/completions")
        for event in stream(path, usage if with_usage else None, options):
            await reply.chunk(event)
            await asyncio.sleep(float(options.get("gap", 0)))
        await reply.end()


async def _read_request(reader: asyncio.StreamReader, number: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(line, headers, await reader.readexactly(length), number)


def usage_for(body: Any, salt: int) -> tuple[int, int, int, int]:
    """Returns counts that differ between requests: input, cached, output, reasoning."""
    size = len(json.dumps(body["messages"]))
    return size + salt, (size + salt) // 3, 7 + salt * 3, salt


def _usage(counts: tuple[int, int, int, int]) -> dict[str, Any]:
    inputs, cached, outputs, reasoning = counts
    return {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": inputs + outputs,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(*counts: int, model: str = MODEL_SERVED, text: str = "Hello there, how can I help?") -> bytes:
    """Returns an openai.types.chat.ChatCompletion; `counts` are input, cached, output and reasoning tokens."""
    inputs, cached, outputs, reasoning = (*counts, 0, 0, 0, 0)[:4]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return json.dumps(
        {
            "id": "chatcmpl-fake0001",
            "object": "chat.completion",
            "created": 1730000000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage((inputs, cached, outputs, reasoning)),
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        },
        indent=2,
    ).encode()


def event(data: object) -> bytes:
    """Returns a server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def chunk_data(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Returns an openai.types.chat.ChatCompletionChunk; without a delta it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": "chatcmpl-fake0001",
        "object": "chat.completion.chunk",
        "created": 1730000000,
        "model": MODEL_SERVED,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
        "choices": choices,
        **more,
    }


def stream_events(chunks: int, counts: tuple[int, int, int, int] | None) -> list[bytes]:
    """Returns the events of a stream: with one for the usage unless `counts` is None, and `[DONE]`."""
    null = {} if counts is None else {"usage": None}  # OpenAI sends it if the request asks for usage
    events = [event(chunk_data({"role": "assistant", "content": ""}, **null))]
    events += [event(chunk_data({"content": f"word{n} é "}, **null)) for n in range(chunks)]
    events.append(event(chunk_data({}, "stop", **null)))
    if counts is not None:
        events.append(event(chunk_data(None, usage=_usage(counts))))
    return [*events, event("[DONE]")]


def without_null_usage(stream: bytes) -> bytes:
    """Returns what a client that did not ask for the usage gets of events without one."""
    return stream.replace(b',"usage":null', b"")


def error_body(status: int) -> bytes:
    """Returns an error in OpenAI's format."""
    code = {429: "rate_limit_exceeded", 401: "invalid_api_key"}.get(status)
    error = {"message": f"Upstream says {status} about sk-…abcd", "type": "some_error", "param": None, "code": code}
    return json.dumps({"error": error}, indent=2).encode()
