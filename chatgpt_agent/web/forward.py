"""The endpoints that are forwarded: from the client's request to the client's answer.

Tornado reads these requests, and its handlers are not asked: what they do for each of them was a seventh of its cost.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)

from chatgpt_agent.adapters.cooperative import run_cooperatively
from chatgpt_agent.adapters.curl.exchange import Head
from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.cooperative import SLICE
from chatgpt_agent.core.errors import AgentError, ClientClosed, Draining, Overloaded, RequestTooLarge
from chatgpt_agent.core.http.endpoints import Endpoint
from chatgpt_agent.core.http.headers import RESPONSE_ADDED, check_request_media, response_headers
from chatgpt_agent.core.http.request import parse_request
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.in_flight import Lifecycle
from chatgpt_agent.runtime.relay import Call, Relay
from chatgpt_agent.web.base import AccessLogEntry, ApiHandler, identify
from chatgpt_agent.web.errors import render
from chatgpt_agent.web.response_writer import WayOut

log = logging.getLogger(__name__)

MAX_DIGITS = 18  # of a body's length in bytes; Python makes no number of some thousands of them
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024 * 1024


class ForwardedHandler(ApiHandler):
    """These endpoints, asked with another method."""

    methods = ("POST",)


class Front(HTTPServerConnectionDelegate):
    """Answers POSTs to the `endpoints`, by their paths, and leaves all others to the application."""

    def __init__(
        self,
        app: HTTPServerConnectionDelegate,
        endpoints: Mapping[str, Endpoint],
        relay: Relay,
        lifecycle: Lifecycle,
        gate: Authenticator,
    ) -> None:
        self.app = app
        self.endpoints = endpoints
        self.relay = relay
        self.lifecycle = lifecycle
        self.gate = gate

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Arrival(self, server_conn, request_conn)


_NOBODY = HTTPMessageDelegate()


class _Arrival(HTTPMessageDelegate):
    """A request of which nothing is known until its head is there."""

    def __init__(self, front: Front, server_connection: object, connection: HTTPConnection) -> None:
        self._front = front
        self._server_connection = server_connection
        self._connection = connection
        self._delegate = _NOBODY

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        front, line = self._front, cast(RequestStartLine, start_line)
        endpoint = front.endpoints.get(line.path.partition("?")[0]) if line.method == "POST" else None
        if endpoint is None:
            self._delegate = front.app.start_request(self._server_connection, self._connection)
            return self._delegate.headers_received(line, headers)
        # Raises HTTPInputError where there is not one valid Host, which Tornado answers with its 400.
        request = HTTPServerRequest(connection=self._connection, start_line=line, headers=headers)
        self._delegate = forwarded = Forwarded(front, endpoint, request)
        forwarded.take_head()
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


class Forwarded(HTTPMessageDelegate):
    """One request: checks the token when the headers are in, the body when it is in, and passes the answer on as it
    comes. Nothing that it raises leaves it: a fault is logged, and answered as one."""

    def __init__(self, front: Front, endpoint: Endpoint, request: HTTPServerRequest) -> None:
        self._front = front
        self._endpoint = endpoint
        self._request = request
        self._relay = front.relay
        self._access = AccessLogEntry()
        self._identity: Identity | None = None
        self._task: asyncio.Task[None] | None = None  # from the whole of the body on
        self._call: Call | None = None
        # The body.
        self._chunks: list[bytes] = []
        self._size = 0
        # The answer.
        self._way_out = WayOut(request, self.on_connection_close)
        self._status = 200
        self._refused = False
        self._gone = False
        self._ended = False
        self._logged = False

    # Before the body.

    def take_head(self) -> None:
        """Takes the request, or refuses it before any of its body is read."""
        cast(HTTP1Connection, self._request.connection).set_close_callback(self.on_connection_close)
        try:
            self._check()
        except AgentError as error:
            self._refuse(error)
        except Exception as error:
            self._refuse(self._fault(error))

    def _check(self) -> None:
        if self._front.lifecycle.draining:
            raise Draining
        self._identify()
        headers = self._request.headers
        check_request_media(headers.get("Content-Type"), headers.get("Content-Encoding"), form=self._endpoint.form)
        length = headers.get("Content-Length", "")  # Tornado refuses what is no number
        if length.isdecimal() and (len(length) > MAX_DIGITS or int(length) > self._relay.config.max_body_size):
            raise RequestTooLarge(self._relay.config.max_body_size)
        if self._relay.full:
            raise Overloaded

    def _identify(self) -> Identity:
        identity = self._identity = identify(self._front.gate, self._request)
        self._access.who = identity.user.name
        return identity

    def _refuse(self, error: AgentError) -> None:
        """Answers at once, and then still takes a part of the body and drops it: closing a connection with bytes
        unread resets it, and the reset may overtake the answer (RFC 9112 §9.6)."""
        self._refused = True
        self._way_out.closes = True
        self._write_error(error)
        self._log()
        headers = self._request.headers
        if "Expect" in headers or not ("Content-Length" in headers or "Transfer-Encoding" in headers):
            self._end_refusal()
        else:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_refusal)

    def _end_refusal(self) -> None:
        if not self._ended:
            self._ended = True
            if not self._way_out.end_at_once():
                self._task = asyncio.create_task(self._end())

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._refused:
            if self._size > LINGER_BYTES:
                self._end_refusal()
        elif self._size > self._relay.config.max_body_size:
            self._chunks.clear()
            self._size = 0
            self._refuse(RequestTooLarge(self._relay.config.max_body_size))
        else:
            self._chunks.append(chunk)

    # With the body.

    def finish(self) -> None:
        if self._refused:
            self._end_refusal()
        else:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with self._front.lifecycle.request():
            try:
                if self._front.lifecycle.draining:
                    raise Draining
                await self._forward()
            except ClientClosed:
                pass
            except AgentError as error:
                error.__traceback__ = None  # the exchange keeps it, and it those who ran: a circle
                self._fail(error)
            except Exception as error:
                self._fail(self._fault(error))
            except asyncio.CancelledError:
                self._way_out.cut_off()
                raise
            await self._end()

    async def _forward(self) -> None:
        body, kind = b"".join(self._chunks), self._request.headers.get("Content-Type")
        self._chunks.clear()
        request = await run_cooperatively(parse_request(self._endpoint, body, kind))
        # Checked again: the body may have taken a minute to arrive, and a revocation takes effect within a second.
        identity = self._identify_again()
        self._call = self._relay.call(identity, request, request_id=self._access.id)
        try:
            await self._answer(self._call)
        finally:
            await self._call.close()

    def _identify_again(self) -> Identity:
        identity = self._identity
        return identity if identity is not None and self._front.gate.still_holds(identity) else self._identify()

    async def _answer(self, call: Call) -> None:
        if self._gone:
            raise ClientClosed
        head = await call.begin(self._request.headers.get("Accept"))
        self._status, fields = head.status, self._fields(head)
        if call.streaming:
            self._way_out.begin(head.status, fields)  # the client sees it before the first chunk
            await call.stream(self._way_out)
        else:
            await self._write_whole(fields, await call.whole())

    async def _write_whole(self, fields: list[tuple[str, str]], pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        if size <= SLICE:
            self._way_out.begin(self._status, fields, size=size, body=b"".join(pieces))
            return
        self._way_out.begin(self._status, fields, size=size)
        pieces.reverse()
        while pieces and not self._gone:
            self._way_out.put(pieces.pop())
            await self._way_out.drained()
            await asyncio.sleep(0)  # a client that reads as fast as this must not be the only one

    def _fields(self, head: Head) -> list[tuple[str, str]]:
        fields = response_headers(head.fields)
        if limits := self._limits():
            ours = {name.lower() for name, _ in limits}
            fields = [field for field in fields if field[0].lower() not in ours]
        return [("X-Agent-Request-Id", self._access.id_text), *fields, *RESPONSE_ADDED, *limits]

    def _limits(self) -> list[tuple[str, str]]:
        return [] if self._identity is None else self._relay.limits.headers(self._identity)

    def _fault(self, error: Exception) -> AgentError:
        log.error("a fault in %s", self._request.path, exc_info=error)
        return AgentError()

    def _fail(self, error: AgentError) -> None:
        if self._way_out.begun:
            self._access.fail(error)
            self._way_out.cut_off()
        else:
            self._write_error(error)

    def _write_error(self, error: AgentError) -> None:
        self._access.fail(error)
        self._status = error.status
        status, fields, body = render(error, self._access.id_text, ForwardedHandler.methods)
        fields = [field for field in (*fields, *self._limits()) if field[0] != "Content-Length"]
        self._way_out.begin(status, fields, size=len(body), body=body)

    async def _end(self) -> None:
        self._ended = True
        await self._way_out.end()
        self._log()

    def on_connection_close(self) -> None:
        """The client hung up."""
        if self._gone:
            return
        self._gone = True
        self._way_out.give_up()
        # A body that did not come whole goes now: connection and request are a circle, which is freed when it pleases.
        self._chunks.clear()
        if self._call is not None:
            self._call.client_left()
        if self._task is None:
            self._log()

    def _log(self) -> None:
        if self._logged:
            return
        self._logged = True
        words, row = "", self._call.row if self._call else None
        if row is not None:
            tokens = f"tokens={row.usage.input}+{row.usage.output}" if row.usage else "tokens=?"
            words = f"model={row.intent.model} state={row.state} {tokens} cost={row.cost:f}"
        self._access.log(self._request, ClientClosed.status if self._gone else self._status, words)
