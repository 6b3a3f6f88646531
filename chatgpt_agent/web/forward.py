"""The forwarded endpoints: from the client's request to the client's answer."""

import asyncio
import sys
import time
from enum import Enum, auto

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.cooperative import SLICE
from chatgpt_agent.core.errors import AgentError, ClientClosed, Draining, InvalidRequest, Overloaded
from chatgpt_agent.core.http.endpoints import Endpoint
from chatgpt_agent.core.http.headers import RESPONSE_ADDED, STREAM_DEFAULTS, check_request_media, response_headers
from chatgpt_agent.core.http.request import ApiRequest, parse_request
from chatgpt_agent.core.http.stored import stored_request
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.runtime.admission import Admissions
from chatgpt_agent.runtime.answering import Answering
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.cooperative import run_cooperatively
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.runtime.memory import Memory, Share
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.relay import Dispatch, Relay
from chatgpt_agent.runtime.tracing import RequestSpan, Tracing
from chatgpt_agent.web.body import BodyHandler
from chatgpt_agent.web.chunk_writer import ChunkWriter
from chatgpt_agent.web.request_head import has_body


class ForwardServices(msgspec.Struct, kw_only=True):
    """What the handlers of forwarded endpoints work with. `tracing`: None where spans are not exported;
    `max_body_size`: bytes; `ask_stream_usage`: OpenAI is asked for the usage of each stream. A reload sets these two
    again."""

    authenticator: Authenticator
    admissions: Admissions
    rate_limiter: RateLimiter
    relay: Relay
    lifecycle: Lifecycle
    memory: Memory
    tracing: Tracing | None
    max_body_size: int
    ask_stream_usage: bool


class Phase(Enum):
    """How far a request is."""

    RECEIVING = auto()  # its body is being read
    FORWARDING = auto()
    DISCONNECTED = auto()  # the client has left


@stream_request_body
class ForwardHandler(BodyHandler):
    """Checks the token when the headers are in, the body when it is in, and passes OpenAI's answer on as it comes."""

    def initialize(self, endpoints: dict[str, Endpoint], services: ForwardServices) -> None:
        """`endpoints`: those of the URL, by their method."""
        self.methods = tuple(endpoints)
        self.max_body_size = services.max_body_size
        self._endpoint = endpoints.get(self.request.method or "") or next(iter(endpoints.values()))
        self._services = services
        self._identity: Identity | None = None
        self._phase = Phase.RECEIVING
        self._dispatch: Dispatch | None = None
        self._writer: ChunkWriter | None = None  # of a stream
        self._span: RequestSpan | None = None

    # Before the body.

    def check(self) -> None:
        services, headers = self._services, self.request.headers
        if services.lifecycle.draining:
            raise Draining
        self._identity = self.identify(services.authenticator)
        if self._endpoint.method == "POST":
            check_request_media(headers.get("Content-Type"), headers.get("Content-Encoding"), self._endpoint)
        elif has_body(headers):
            raise InvalidRequest(f"A {self._endpoint.method} request must have no body.")
        self.reserve_body(services.memory.share(self._identity.user.id))
        if services.admissions.full:
            raise Overloaded

    # With the body.

    async def post(self, **ids: str) -> None:
        """Forwards the request. `ids`: those in its path."""
        if self._phase is Phase.DISCONNECTED:  # between the end of the body and this
            return
        self._phase = Phase.FORWARDING
        if self._services.tracing is not None:
            self._span = self._begin_span(self._services.tracing)
        with self._services.lifecycle:
            try:
                if self._services.lifecycle.draining:
                    raise Draining
                await self._forward(ids)
            except ClientClosed:
                self.finish()
            except AgentError as error:
                error.__traceback__ = None  # the exchange keeps the error, and its frames the exchange: a cycle
                await self._fail(error)
            finally:
                if self._span is not None:
                    self._end_span(self._span)

    get = delete = post

    async def _forward(self, ids: dict[str, str]) -> None:
        received_at = time.monotonic()
        request = await self._parse(ids)
        if self._span is not None:
            self._span.note_request(request)
        # Checked again: the body may have taken a minute to arrive, and a revocation takes effect within a second.
        identity = self._identify_again()
        services = self._services
        admission = services.admissions.admit(identity, request, request_id=self.access.id)
        self._dispatch = dispatch = services.relay.dispatch(
            identity.user, request, admission, self._share, received_at=received_at
        )
        if self._span is not None:
            dispatch.trace_headers = self._span.headers
        del request  # and with it the body, which the dispatch holds until it is sent
        try:
            if self._phase is Phase.DISCONNECTED:
                raise ClientClosed
            answering = await dispatch.send(self.request.headers)
            if self.stream.has_ended():
                self.on_connection_close()
            await self._answer(answering)
        finally:
            self._writer = None  # it holds this handler: a cycle
            await dispatch.close()

    async def _parse(self, ids: dict[str, str]) -> ApiRequest:
        body, content_type = self.take_body(), self.request.headers.get("Content-Type")
        if self._endpoint.is_stored:
            return stored_request(self._endpoint, ids, self.request.query, body)
        work = parse_request(self._endpoint, body, content_type, ask_usage=self._services.ask_stream_usage)
        del body
        if self.received <= SLICE:
            return await run_cooperatively(work)
        async with self._services.memory.copying:
            return await run_cooperatively(work)

    @property
    def _share(self) -> Share:
        assert self.share is not None, "it is set by `check`"
        return self.share

    def _identify_again(self) -> Identity:
        if self._identity is None or not self._services.authenticator.still_holds(self._identity):
            self._identity = self.identify(self._services.authenticator)
        return self._identity

    async def _answer(self, answering: Answering) -> None:
        head = answering.head
        self.set_status(head.status)
        # Not with add_header and set_header, which match regular expressions for each value.
        headers = self._headers
        for name, value in response_headers(head.fields):
            if (
                not value.isprintable()
            ):  # a second look, because this bypasses set_header: a line break splits the answer
                raise ValueError(f"The header field {name} is not printable.")
            if name in headers:
                headers.add(name, value)
            else:
                headers[name] = value
        for name, value in (*RESPONSE_ADDED, *self.limit_headers()):
            headers[name] = value
        if await answering.is_stream():
            await self._stream(answering)
        else:
            await self._write_whole(answering, whole=await answering.whole())

    async def _stream(self, answering: Answering) -> None:
        chunked = self.request.version != "HTTP/1.0"
        if not chunked:
            self.announce_close()  # the end of the connection is then the end of the body (RFC 9112 §6.3)
        for name, value in STREAM_DEFAULTS:
            if name not in self._headers:
                self._headers[name] = value
        self.flush()  # the client sees status and headers before the first chunk
        self._writer = ChunkWriter(self, self.on_connection_close, chunked=chunked)
        if self._phase is Phase.DISCONNECTED:
            self._writer.discard()
        await answering.stream_to(self._writer if self._span is None else self._span.timed(self._writer))
        await self._finish_with()

    async def _write_whole(self, answering: Answering, *, whole: bool) -> None:
        size = str(answering.size) if whole else answering.announced_size
        if size and size != "0":  # a 204 has none (RFC 9110 §8.6); Tornado adds 0 to other empty answers
            self._headers["Content-Length"] = size
        if whole and answering.size <= SLICE:
            await self._finish_with(answering.body())
            return
        if size is None and self.request.version == "HTTP/1.0":
            self.announce_close()  # the end of the connection is then the end of the body (RFC 9112 §6.3)
        async for piece in answering.pieces():
            if self._phase is not Phase.DISCONNECTED:
                await self._write_piece(piece)
        await self._finish_with()

    async def _write_piece(self, piece: bytes) -> None:
        self.write(piece)
        try:
            await self.flush()
        except StreamClosedError:
            self.on_connection_close()
        await asyncio.sleep(0)  # a client that reads as fast as this must not be the only one

    async def _finish_with(self, body: bytes | None = None) -> None:
        stream, finished = self.stream, self.finish(body or None)  # b"" would be a body, which a 204 must not have
        if stream.writing() or stream.closed():  # else the kernel has taken all of it
            try:
                await finished
            except StreamClosedError:
                self.on_connection_close()

    async def _fail(self, error: AgentError) -> None:
        if self._headers_written:
            self.note_error(error)
            self.cut_off()
            return
        self.write_agent_error(error)
        await self._finish_with()

    def on_connection_close(self) -> None:
        """The client has disconnected. Tornado does not always say so here: a write that fails says the same."""
        super().on_connection_close()
        if self.refused:
            return
        before, self._phase = self._phase, Phase.DISCONNECTED
        if before is Phase.RECEIVING:
            self.finish()  # which writes the access line
        elif before is Phase.FORWARDING:
            if self._writer is not None:
                self._writer.discard()
            if self._dispatch is not None:
                self._dispatch.on_disconnect()

    # The span.

    def _begin_span(self, tracing: Tracing) -> RequestSpan:
        headers, request_id = self.request.headers, self.access.id_text
        return tracing.begin(self._endpoint, headers, user=self.access.user, request_id=request_id)

    def _end_span(self, span: RequestSpan) -> None:
        error = self.access.error_code
        if not error and self._phase is Phase.DISCONNECTED:
            error = ClientClosed.code
        elif not error and sys.exception() is not None:  # a bug, whose answer is written later
            error = AgentError.code
        span.end(self.log_row(), error)

    # The answer's headers and the access line.

    def limit_headers(self) -> list[tuple[str, str]]:
        return [] if self._identity is None else self._services.rate_limiter.headers(self._identity)

    def log_status(self) -> int:
        return ClientClosed.status if self._phase is Phase.DISCONNECTED else self.get_status()

    def log_path(self) -> str:
        return self._endpoint.path if self._endpoint.is_stored else super().log_path()

    def log_row(self) -> Row | None:
        return self._dispatch.row if self._dispatch else None
