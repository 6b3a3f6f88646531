"""Clients of an agent on raw sockets, which record what they received, to the byte."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import msgspec

LIMIT = 60.0  # seconds after which a request counts as stuck
RETRY_SECONDS = 0.05  # while no agent listens, or the agent is not ready


class End(StrEnum):
    """How a request ended for its client."""

    WHOLE = "whole"  # status 2xx and the whole body
    ERROR = "error"  # another status and the whole body
    BROKEN = "broken"  # the connection ended before the answer did
    LEFT = "left"  # the client disconnected, as planned
    STUCK = "stuck"  # no end within the timeout
    NOT_READY = "not ready"  # status 503
    REFUSED = "refused"  # the connection was refused


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat request. The client disconnects after `leave_after` seconds or `leave_at` chunks, if one is set."""

    kind: str
    content: str
    model: str = ""
    stream: bool = False
    include_usage: bool = False
    leave_after: float | None = None
    leave_at: int | None = None

    def body(self) -> bytes:
        """Returns the body."""
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": self.content}]}
        if self.stream:
            body["stream"] = True
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body).encode()


class Received(msgspec.Struct):
    """What a client received."""

    kind: str
    end: End = End.BROKEN
    status: int = 0
    request_id: str = ""
    body: bytes = b""

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage in a whole answer, or in the last event of a stream that has one."""
        if not self.body.startswith(b"data: "):
            usage: dict[str, Any] | None = json.loads(self.body).get("usage")
            return usage
        events = [json.loads(line[6:]) for line in self.body.split(b"\n\n") if line[6:] not in (b"", b"[DONE]")]
        return next((event["usage"] for event in reversed(events) if event.get("usage")), None)


async def send(url: str, token: str, request: ChatRequest) -> Received:
    """Sends a request on a new connection, and returns when it has ended in any way."""
    received = Received(request.kind)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    except OSError:
        received.end = End.REFUSED
        return received
    try:
        async with asyncio.timeout(LIMIT):
            writer.write(_wire_request(token, request.body()))
            await _read(reader, request, received)
    except TimeoutError:
        received.end = End.STUCK
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        received.end = End.BROKEN
    finally:
        writer.transport.abort() if received.end is End.LEFT else writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return received


async def _read(reader: asyncio.StreamReader, request: ChatRequest, received: Received) -> None:
    if request.leave_after is None:
        await _read_answer(reader, request, received)
        return
    try:
        async with asyncio.timeout(request.leave_after):
            await _read_answer(reader, request, received)
    except TimeoutError:
        received.end = End.LEFT


async def _read_answer(reader: asyncio.StreamReader, request: ChatRequest, received: Received) -> None:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(field.lower().split(": ", 1) for field in lines if field)
    received.status, received.request_id = int(line.split(" ")[1]), fields.get("x-agent-request-id", "")
    end = End.WHOLE if 200 <= received.status < 300 else End.NOT_READY if received.status == 503 else End.ERROR
    if fields.get("transfer-encoding") == "chunked":
        chunks = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            received.body += (await reader.readexactly(size + 2))[:-2]
            chunks += 1
            if chunks == request.leave_at:
                received.end = End.LEFT
                return
        await reader.readexactly(2)
    else:
        received.body = await reader.readexactly(int(fields["content-length"]))
    received.end = end


def _wire_request(token: str, body: bytes) -> bytes:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: agent\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Mix:
    """A load of several kinds of requests with fixed shares and random times."""

    def __init__(self, random_: random.Random, models: list[str]) -> None:
        self._random = random_
        self._models = models
        self._kinds: dict[Callable[[str, float], ChatRequest], int] = {
            self._whole: 28,
            self._stream: 20,
            self._stream_with_usage: 18,
            self._without_usage: 6,
            self._disconnects_early: 9,
            self._disconnects_in_mid_stream: 9,
            self._upstream_error: 6,
            self._upstream_cut: 4,
        }

    def next(self) -> ChatRequest:
        """Returns the next request."""
        draw = self._random
        [kind] = draw.choices(list(self._kinds), list(self._kinds.values()))
        options = f"think={draw.uniform(0.0, 0.25):.3f} chunks={draw.randint(1, 12)} gap={draw.uniform(0.0, 0.03):.3f}"
        return msgspec.structs.replace(kind(options, draw.random()), model=draw.choice(self._models))

    def _whole(self, options: str, _: float) -> ChatRequest:
        return ChatRequest("chat", options)

    def _stream(self, options: str, _: float) -> ChatRequest:
        return ChatRequest("stream", options, stream=True)

    def _stream_with_usage(self, options: str, _: float) -> ChatRequest:
        return ChatRequest("stream with usage", options, stream=True, include_usage=True)

    def _without_usage(self, options: str, part: float) -> ChatRequest:
        return ChatRequest("upstream sends no usage", options + " nousage", stream=part < 0.5)

    def _disconnects_early(self, options: str, part: float) -> ChatRequest:
        return ChatRequest("client disconnects before the answer", options, stream=part < 0.25, leave_after=part * 0.2)

    def _disconnects_in_mid_stream(self, options: str, part: float) -> ChatRequest:
        return ChatRequest("client disconnects in mid-stream", options, stream=True, leave_at=1 + int(part * 3))

    def _upstream_error(self, options: str, part: float) -> ChatRequest:
        return ChatRequest("upstream error", options + (" status=429" if part < 0.5 else " status=500"))

    def _upstream_cut(self, options: str, part: float) -> ChatRequest:
        return ChatRequest("upstream cuts its answer", options + " cut", stream=part < 0.5)


class Load:
    """Workers that send requests up to a number or a deadline, and pause after each for `rest` seconds on average.

    `sent` counts the requests that reached an agent. `stopping`: no more requests are sent.
    """

    def __init__(
        self, url: Callable[[], str], tokens: list[str], mix: Mix, random_: random.Random, rest: float = 0.0
    ) -> None:
        self._url = url
        self._tokens = tokens
        self._mix = mix
        self._random = random_
        self._rest = rest
        self.received: list[Received] = []
        self.sent = 0
        self.stopping = False

    async def run(self, requests: int, workers: int, deadline: float) -> None:
        """Sends `requests` requests, or as many as possible before `deadline` on the loop's clock."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(requests, deadline))

    async def _work(self, requests: int, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self.sent < requests and loop.time() < deadline and not self.stopping:
            self.sent += 1
            received = await send(self._url(), self._random.choice(self._tokens), self._mix.next())
            self.received.append(received)
            if received.end in (End.NOT_READY, End.REFUSED):
                self.sent -= 1
                await asyncio.sleep(RETRY_SECONDS)
            elif self._rest:
                await asyncio.sleep(self._random.expovariate(1 / self._rest))

    def ends(self) -> Counter[End]:
        """Returns the number of requests by how they ended."""
        return Counter(received.end for received in self.received)
