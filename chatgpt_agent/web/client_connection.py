"""The requests of one connection, one after the other, for Tornado's handlers.

Tornado's own reader answers what is not HTTP with a bare 400, or a second time after its handler, and goes on with what
a closed connection has left in its buffer. That half is replaced, and the writing of heads: Tornado formats and checks
each line of an answer by itself, in 7 % of the instructions of a whole answer.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from tornado.concurrent import Future, future_add_done_callback
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters, HTTP1ServerConnection, parse_int
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError, UnsatisfiableReadError

from chatgpt_agent.core.errors import AgentError, HeadTooLarge, InvalidRequest, RequestTooLarge
from chatgpt_agent.web.bare_answer import write_bare_answer
from chatgpt_agent.web.client_stream import ClientStream
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.request_head import (
    check_head,
    has_body,
    keeps_connection,
    malformed,
    read_fields,
    read_start_line,
)

log = logging.getLogger(__name__)

OnError = Callable[[AgentError], None]  # called with the error of each request that reaches no handler

# Ends where Tornado's \r?\n\r?\n does, but begins with a character, which `re` finds faster: 0.2 and not 1.8 µs a head.
HEAD_END = rb"\n\r?\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestConnection(HTTP1Connection):
    """What a handler sees of its connection: one request, and the answer to it.

    A handler sets `on_fault`, which is called with the error if the body cannot be received, and `max_body_size`
    (bytes), over which the sizes of chunks may not add up."""

    stream: ClientStream
    max_body_size: int

    def __init__(
        self,
        stream: ClientStream,
        params: HTTP1ConnectionParameters,
        context: object,
        cors: Cors | None,
        on_error: OnError | None = None,
    ) -> None:
        super().__init__(stream, False, params, context)
        self._cors = cors
        self._on_error = on_error
        self.on_fault: Callable[[AgentError], None] | None = None
        self.max_body_size = self._max_body_size

    async def serve(self, delegate: HTTPMessageDelegate) -> bool:
        """Reads a request and waits for its answer. Returns whether another may follow. Raises StreamClosedError."""
        try:
            headers = await self._read_head()
            prepared = delegate.headers_received(cast(RequestStartLine, self._request_start_line), headers)
        except (AgentError, HTTPInputError, UnsatisfiableReadError) as error:
            self._refuse(_head_error(error))
            return False
        try:
            if prepared is not None:
                await prepared
            if not self._read_finished and not self._write_finished:
                await self._read_body_of(headers, delegate)
        except BaseException:
            delegate.on_connection_close()
            raise
        if not self._read_finished or self.stream.has_ended():  # refused, or the client has left
            delegate.on_connection_close()
        else:
            delegate.finish()
        return await self._wait_for_answer()

    async def _read_head(self) -> HTTPHeaders:
        head = await self.stream.read_until_regex(HEAD_END, max_bytes=self.params.max_header_size)
        self._request_start_line, lines = read_start_line(head)
        self._request_headers = headers = read_fields(lines)
        self._request_start_line = check_head(self._request_start_line, headers)
        self._disconnect_on_finish = not keeps_connection(self._request_start_line, headers)
        self._read_finished = not has_body(headers)
        self.stream.begin_request(headers.get_list("X-Forwarded-For"))
        return headers

    async def _read_body_of(self, headers: HTTPHeaders, delegate: HTTPMessageDelegate) -> None:
        if "Expect" in headers and headers["Expect"].lower() == "100-continue" and not self.stream.has_buffered():
            self.stream.write(CONTINUE)
        self._max_body_size = self.max_body_size
        try:
            await self._read_to_end(headers, delegate)
        except (AgentError, HTTPInputError, UnsatisfiableReadError) as error:
            if self.on_fault is not None:
                self.on_fault(self._body_error(error))
            if not self._write_finished:
                self.close()
        else:
            self._read_finished = not self._write_finished

    async def _read_to_end(self, headers: HTTPHeaders, delegate: HTTPMessageDelegate) -> None:
        # A body that has come with its head, as most do, needs neither a future nor the coroutines of Tornado's
        # `_read_body`.
        if "Content-Length" in headers:
            length = int(headers["Content-Length"])
            if length <= self._max_body_size and (data := self.stream.take_buffered(length)) is not None:
                delegate.data_received(data)
                return
        body = self._read_body(0, headers, delegate)
        assert body is not None
        await body

    async def _deliver_body(self, delegate: HTTPMessageDelegate, data: bytes) -> None:
        if not self._write_finished:
            delegate.data_received(data)

    async def _wait_for_answer(self) -> bool:
        if not self._finish_future.done():
            if self.stream.closed():
                self._on_connection_close()
                return False
            self.stream.set_close_callback(self._on_connection_close)
            await self._finish_future
        return not self.stream.closed()

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> "asyncio.Future[None]":
        """As Tornado's for servers, but the lines are formatted and checked all together."""
        assert isinstance(start_line, ResponseStartLine)
        assert self._request_start_line is not None
        assert self._request_headers is not None
        method, version, code = self._request_start_line.method, self._request_start_line.version, start_line.code
        length = headers["Content-Length"] if "Content-Length" in headers else None  # noqa: SIM401 - `get` is slow
        has_body = method != "HEAD" and code >= 200 and code not in (204, 304)
        self._response_start_line = start_line
        self._chunking_output = has_body and length is None and version == "HTTP/1.1"
        if version == "HTTP/1.1" and self._disconnect_on_finish:
            headers["Connection"] = "close"
        if version == "HTTP/1.0" and self._request_headers.get("Connection", "").lower() == "keep-alive":
            headers["Connection"] = "Keep-Alive"
        if self._chunking_output:
            headers["Transfer-Encoding"] = "chunked"
        self._expected_content_remaining = None if length is None else parse_int(length)
        if method == "HEAD" or code == 304:
            self._expected_content_remaining = 0
        lines = [f"HTTP/1.1 {code} {start_line.reason}", *[f"{name}: {value}" for name, value in headers.get_all()]]
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1:
            raise ValueError("A field of the answer has a line break.")
        if self.stream.closed():
            future: Future[None] = Future()
            future.set_exception(StreamClosedError())
            future.exception()
            return future
        data = f"{head}\r\n\r\n".encode("latin-1")
        self._pending_write = self.stream.write(data + self._format_chunk(chunk) if chunk else data)
        if self._pending_write.done() and self._pending_write.exception() is None:
            return self._pending_write  # nearly always; Tornado makes a second future, which the first one completes
        self._write_future = future = Future()
        future_add_done_callback(self._pending_write, self._on_write_complete)
        return future

    def _refuse(self, error: AgentError) -> None:
        """Answers a request that reaches no handler."""
        cors_headers = HTTPHeaders()
        if self._cors is not None and self._cors.origins:
            origin = self._request_headers.get("Origin") if self._request_headers else None
            self._cors.add_to(cors_headers, origin)
        write_bare_answer(self.stream, error, self._request_start_line, cors_headers)
        if self._on_error is not None:
            self._on_error(error)

    def _body_error(self, error: Exception) -> AgentError:
        if isinstance(error, AgentError):
            return error
        if isinstance(error, UnsatisfiableReadError):
            return InvalidRequest("The request is not valid HTTP: a line with the size of a chunk is too long.")
        if "too large" in str(error):  # by the sizes of its chunks
            return RequestTooLarge(self.max_body_size)
        return malformed(cast(HTTPInputError, error))

    def close_after_answer(self) -> None:
        """Lets the connection end with this answer."""
        self._disconnect_on_finish = True

    def close(self) -> None:
        """Closes the connection, after the answer; what the client still sends is dropped for a while."""
        self.stream.close_after_answer(unread=not self._read_finished)
        super().close()

    def _clear_callbacks(self) -> None:
        self.on_fault = None  # a cycle with the handler
        super()._clear_callbacks()


class ClientConnection(HTTP1ServerConnection):
    """One connection of a client."""

    stream: ClientStream

    def __init__(
        self,
        stream: ClientStream,
        params: HTTP1ConnectionParameters,
        context: object,
        cors: Cors | None,
        on_error: OnError | None = None,
    ) -> None:
        super().__init__(stream, params, context)
        self._cors = cors
        self._on_error = on_error

    async def _server_request_loop(self, delegate: HTTPServerConnectionDelegate) -> None:
        try:
            while not (self.stream.has_buffered() and self.stream.has_ended()):
                connection = RequestConnection(self.stream, self.params, self.context, self._cors, self._on_error)
                if not await connection.serve(delegate.start_request(self, connection)):
                    return
                if self.stream.has_buffered():  # else it waits for the client in any case
                    await asyncio.sleep(0)
        except (StreamClosedError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a request failed before its handler")
        finally:
            self.stream.close()
            delegate.on_close(self)


def _head_error(error: Exception) -> AgentError:
    if isinstance(error, AgentError):
        return error
    return HeadTooLarge() if isinstance(error, UnsatisfiableReadError) else malformed(cast(HTTPInputError, error))
