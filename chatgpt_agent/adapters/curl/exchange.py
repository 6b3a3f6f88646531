"""One POST to OpenAI as an ordered, back-pressured, abortable stream.

- A POST is never sent twice: libcurl would silently repeat it when a kept connection dies (curl#18417, open), which a
  proxy must not do (RFC 9112 §9.3.1).
- The transfer is paused while the client reads slowly, and can be aborted at any time.
"""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pycurl

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.driver import CurlDriver
from chatgpt_agent.adapters.curl.options import CurlOptions
from chatgpt_agent.core.errors import (
    AgentError,
    ProxyError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTruncated,
)

HIGH_WATER = 128 * 1024  # bytes that wait for the client before the transfer is paused; it costs memory four times
SEND_BYTES = 16 * 1024  # of a body that libcurl takes at a time: it holds as much for as long as an answer takes


class Head(msgspec.Struct, frozen=True):
    """The start of an answer: HTTP status and header fields in their order."""

    status: int
    fields: list[tuple[str, str]]

    def first(self, name: str) -> str | None:
        """The value of a field (name in lower case), or None."""
        return next((value for key, value in self.fields if key.lower() == name), None)


class UpstreamClient:
    """Sends requests to OpenAI. Lives as long as the process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._way = CurlOptions(config)
        self._transfers = CurlDriver(self._prepare, connections=config.max_concurrent_requests)
        self._running: set[Exchange] = set()
        self._closed = False

    @property
    def running(self) -> int:
        """Transfers that have not ended."""
        return len(self._running)

    def send(self, url: str, body: bytes, headers: list[tuple[str, str]]) -> "Exchange":
        """Begins to POST a body."""
        exchange = Exchange(self._config, self._way, self._transfers, self._running)
        exchange.begin(url, body, headers)
        return exchange

    def abort_all(self) -> None:
        """Ends every transfer now."""
        for exchange in list(self._running):
            exchange.abort()

    async def close(self) -> None:
        """Ends what runs and closes the connections."""
        if not self._closed:
            self._closed = True
            self.abort_all()
            self._transfers.close()

    def _prepare(self, curl: pycurl.Curl) -> None:
        self._way.apply(curl)
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, SEND_BYTES)
        curl.setopt(pycurl.SEEKFUNCTION, _refuse_to_seek)


class Exchange:
    """One request and its answer. Read `head`, then `read` until it returns nothing, or `pour` until all has come."""

    # A chunk finds what belongs to its stream far from the processor, so there is little of it, and in one place.
    __slots__ = (
        "__weakref__",
        "_body",
        "_config",
        "_curl",
        "_enough",
        "_failure",
        "_finished",
        "_first",
        "_head",
        "_last",
        "_lines",
        "_loop",
        "_more",
        "_paused",
        "_queued",
        "_running",
        "_status",
        "_take",
        "_told",
        "_total",
        "_transfers",
        "_waiter",
        "_watch",
        "_way",
        "sent",
    )

    def __init__(self, config: Config, way: CurlOptions, transfers: CurlDriver, running: "set[Exchange]") -> None:
        self._config = config
        self._way = way
        self._transfers = transfers
        self._running = running
        self._loop = asyncio.get_running_loop()
        # What has happened.
        self.sent = False  # whether libcurl took bytes of the body: from then on OpenAI may bill
        self._finished = False
        self._failure: AgentError | None = None
        self._last = self._loop.time()  # when the upstream was last heard of
        # The answer.
        self._body = memoryview(b"")
        self._head: Head | None = None
        self._status = 0
        self._lines: list[bytes] = []
        self._queued = 0  # bytes that wait for who reads
        self._first = b""  # the first of them: more come together only to who is slow
        self._more: list[bytes] = []
        self._total = 0
        self._paused = False
        # Between libcurl and who reads.
        self._curl: pycurl.Curl | None = None  # while it is ours
        self._told = False  # whether the transfers know that something has come
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None  # while whoever it is of waits
        self._enough = False
        self._watch: asyncio.TimerHandle | None = None

    def begin(self, url: str, body: bytes, headers: list[tuple[str, str]]) -> None:
        """Hands the request to libcurl."""
        self._body = memoryview(body)
        curl = self._transfers.handle()
        curl.setopt(pycurl.URL, url)
        # No `Expect: 100-continue`, for which libcurl waits a second where the server does not know it.
        curl.setopt(pycurl.HTTPHEADER, [*(_line(name, value) for name, value in headers), b"Expect:"])
        curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
        curl.setopt(pycurl.READFUNCTION, self._on_send)
        curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._on_chunk)
        self._running.add(self)
        self._curl = curl
        self._transfers.start(curl, self)
        self._watch = self._loop.call_later(self._config.first_byte_timeout, self._check_time)

    # The reader's side.

    async def head(self) -> Head:
        """Status and headers. Raises UpstreamError where none come."""
        while self._head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """What has come of the body since the last call, at least one byte; nothing at the clean end.
        Raises UpstreamError, or what `abort` was given, where there is no clean end."""
        while not self._queued:
            if self._is_over():
                return b""
            if not self._queued:
                await self._wait()
        return self._joined()

    async def pour(self, take: Callable[[bytes], bool]) -> bool:
        """Gives what comes of the body to `take`, what came in one turn of the loop in one piece. Returns
        False once `take` does, and True at the clean end; to be called again after the first. Raises as `read`."""
        # A stream's every chunk comes this way, which takes no task and no future.
        self._enough = False
        while True:
            if self._queued:
                if not take(self._joined()):
                    return False
            elif self._is_over():
                return True
            elif not self._queued:
                self._take = take
                await self._wait()
                if self._enough:
                    return False

    def abort(self, reason: AgentError | None = None) -> None:
        """Ends the transfer now; who reads it gets the reason."""
        if self._finished or self._failure is not None:
            return
        self._failure = reason or UpstreamTruncated("The agent ended the request.", sent=self.sent)
        if self._curl is not None:
            self._transfers.stop(self._curl)
        self._end()

    def _is_over(self) -> bool:
        """Whether the end has come. Lets what was paused go on. Raises the failure."""
        if self._paused and self._curl is not None:
            self._paused = False
            self._last = self._loop.time()
            with contextlib.suppress(pycurl.error):  # it failed while it was paused: on_end will say so
                self._curl.pause(pycurl.PAUSE_CONT)  # may call _on_chunk before it returns
            return False
        if self._failure is not None and not self._queued:
            raise self._failure
        return self._finished and not self._queued

    def _joined(self) -> bytes:
        first, self._first, self._queued = self._first, b"", 0
        if not self._more:
            return first
        joined = b"".join([first, *self._more])
        self._more.clear()
        return joined

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self._take = None

    def _wake(self) -> None:
        self._take = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # libcurl's side: it is at work, so these never raise and never call it.

    def _on_send(self, size: int) -> bytes:
        self.sent = True
        part = bytes(self._body[:size])
        self._body = self._body[size:]
        return part

    def _on_header(self, line: bytes) -> None:
        if self._head is not None:
            return  # a trailer
        if line.startswith(b"HTTP/"):  # once more after each 1xx
            words = line.split(None, 2)
            self._status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            self._lines.clear()
        elif line.strip():
            self._lines.append(line)
        elif self._status >= 200:
            self._last = self._loop.time()
            self._head = Head(self._status, [_field(line) for line in self._lines])
            if self._config.silence_timeout < self._config.first_byte_timeout and self._watch is not None:
                self._watch.cancel()  # from here on silence is what counts
                self._watch = self._loop.call_at(self._last + self._config.silence_timeout, self._check_time)
            self._wake()

    def _on_chunk(self, chunk: bytes) -> int:
        if self._queued >= HIGH_WATER:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)  # libcurl keeps this chunk and brings it again
        size = len(chunk)
        self._total += size
        if self._total > self._config.max_response_size:
            self._failure = self._failure or UpstreamInvalid("The answer is over the limit of size.", sent=True)
            return 0  # not the size: libcurl ends the transfer
        if self._queued:
            self._more.append(chunk)
        else:
            self._first = chunk
        self._queued += size
        if not self._told:
            self._told = True
            self._transfers.ready(self)
        return size

    # What the transfers say.

    def on_data(self, now: float) -> None:
        """Something has come of the body."""
        self._told = False
        self._last = now
        take = self._take
        if take is None or not self._queued:
            self._wake()
            return
        try:
            self._enough = not take(self._joined())
        except Exception as error:  # of whoever reads, who must hear of it
            if self._waiter is not None and not self._waiter.done():  # else what it took aborted it, which it is told
                self._waiter.set_exception(error)
        else:
            if self._enough or self._paused:
                self._wake()

    def on_end(self, code: int, message: str) -> None:
        """libcurl has ended it."""
        if code and self._failure is None:
            self._failure = self._way.error(code, message, sent=self.sent, answering=self._head is not None)
        elif self._head is None and self._failure is None:
            self._failure = UpstreamInvalid(sent=self.sent)
        self._end()

    def _end(self) -> None:
        self._curl = None
        self._finished = True
        self._body = memoryview(b"")
        if self._watch is not None:
            self._watch.cancel()
        self._running.discard(self)
        self._wake()

    # Time.

    def _check_time(self) -> None:
        """One timer a transfer, set again when it fires, because one for every chunk would cost more than the chunk."""
        limit = self._config.first_byte_timeout if self._head is None else self._config.silence_timeout
        now = self._loop.time()
        if self._paused:
            self._last = now  # it is we who do not listen
        if now - self._last >= limit:
            self.abort(UpstreamTimeout(sent=self.sent))
        else:
            self._watch = self._loop.call_at(self._last + limit, self._check_time)


def unusable(head: Head, *, has_proxy: bool) -> UpstreamError | None:
    """The error that a head is, where it cannot be relayed: a redirect, a status outside of HTTP, a proxy's 407."""
    if head.status == 407 and has_proxy:
        return ProxyError(sent=True)
    if not 200 <= head.status < 600 or 300 <= head.status < 400:
        return UpstreamInvalid(sent=True)
    return None


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}".encode("latin-1")
    assert len(line.splitlines()) == 1, "it would be two fields"
    return line


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").partition(":")
    return name.strip(), value.strip()


def _refuse_to_seek(_offset: int, _origin: int) -> int:
    return int(pycurl.SEEKFUNC_FAIL)
