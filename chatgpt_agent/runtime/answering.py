"""The answer to a request: passed on as it comes, but for its end, which is given out once the row is written.

The caller decides where it goes."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from chatgpt_agent.adapters.curl.exchange import Exchange
from chatgpt_agent.adapters.curl.head import Head
from chatgpt_agent.core.cooperative import SLICE
from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.core.http.answer import PassingAnswer, read_answer
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.meter import CompressedMeter, StreamMeter
from chatgpt_agent.core.http.sse import begins_events
from chatgpt_agent.core.http.unmetered import NOTHING_USED, PassingStream
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.usage import Answer
from chatgpt_agent.runtime.cooperative import run_cooperatively

if TYPE_CHECKING:  # it imports this module
    from chatgpt_agent.runtime.relay import Dispatch


class ChunkSink(Protocol):
    """Where a streamed answer goes. After a disconnect it takes everything and discards it."""

    def write(self, chunk: bytes) -> bool:
        """Takes a chunk. Returns whether it has room for more."""

    async def wait_for_room(self) -> None:
        """Waits until there is room."""


class _Pipe:
    """Passes chunks from a meter to a sink."""

    __slots__ = ("_meter", "_sink")

    def __init__(self, meter: StreamMeter | CompressedMeter | PassingStream, sink: ChunkSink) -> None:
        self._meter = meter
        self._sink = sink

    def on_chunk(self, chunk: bytes) -> bool:
        """Passes a chunk on. Returns whether the next may come at once."""
        # Runs for every chunk of every stream: what can be done once a stream is done elsewhere.
        ready = self._meter.feed(chunk)
        return (not ready or self._sink.write(ready)) and not self._meter.complete


class Answering:
    """An answer that has begun to come: read it with `whole` and `pieces`, or where it `is_stream` with `stream_to`."""

    def __init__(self, dispatch: "Dispatch", exchange: Exchange, head: Head) -> None:
        self.head = head
        self._dispatch = dispatch
        self._exchange = exchange
        self._endpoint = dispatch.endpoint
        self._share = dispatch.share
        # Of an answer that is no stream, or not known to be one yet.
        self.size = 0  # bytes that were received
        self._held: deque[bytes] = deque()  # of them, those that are not given out yet
        self._is_whole = False

    async def is_stream(self) -> bool:
        """Whether the answer is an event stream, to be passed on as it comes. Raises AgentError where it breaks off."""
        media_type = (self.head.first("content-type") or "").partition(";")[0].strip().lower()
        if media_type == "text/event-stream":
            return True
        if not (self._dispatch.stream and self._is_success and self._decompressor() is None):
            return False
        # Some servers send a stream as text/plain, as application/json or without a type.
        while (is_stream := begins_events(b"".join(self._held))) is None and (chunk := await self._read()):
            self._hold(chunk)
        return bool(is_stream)

    async def _read(self) -> bytes:
        try:
            return await self._exchange.read()
        except AgentError as error:
            await self._dispatch.fail(error, State.INCOMPLETE)
            raise

    def _hold(self, chunk: bytes) -> bool:
        """Holds a part of the body. Returns whether there is room for more."""
        self._held.append(chunk)
        self.size += len(chunk)
        return self._share.grow(len(chunk))

    @property
    def announced_size(self) -> str | None:
        """The Content-Length, if the answer has one that counts (RFC 9112 §6.3)."""
        return None if self.head.first("transfer-encoding") else self.head.first("content-length")

    async def whole(self) -> bool:
        """Receives an answer that is no stream, and writes the row. False: there is no room to hold all of it, and the
        rest comes with `pieces`. Raises AgentError where it breaks off."""
        while chunk := await self._read():
            if not self._hold(chunk):
                return False
            if self.size > SLICE:  # else a fast upstream would hold the loop until the end
                await asyncio.sleep(0)
        ended_at = time.monotonic()
        await self._settle(await self._read_usage(), ended_at)
        self._is_whole = True
        return True

    def body(self) -> bytes:
        """The whole body at once, in place of `pieces`."""
        return b"".join(self._held)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body. Its last piece comes once the row is written: without it no client has a whole answer. Raises
        AgentError where it breaks off."""
        if self._is_whole:
            while self._held:
                yield self._pop()
            return
        reader = None if self._endpoint.is_free else PassingAnswer(self._endpoint, self._decompressor())
        last = b""
        async for piece in self._passing():
            if reader is not None:
                reader.feed(piece)
            if last:
                yield last
            last = piece
        ended_at = time.monotonic()
        answer = NOTHING_USED if reader is None else reader.answer()
        await self._settle(answer if self._is_success else Answer(), ended_at)
        yield last

    async def _passing(self) -> AsyncIterator[bytes]:
        while self._held:
            yield self._pop()
        while chunk := await self._read():
            yield chunk

    def _pop(self) -> bytes:
        piece = self._held.popleft()
        self._share.shrink(min(len(piece), self._share.size))
        return piece

    async def stream_to(self, sink: ChunkSink) -> None:
        """Passes a stream on as it comes, and at its end what was held back until the row was written. Raises
        AgentError where it breaks off: what was passed on by then must not look complete."""
        meter = self._meter()
        on_chunk = _Pipe(meter, sink).on_chunk
        over = False
        while self._held:
            on_chunk(self._pop())
        while not over:
            try:
                over = await self._exchange.stream_to(on_chunk)
            except AgentError as error:
                meter.end(clean=False)
                await self._dispatch.fail(error, State.INCOMPLETE, meter.answer())
                sink.write(meter.take_held())
                raise
            if over:
                meter.end(clean=True)
            if over or meter.complete:
                await self._settle(meter.answer(), time.monotonic())
                sink.write(meter.take_held())
            await sink.wait_for_room()

    @property
    def _is_success(self) -> bool:
        return 200 <= self.head.status < 300

    async def _read_usage(self) -> Answer:
        if not self._is_success:
            return Answer()
        if self._endpoint.is_free:
            return NOTHING_USED
        decompressor = self._decompressor()
        pieces = map(decompressor.feed, self._held) if decompressor else self._held
        work = read_answer(pieces, self._endpoint)
        if self.size <= SLICE:
            return await run_cooperatively(work)
        async with self._share.copying:
            return await run_cooperatively(work)

    async def _settle(self, answer: Answer, ended_at: float) -> None:
        await self._dispatch.settle_answer(answer, self.head.status, ended_at)

    def _meter(self) -> StreamMeter | CompressedMeter | PassingStream:
        if self._endpoint.is_free:
            return PassingStream()
        if decompressor := self._decompressor():
            return CompressedMeter(self._endpoint, decompressor, has_room=self._share.resize)
        return StreamMeter(self._endpoint, hide_usage=self._dispatch.hides_usage, has_room=self._share.resize)

    def _decompressor(self) -> Decompressor | None:
        """Reads an answer that came compressed although no compression was asked for."""
        encoding = (self.head.first("content-encoding") or "identity").strip().lower()
        return None if encoding == "identity" else Decompressor(encoding)
