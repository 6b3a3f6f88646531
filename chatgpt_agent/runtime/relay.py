"""One admitted request to OpenAI and back: write the intent, send, pass the answer on, write the row, and only then
give out the end of the answer.

The caller decides where the answer goes; a dispatch writes the ledger, also after the client has disconnected.
"""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.adapters.curl.exchange import Exchange, UpstreamClient
from chatgpt_agent.adapters.curl.head import Head, head_error
from chatgpt_agent.core.access.identity import User
from chatgpt_agent.core.cooperative import SLICE
from chatgpt_agent.core.errors import (
    AgentError,
    ClientClosed,
    KeyUnusable,
    LedgerUnavailable,
    UpstreamError,
    UpstreamKeyRejected,
)
from chatgpt_agent.core.http.answer import PassingAnswer, read_answer
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.headers import request_headers
from chatgpt_agent.core.http.meter import CompressedMeter, StreamMeter
from chatgpt_agent.core.http.request import ApiRequest
from chatgpt_agent.core.http.sse import begins_events
from chatgpt_agent.core.ledger import Outcome, Row, State, answered_state, failed_state
from chatgpt_agent.core.names import is_printable
from chatgpt_agent.core.secrets import shows_secret
from chatgpt_agent.core.usage import Answer
from chatgpt_agent.runtime.admission import Admission
from chatgpt_agent.runtime.cooperative import run_cooperatively
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.drains import Drain, Drains
from chatgpt_agent.runtime.ledger import Ledger, OpenRequest
from chatgpt_agent.runtime.memory import Share

log = logging.getLogger(__name__)

USER_AGENT = f"chatgpt-agent/{__version__}"


class Relay:
    """Sends requests to OpenAI. `urls`: where the upstream has each endpoint, by the endpoint's path."""

    def __init__(
        self,
        *,
        directory: Directory,
        ledger: Ledger,
        upstream: UpstreamClient,
        urls: dict[str, str],
        drains: Drains,
    ) -> None:
        self.directory = directory
        self.ledger = ledger
        self.upstream = upstream
        self.urls = urls
        self.drains = drains

    def dispatch(self, user: User, request: ApiRequest, admission: Admission, share: Share) -> "Dispatch":
        """Returns the dispatch of an admitted request, whose body is counted in `share`. Nothing is sent yet."""
        return Dispatch(self, user, request, admission, share)


class ChunkSink(Protocol):
    """Where a streamed answer goes. After a disconnect it takes everything and discards it."""

    def write(self, chunk: bytes) -> bool:
        """Takes a chunk. Returns whether it has room for more."""

    async def drain(self) -> None:
        """Waits until there is room."""


class _Pipe:
    """Passes chunks from a meter to a sink."""

    __slots__ = ("_meter", "_sink")

    def __init__(self, meter: StreamMeter | CompressedMeter, sink: ChunkSink) -> None:
        self._meter = meter
        self._sink = sink

    def on_chunk(self, chunk: bytes) -> bool:
        """Passes a chunk on. Returns whether the next may come at once."""
        # Runs for every chunk of every stream: what can be done once a stream is done elsewhere.
        ready = self._meter.feed(chunk)
        return (not ready or self._sink.write(ready)) and not self._meter.complete


class Dispatch:
    """One admitted request: `send` it, read the answer that this returns to its end, and `close` it in any case.

    `row` is its row in the ledger, once that is written.
    """

    def __init__(self, relay: Relay, user: User, request: ApiRequest, admission: Admission, share: Share) -> None:
        # Of the request only what is still needed once its body is sent.
        self.endpoint = request.endpoint
        self.stream = request.stream
        self.hides_usage = request.hides_usage
        self._content_type = request.content_type
        self._body = request.upstream_body
        self._body_share = share  # until the body is sent
        self.share = share.another()  # of the answer
        self.row: Row | None = None
        self._relay = relay
        self._user = user
        self._admission = admission
        self._key = ""  # the OpenAI key that was sent
        self._loop = asyncio.get_running_loop()
        # What has happened.
        self._open: OpenRequest | None = None  # the intent is written: from then on there will be a row
        self._exchange: Exchange | None = None  # it was sent
        self._head: Head | None = None  # it is being answered
        self._settling = False
        self._started_at = self._loop.time()
        self._first_byte_ms: int | None = None
        # The client.
        self._disconnected = False
        self._drain: Drain | None = None

    async def send(self, accept: str | None) -> "Answering":
        """Sends the request and returns the answer once its head is there. Raises AgentError, with the row written
        where the request may have been sent."""
        headers = self._headers(accept)
        admission, relay = self._admission, self._relay
        self._open = await relay.ledger.open(admission.intent, admission.price, admission.book)
        self._started_at = self._loop.time()
        if self._disconnected:
            await self.settle(State.NOT_SENT, error=ClientClosed.code)
            raise ClientClosed
        url = relay.urls[self.endpoint.path]
        exchange = self._exchange = relay.upstream.send(
            url, self._take_body(), headers, on_sent=self._body_share.release, owner=self._user.id
        )
        try:
            head = await exchange.head()
        except AgentError as error:
            await self.fail(error, failed_state(sent=exchange.sent, answering=False))
            raise
        self._head = head
        self._first_byte_ms = self._milliseconds()
        refusal = self._head_error(head)
        if refusal is not None:
            exchange.abort(refusal)
            await self.fail(refusal, State.UPSTREAM_ERROR)
            raise refusal
        return Answering(self, exchange, head)

    def on_disconnect(self) -> None:
        """The client has disconnected. OpenAI's answer is still read to its usage, within limits of time and number, so
        that the row is true."""
        if self._disconnected:
            return
        self._disconnected = True
        if self._exchange is None or self._settling:
            return
        abort = functools.partial(self._exchange.abort, ClientClosed())
        self._drain = self._relay.drains.start(self._user.id, abort)
        if self._drain is None:
            abort()

    async def close(self) -> None:
        """Gives back what the request holds. If its answer was not read to the end, which only a bug in the agent can
        cause, aborts it and writes its row all the same."""
        self._admission.release()
        self._body_share.release()
        self.share.release()
        if self._drain is not None:
            self._relay.drains.end(self._drain)
        if self._open is None:
            self._admission.cancel()
        elif not self._settling:
            sent = self._exchange is not None and self._exchange.sent
            if self._exchange is not None:
                self._exchange.abort()
            await self.settle(failed_state(sent=sent, answering=self._head is not None), error=AgentError.code)

    async def fail(self, error: AgentError, state: State, answer: Answer = Answer()) -> None:
        """Writes the row of a request that failed, and why to the log. Raises LedgerUnavailable."""
        if isinstance(error, UpstreamError) and error.cause:
            cause = "(not shown: it has the key)" if shows_secret(error.cause, self._key) else error.cause
            request_id, upstream = self._admission.intent.request_id, self._relay.upstream.destination
            log.warning("request %s of user %s to %s: %s: %s", request_id, self._user.name, upstream, error.code, cause)
        await self.settle(state, answer, error=error.code)

    async def settle(self, state: State, answer: Answer = Answer(), *, error: str | None = None) -> None:
        """Writes the row; only the first outcome counts. Raises LedgerUnavailable: nothing more may go out."""
        if self._settling or self._open is None:
            return
        self._settling = True
        outcome = Outcome(
            state=state,
            status=self._head.status if self._head else None,
            answer=self._without_key(answer),
            upstream_request_id=self._upstream_request_id(),
            client_closed=self._disconnected,
            error=error,
            duration_ms=self._milliseconds(),
            first_byte_ms=self._first_byte_ms,
        )
        try:
            self.row = await self._relay.ledger.settle(self._open, outcome)
        except LedgerUnavailable as unavailable:
            unavailable.retry = state is State.NOT_SENT
            raise
        finally:
            self._admission.settle(self.row)

    def _without_key(self, answer: Answer) -> Answer:
        """An answer without names that show the key: an upstream may echo it anywhere."""
        if not shows_secret(f"{answer.model} {answer.id} {answer.service_tier}", self._key):
            return answer
        return msgspec.structs.replace(answer, model=None, id=None, service_tier=None)

    def _upstream_request_id(self) -> str | None:
        value = self._head.first("x-request-id") if self._head else None
        return value if value and is_printable(value) and not shows_secret(value, self._key) else None

    def _take_body(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def _headers(self, accept: str | None) -> list[tuple[str, str]]:
        try:
            self._key = self._relay.directory.upstream_key(self._user)
        except KeyUnusable as error:
            log.error("user %s: %s", self._user.name, error)
            raise UpstreamKeyRejected(sent=False) from None
        return request_headers(
            accept=accept,
            upstream_key=self._key,
            request_id=str(self._admission.intent.request_id),
            agent=USER_AGENT,
            content_type=self._content_type,
        )

    def _head_error(self, head: Head) -> AgentError | None:
        if head.status in (401, 403):
            log.error("OpenAI refused the key of user %s with status %d", self._user.name, head.status)
            return UpstreamKeyRejected(sent=True)
        return head_error(head, has_proxy=self._relay.upstream.has_proxy)

    def _milliseconds(self) -> int:
        return round((self._loop.time() - self._started_at) * 1000)


class Answering:
    """An answer that has begun to come: read it with `whole` and `pieces`, or where it `is_stream` with `stream_to`."""

    def __init__(self, dispatch: Dispatch, exchange: Exchange, head: Head) -> None:
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
        await self._settle(await self._read_usage())
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
        reader = PassingAnswer(self._endpoint, self._decompressor())
        last = b""
        async for piece in self._passing():
            reader.feed(piece)
            if last:
                yield last
            last = piece
        await self._settle(reader.answer() if self._is_success else Answer())
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
                await self._settle(meter.answer())
                sink.write(meter.take_held())
            await sink.drain()

    @property
    def _is_success(self) -> bool:
        return 200 <= self.head.status < 300

    async def _read_usage(self) -> Answer:
        if not self._is_success:
            return Answer()
        decompressor = self._decompressor()
        pieces = map(decompressor.feed, self._held) if decompressor else self._held
        work = read_answer(pieces, self._endpoint)
        if self.size <= SLICE:
            return await run_cooperatively(work)
        async with self._share.copying:
            return await run_cooperatively(work)

    async def _settle(self, answer: Answer) -> None:
        await self._dispatch.settle(answered_state(self.head.status, answer), answer)

    def _meter(self) -> StreamMeter | CompressedMeter:
        if decompressor := self._decompressor():
            return CompressedMeter(self._endpoint, decompressor, has_room=self._share.resize)
        return StreamMeter(self._endpoint, hide_usage=self._dispatch.hides_usage, has_room=self._share.resize)

    def _decompressor(self) -> Decompressor | None:
        """Reads an answer that came compressed although no compression was asked for."""
        encoding = (self.head.first("content-encoding") or "identity").strip().lower()
        return None if encoding == "identity" else Decompressor(encoding)
