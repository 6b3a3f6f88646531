"""One request to OpenAI as an ordered, back-pressured, abortable stream, through Tornado's AsyncHTTPClient.

The transfer is paused while the client reads slowly, and can be aborted at any time.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pycurl
from tornado.curl_httpclient import CurlError
from tornado.httpclient import HTTPResponse

from chatgpt_agent.adapters.curl.client import OwnedRequest
from chatgpt_agent.adapters.curl.errors import upstream_error
from chatgpt_agent.adapters.curl.head import Head, parse_field
from chatgpt_agent.core.errors import (
    AgentError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTruncated,
)

if TYPE_CHECKING:  # it imports this module
    from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient

HIGH_WATER = (
    128 * 1024
)  # bytes that wait for the client before the transfer is paused; each takes about four bytes of memory


class Exchange:
    """One request and its answer: read `head`, then `read` until it returns b"", or `stream_to` until it is True."""

    # Slots: a chunk costs less where what belongs to its stream is small and in one place.
    __slots__ = (
        "__weakref__",
        "_body",
        "_curl",
        "_failure",
        "_fetch",
        "_finished",
        "_head",
        "_last_heard",
        "_lines",
        "_loop",
        "_on_chunk",
        "_on_sent",
        "_paused",
        "_queue_head",
        "_queue_tail",
        "_request",
        "_sink_full",
        "_status",
        "_timeout",
        "_total",
        "_upstream",
        "_waiter",
        "queued",
        "sent",
        "settings",
    )

    def __init__(self, upstream: "UpstreamClient", on_sent: Callable[[], None]) -> None:
        self._upstream = upstream
        self._on_sent = on_sent
        self._loop = upstream.loop
        # State.
        self.settings = upstream.settings  # they may change for later requests
        self.sent = False  # whether libcurl took bytes of the body, or has a connection where there is none
        self._finished = False
        self._failure: BaseException | None = None
        self._last_heard = self._loop.time()
        # The answer.
        self._body = memoryview(b"")
        self._request: OwnedRequest | None = None  # which holds the body, until it is sent
        self._head: Head | None = None
        self._status = 0
        self._lines: list[bytes] = []
        self.queued = 0  # bytes that wait for the reader
        self._queue_head = b""  # the first chunk: there are more only for a reader that is slow
        self._queue_tail: list[bytes] = []
        self._total = 0
        self._paused = False
        # Between libcurl and the reader.
        self._fetch: asyncio.Future[HTTPResponse] | None = None  # until it is done
        self._curl: pycurl.Curl | None = None  # until then, too; the handle is used for other requests later
        self._waiter: asyncio.Future[None] | None = None
        self._on_chunk: Callable[[bytes], bool] | None = None  # the sink, while its owner waits in `stream_to`
        self._sink_full = False
        self._timeout: asyncio.TimerHandle | None = None

    def start(self, url: str, body: bytes, headers: list[tuple[str, str]], *, method: str, owner: int) -> None:
        """Hands the request to the HTTP client."""
        self._body = memoryview(body)
        upstream = self._upstream
        upstream.exchanges.add(self)
        request = OwnedRequest(
            url,
            upstream.requests_by[method],
            owner=owner,
            headers=dict(headers),
            body=body if method == "POST" else None,
            read_body=self._on_send,
            on_connection=None if body else self._on_connection,
        )
        request.header_callback = cast(Callable[[str], None], self._on_header)
        request.streaming_callback = cast(Callable[[bytes], None], self._on_data)
        request.prepare_curl_callback = self._on_start
        self._request = request
        self._fetch = upstream.http_client.fetch(request, raise_error=False)
        self._fetch.add_done_callback(self._on_done)
        self._timeout = self._loop.call_later(self.settings.first_byte_timeout, self._check_time)

    # For the reader.

    async def head(self) -> Head:
        """Status and headers. Raises UpstreamError where none come."""
        while self._head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """What has come of the body since the last call, at least one byte; nothing at the clean end.
        Raises UpstreamError, or the reason given to `abort`, where the answer is not complete."""
        while not self.queued:
            if self._is_over():
                return b""
            if not self.queued:
                await self._wait()
        return self._take_queue()

    async def stream_to(self, on_chunk: Callable[[bytes], bool]) -> bool:
        """Passes the body to `on_chunk` as it comes, what came in one iteration of the loop in one piece. Returns False
        once `on_chunk` does, and True at the clean end; to be called again after False. Raises as `read` does."""
        # Every chunk of a stream takes this path, which needs neither a task nor a future.
        self._sink_full = False
        while True:
            if self.queued:
                if not on_chunk(self._take_queue()):
                    return False
            elif self._is_over():
                return True
            elif not self.queued:
                self._on_chunk = on_chunk
                await self._wait()
                if self._sink_full:
                    return False

    def abort(self, reason: AgentError | None = None) -> None:
        """Ends the transfer now; its reader gets the reason."""
        if self._finished or self._failure is not None:
            return
        self._failure = reason or UpstreamTruncated("The agent ended the request.", sent=self.sent)
        if self._fetch is not None:
            self._fetch.cancel()
        self._end()

    def _is_over(self) -> bool:
        """Whether the end has come. Resumes a paused transfer. Raises the failure."""
        if self._paused and self._curl is not None:
            self._paused = False
            self._last_heard = self._loop.time()
            with contextlib.suppress(pycurl.error):  # it failed while it was paused: _on_done will be called
                self._curl.pause(pycurl.PAUSE_CONT)  # may call _on_data before it returns
            return False
        if self._failure is not None and not self.queued:
            raise self._failure
        return self._finished and not self.queued

    def _take_queue(self) -> bytes:
        first, self._queue_head, self.queued = self._queue_head, b"", 0
        if not self._queue_tail:
            return first
        joined = b"".join([first, *self._queue_tail])
        self._queue_tail.clear()
        return joined

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self._on_chunk = None

    def _wake(self) -> None:
        self._on_chunk = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def deliver(self, now: float) -> None:
        """Passes what has come to the sink, or wakes the reader. `now`: seconds on the loop's clock."""
        self._last_heard = now
        on_chunk = self._on_chunk
        if on_chunk is None:
            self._wake()
            return
        if not self.queued:
            return
        try:
            self._sink_full = not on_chunk(self._take_queue())
        except Exception as error:  # of the sink: it is raised to its owner, who waits in stream_to
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
        else:
            if self._sink_full or self._paused:
                self._wake()

    # Callbacks of the HTTP client. Those that libcurl calls must not raise, and must not call libcurl.

    def _on_start(self, curl: pycurl.Curl) -> None:
        self._curl = curl

    def _on_connection(self) -> None:  # called by libcurl
        self.sent = True  # without a body nothing else tells
        self._on_sent()

    def _on_send(self, size: int) -> bytes:  # called by libcurl
        self.sent = True
        part = bytes(self._body[:size])
        self._body = self._body[size:]
        if not self._body:  # it is never sent again, and an answer may take minutes
            self._drop_body()
            self._on_sent()
        return part

    def _drop_body(self) -> None:
        self._body = memoryview(b"")
        if self._request is not None:
            self._request.body, self._request = b"", None

    def _on_header(self, line: bytes) -> None:  # called by libcurl
        if self._head is not None:
            return  # a trailer
        if line.startswith(b"HTTP/"):  # again after each 1xx
            parts = line.split(None, 2)
            self._status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
            self._lines.clear()
        elif line.strip():
            self._lines.append(line)
        elif self._status >= 200:
            self._last_heard = self._loop.time()
            self._head = Head(self._status, [parse_field(line) for line in self._lines])
            settings = self.settings
            if settings.silence_timeout < settings.first_byte_timeout and self._timeout is not None:
                self._timeout.cancel()  # from here on the limit is the one of silence
                self._timeout = self._loop.call_at(self._last_heard + settings.silence_timeout, self._check_time)
            self._upstream.schedule_delivery(self)  # not at once: when the reader wakes, a small answer is all there

    def _on_data(self, chunk: bytes) -> int:  # called by libcurl
        if self.queued >= HIGH_WATER:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)  # libcurl keeps this chunk and brings it again
        size = len(chunk)
        self._total += size
        if self._finished or self._total > self.settings.max_response_size:
            self._failure = self._failure or self._too_large()
            return 0  # not the size: libcurl ends the transfer
        if self.queued:
            self._queue_tail.append(chunk)
        else:
            self._queue_head = chunk
        self.queued += size
        self._upstream.schedule_delivery(self)
        return size

    def _too_large(self) -> UpstreamInvalid:
        limit = self.settings.max_response_size
        cause = f"the answer is larger than max_response_size, {limit} bytes"
        return UpstreamInvalid("The answer is over the limit of size.", sent=True, cause=cause)

    def _on_done(self, fetch: "asyncio.Future[HTTPResponse]") -> None:
        self._fetch = None  # the response holds the request, and the request this exchange: a reference cycle
        if self._finished:
            return  # aborted
        error = fetch.exception()
        if self._failure is None:
            if isinstance(error, CurlError):
                has_proxy, answering = self.settings.proxy is not None, self._head is not None
                self._failure = upstream_error(error, sent=self.sent, answering=answering, has_proxy=has_proxy)
            else:
                self._failure = error or (
                    None if self._head else UpstreamInvalid(sent=self.sent, cause="the answer has no head")
                )
        self._end()

    def _end(self) -> None:
        self._curl = None
        self._finished = True
        self._drop_body()
        if self._timeout is not None:
            self._timeout.cancel()
        self._upstream.exchanges.discard(self)
        self._wake()

    # Time.

    def _check_time(self) -> None:
        """One timer for each exchange, which is set again when it fires: one for each chunk would cost more than the
        chunk."""
        settings = self.settings
        limit = settings.first_byte_timeout if self._head is None else settings.silence_timeout
        now = self._loop.time()
        if self._paused:
            self._last_heard = now  # paused by us: this is not the upstream's silence
        if now - self._last_heard >= limit:
            part = "no answer" if self._head is None else "nothing more of the answer"
            self.abort(UpstreamTimeout(sent=self.sent, cause=f"{part} for {limit:g} s"))
        else:
            self._timeout = self._loop.call_at(self._last_heard + limit, self._check_time)
