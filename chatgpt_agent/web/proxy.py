"""The endpoints that are forwarded: from the client's request to the client's answer."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from tornado.iostream import StreamClosedError

from chatgpt_agent.core.admission import Identity
from chatgpt_agent.core.endpoints import Endpoint
from chatgpt_agent.core.errors import AgentError, ClientClosed, Draining, Overloaded, RequestTooLarge
from chatgpt_agent.core.headers import RESPONSE_ADDED, check_request_media, response_headers
from chatgpt_agent.core.requests import parse_request, parsing
from chatgpt_agent.core.steps import PIECE
from chatgpt_agent.edges.turns import in_turns
from chatgpt_agent.edges.upstream.exchange import Head
from chatgpt_agent.services.gate import Gate
from chatgpt_agent.services.lifecycle import Lifecycle
from chatgpt_agent.services.relay import Call, Relay
from chatgpt_agent.web.base import ApiHandler
from chatgpt_agent.web.listener import ClientStream

LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024 * 1024


class _WayOut:
    """A stream's way to its client, without what Tornado makes for each piece. Once it is gone, pieces are dropped."""

    def __init__(self, stream: ClientStream, on_gone: Callable[[], None], *, chunked: bool) -> None:
        self._stream = stream
        self._on_gone = on_gone
        self._chunked = chunked
        self.gone = False

    def put(self, piece: bytes) -> bool:
        """Sends a piece. Returns whether the system took all of it: what waits for the client slows the upstream down,
        and where nothing waits, which is nearly always, nobody does."""
        if self.gone or not piece:
            return True
        if self._stream.put(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece):  # RFC 9112 §7.1
            return True
        if self._stream.closed():
            self._on_gone()
            return True
        return False

    async def drained(self) -> None:
        """Waits until the system has taken what was put."""
        if self.gone:
            return
        if self._stream.writing():
            with contextlib.suppress(StreamClosedError):
                await self._stream.write(b"")
        if self._stream.closed():
            self._on_gone()


class ProxyHandler(ApiHandler):
    """Checks the token when the headers are in, the body when it is in, and passes the answer on as it comes."""

    methods = ("POST",)

    def initialize(  # type: ignore[override]
        self, endpoint: Endpoint, relay: Relay, lifecycle: Lifecycle, gate: Gate
    ) -> None:
        super().initialize()
        self._endpoint = endpoint
        self._gate = gate
        self._relay = relay
        self._lifecycle = lifecycle
        self._identity: Identity | None = None
        self._call: Call | None = None
        # The body.
        self._chunks: list[bytes] = []
        self._size = 0
        # How it ends.
        self._refused = False
        self._gone = False
        self._way_out: _WayOut | None = None  # of a stream

    # Before the body.

    def check(self) -> None:
        if self._lifecycle.draining:
            raise Draining
        self._identity = self.identify(self._gate)
        headers = self.request.headers
        check_request_media(headers.get("Content-Type"), headers.get("Content-Encoding"), form=self._endpoint.form)
        length = headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self._relay.config.max_body_size:
            raise RequestTooLarge(self._relay.config.max_body_size)
        if self._relay.full:
            raise Overloaded

    def refuse(self, error: AgentError) -> None:
        """Answers at once, and then still takes a part of the body and drops it: closing a connection with bytes
        unread resets it, and the reset may overtake the answer (RFC 9112 §9.6)."""
        self.write_agent_error(error)
        self.set_header("Connection", "close")
        headers = self.request.headers
        if "Expect" in headers or not ("Content-Length" in headers or "Transfer-Encoding" in headers):
            self.finish()
            return
        self.flush()
        self._refused = True
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_refusal)

    def _end_refusal(self) -> None:
        if not self._finished:
            # Where all of the body has come, Tornado goes on with the connection, whatever the answer says of it.
            stream = self.request.connection.stream  # type: ignore[union-attr]
            self.finish().add_done_callback(lambda _: stream.close())

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._refused:
            if self._size > LINGER_BYTES:
                self._end_refusal()
        elif self._size > self._relay.config.max_body_size:
            self._chunks.clear()
            self._size = 0
            self.refuse(RequestTooLarge(self._relay.config.max_body_size))
        else:
            self._chunks.append(chunk)

    # With the body.

    async def post(self) -> None:
        if self._refused:
            self._end_refusal()
            return
        with self._lifecycle.request():
            try:
                if self._lifecycle.draining:
                    raise Draining
                await self._forward()
            except ClientClosed:
                self.finish()
            except AgentError as error:
                await self._fail(error)

    async def _forward(self) -> None:
        # Once more: the body may have taken a minute to come, and a revocation is in force within a second.
        identity = self._identify_again()
        body, kind = b"".join(self._chunks), self.request.headers.get("Content-Type")
        self._chunks.clear()
        if len(body) <= PIECE:
            request = parse_request(self._endpoint, body, kind)
        else:
            request = await in_turns(parsing(self._endpoint, body, kind))
            identity = self._identify_again()
        self._call = self._relay.call(identity, request, request_id=self.request_id)
        try:
            await self._answer(self._call)
        finally:
            self._way_out = None  # they know each other: a circle would stay in memory until it is looked for
            await self._call.close()

    def _identify_again(self) -> Identity:
        if self._identity is None or not self._gate.still_holds(self._identity):
            self._identity = self.identify(self._gate)
        return self._identity

    async def _answer(self, call: Call) -> None:
        if self._gone:
            raise ClientClosed
        self._set_head(await call.begin(self.request.headers.get("Accept")))
        if call.streaming:
            self.flush()  # the client sees status and headers before the first chunk
            await call.stream(self._open_way_out())
            await self._finish_out()
        else:
            await self._write_whole(await call.whole())

    def _open_way_out(self) -> _WayOut:
        chunked = self._headers.get("Transfer-Encoding") == "chunked"  # as Tornado has decided with the head
        stream = cast(ClientStream, self.request.connection.stream)  # type: ignore[union-attr]
        self._way_out = _WayOut(stream, self.on_connection_close, chunked=chunked)
        self._way_out.gone = self._gone
        return self._way_out

    async def _write_whole(self, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        if size <= PIECE:
            await self._finish_out(b"".join(pieces))
            return
        self.set_header("Content-Length", str(size))
        self.flush()
        way_out = self._open_way_out()
        pieces.reverse()
        while pieces and not self._gone:
            self.request.connection.write(pieces.pop())  # type: ignore[union-attr]
            await way_out.drained()
            await asyncio.sleep(0)  # a client that reads as fast as this must not be the only one
        await self._finish_out()

    def _set_head(self, head: Head) -> None:
        self.set_status(head.status)
        for name, value in response_headers(head.fields):
            self.add_header(name, value)
        for name, value in (*RESPONSE_ADDED, *self.limit_headers()):
            self.set_header(name, value)

    def limit_headers(self) -> list[tuple[str, str]]:
        return [] if self._identity is None else self._relay.limits.headers(self._identity)

    async def _finish_out(self, body: bytes | None = None) -> None:
        try:
            await self.finish(body)
        except StreamClosedError:
            self.on_connection_close()

    async def _fail(self, error: AgentError) -> None:
        self.error_code = error.code
        if self._headers_written:
            self.cut_off()
            return
        self.write_agent_error(error)
        await self._finish_out()

    def on_connection_close(self) -> None:
        """The client hung up. (Tornado does not always say so here: a write that fails says the same.)"""
        super().on_connection_close()
        self._gone = True
        if self._way_out is not None:
            self._way_out.gone = True
        # A body that did not come whole goes now: connection and handler are a circle, which is freed when it pleases.
        self._chunks.clear()
        if self._call is not None:
            self._call.client_left()

    # The access line.

    def access_status(self) -> int:
        return ClientClosed.status if self._gone else self.get_status()

    def access_words(self) -> str:
        row = self._call.row if self._call else None
        if row is None:
            return ""
        tokens = f"tokens={row.usage.input}+{row.usage.output}" if row.usage else "tokens=?"
        return f"model={row.intent.model} state={row.state} {tokens} cost={row.cost:f}"
