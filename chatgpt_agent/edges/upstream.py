"""One POST to OpenAI as an ordered, back-pressured, abortable stream: pycurl under Tornado's AsyncHTTPClient.

What Tornado's client does not do is done in `prepare_curl_callback`, through pycurl's public calls:
- status and headers come before the body (since 6.5.9 `header_callback` may come after `streaming_callback`);
- the transfer is paused while the client reads slowly, and can be aborted at any time (tornado#3289, #157);
- a POST is never sent twice: libcurl would silently repeat it when a kept connection dies (curl#18417, open), which a
  proxy must not do (RFC 9112 §9.3.1);
- the proxy is what the configuration says, whatever http_proxy or no_proxy are in the environment.
"""

import asyncio
import collections
import contextlib
import logging
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import msgspec
import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from chatgpt_agent.core.errors import (
    AgentError,
    ProxyError,
    SetupError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamTls,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from chatgpt_agent.edges.config import Config

HIGH_WATER = 128 * 1024  # bytes that wait for the client before the transfer is paused; it costs memory four times
MIN_LIBCURL = (8, 23, 0)
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name

# At DEBUG this logger prints the Authorization header and the message.
logging.getLogger("tornado.curl_httpclient").setLevel(logging.WARNING)

_TLS = {
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_ENGINE_INITFAILED,
    pycurl.E_USE_SSL_FAILED,
}
_PROXY = {pycurl.E_COULDNT_RESOLVE_PROXY, 97}  # 97: CURLE_PROXY


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
        check_libcurl()
        self._config = config
        self._client = CurlAsyncHTTPClient(force_instance=True, max_clients=config.max_concurrent_requests)
        self._proxy = _Proxy.parse(config.openai_proxy)
        self._running: set[Exchange] = set()
        self._closed = False

    @property
    def running(self) -> int:
        """Transfers that have not ended."""
        return len(self._running)

    @property
    def full(self) -> bool:
        """Whether one more would wait in Tornado's queue, where no timeout runs."""
        return self.running >= self._config.max_concurrent_requests

    def send(self, url: str, body: bytes, headers: list[tuple[str, str]]) -> "Exchange":
        """Begins to POST a body."""
        exchange = Exchange(self._config, self._proxy, body, self._running.discard)
        self._running.add(exchange)
        exchange.begin(self._client, url, headers)
        return exchange

    def abort_all(self) -> None:
        """Ends every transfer now."""
        for exchange in list(self._running):
            exchange.abort()

    async def close(self) -> None:
        """Ends what runs and gives the handles back. A transfer that is still connecting looks at its abort only when
        its connect timeout ends, so it is not waited for longer than a moment."""
        if self._closed:
            return
        self._closed = True
        self.abort_all()
        for _ in range(20):
            if not self._running:
                break
            await asyncio.sleep(0.01)
        self._client.close()


class Exchange:
    """One request and its answer. Read `head`, then `read` until it returns nothing."""

    def __init__(
        self, config: Config, proxy: "_Proxy | None", body: bytes, ended: Callable[["Exchange"], None]
    ) -> None:
        self._config = config
        self._proxy = proxy
        self._body = memoryview(body)
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        # What has happened.
        self.sent = False  # whether libcurl took bytes of the body: from then on OpenAI may bill
        self._finished = False
        self._failure: AgentError | None = None
        self._last = self._loop.time()  # when the upstream was last heard of
        # The answer.
        self._head: Head | None = None
        self._status = 0
        self._lines: list[bytes] = []
        self._chunks: collections.deque[bytes] = collections.deque()
        self._queued = 0
        self._total = 0
        self._paused = False
        # Between libcurl and who reads.
        self._curl: pycurl.Curl | None = None
        self._fetch: asyncio.Future[HTTPResponse] | None = None
        self._wake = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None

    def begin(self, client: CurlAsyncHTTPClient, url: str, headers: list[tuple[str, str]]) -> None:
        """Hands the request to libcurl."""
        config = self._config
        request = HTTPRequest(
            url,
            method="POST",
            headers=HTTPHeaders(),
            body=b"",
            connect_timeout=config.connect_timeout,
            request_timeout=0,
            follow_redirects=False,
            decompress_response=False,
            ca_certs=str(config.openai_ca_file) if config.openai_ca_file else None,
            prepare_curl_callback=self._prepare,
        )
        for name, value in headers:
            request.headers.add(name, value)
        self._watch = self._loop.call_later(config.first_byte_timeout, self._check_time)
        self._fetch = client.fetch(request, raise_error=False)
        self._fetch.add_done_callback(self._on_end)

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
        while not self._chunks:
            if self._paused and (curl := self._handle()) is not None:
                self._paused = False
                self._last = self._loop.time()
                with contextlib.suppress(pycurl.error):  # it failed while it was paused: _on_end will say so
                    curl.pause(pycurl.PAUSE_CONT)  # may call _on_data before it returns
            elif self._failure is not None:
                raise self._failure
            elif self._finished:
                return b""
            else:
                await self._wait()
        chunks = b"".join(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
        self._chunks.clear()
        self._queued = 0
        return chunks

    def abort(self, reason: AgentError | None = None) -> None:
        """Ends the transfer now; who reads it gets the reason."""
        if self._finished or self._failure is not None:
            return
        self._failure = reason or UpstreamTruncated("The agent ended the request.", sent=self.sent)
        self._wake.set()
        curl = self._handle()
        if curl is None:
            return  # it is over, or still in Tornado's queue, where _prepare sees to it
        # libcurl asks this function whether to go on; changing the pause makes it ask now [0.4 ms].
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_: 1)
        curl.setopt(pycurl.NOPROGRESS, 0)
        with contextlib.suppress(pycurl.error):  # not connected yet: the connect timeout ends it
            curl.pause(pycurl.PAUSE_ALL)
            curl.pause(pycurl.PAUSE_CONT)

    def _handle(self) -> pycurl.Curl | None:
        """libcurl's handle while the transfer runs. When it ends, Tornado resolves the fetch and gives the handle to
        the next request at once, before `_on_end` is called: from then on it must not be touched."""
        return self._curl if self._fetch is not None and not self._fetch.done() else None

    async def _wait(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    # libcurl's side: called inside of socket_action, so these never raise and never call the client.

    def _prepare(self, curl: pycurl.Curl) -> None:
        if self._failure is not None:
            raise self._failure
        config = self._config
        self._curl = curl
        curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(self._body))
        curl.setopt(pycurl.READFUNCTION, self._on_send)
        curl.setopt(pycurl.SEEKFUNCTION, lambda *_: pycurl.SEEKFUNC_FAIL)
        curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._on_data)
        _set_way(curl, config, self._proxy)

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
            if self._watch is not None:  # from here on silence is what counts
                self._watch.cancel()
            self._watch = self._loop.call_at(self._last + self._config.silence_timeout, self._check_time)
            self._wake.set()

    def _on_data(self, chunk: bytes) -> int:
        if self._queued >= HIGH_WATER:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)  # libcurl keeps this chunk and brings it again
        size = len(chunk)
        self._total += size
        if self._total > self._config.max_response_size:
            self._failure = self._failure or UpstreamInvalid("The answer is over the limit of size.", sent=True)
            return 0  # not the size: libcurl ends the transfer
        self._chunks.append(chunk)
        self._queued += size
        self._last = self._loop.time()
        self._wake.set()
        return size

    def _on_end(self, fetch: "asyncio.Future[HTTPResponse]") -> None:
        self._curl = None
        self._finished = True
        if self._watch is not None:
            self._watch.cancel()
        error = fetch.exception()
        if error is not None and self._failure is None:
            self._failure = self._translate(error)
        elif self._head is None and self._failure is None:
            self._failure = UpstreamInvalid(sent=self.sent)
        self._ended(self)
        self._wake.set()

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

    def _translate(self, error: BaseException) -> AgentError:
        """libcurl's errors (https://curl.se/libcurl/c/libcurl-errors.html) as ours: the one place that does so."""
        if isinstance(error, AgentError):
            return error
        code = error.errno if isinstance(error, CurlError) else None
        if self._head is not None:
            return UpstreamTruncated(sent=True)
        if code in _PROXY or (self._proxy is not None and self._proxy.is_at_fault(code, str(error), self.sent)):
            return ProxyError(sent=self.sent)
        if code in _TLS:
            return UpstreamTls(sent=self.sent)
        return UpstreamLost(sent=True) if self.sent else UpstreamUnreachable(sent=False)


async def get(config: Config, url: str, headers: dict[str, str], *, timeout: float) -> tuple[int, bytes]:
    """One GET the way that requests to OpenAI go (proxy, CA, TLS, no redirects): its status and its body, up to
    `max_response_size`. For commands, which have no client of their own. Raises UpstreamError."""
    proxy = _Proxy.parse(config.openai_proxy)

    def prepare(curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.MAXFILESIZE, config.max_response_size)
        _set_way(curl, config, proxy)

    request = HTTPRequest(
        url,
        headers=headers,
        connect_timeout=config.connect_timeout,
        request_timeout=timeout,
        follow_redirects=False,
        decompress_response=False,
        ca_certs=str(config.openai_ca_file) if config.openai_ca_file else None,
        prepare_curl_callback=prepare,
    )
    check_libcurl()
    client = CurlAsyncHTTPClient(force_instance=True, max_clients=1)
    try:
        response = await client.fetch(request, raise_error=False)
    except HTTPClientError as error:
        raise _get_error(error, proxy) from None
    finally:
        client.close()
    if response.code == 407 and proxy is not None:
        raise ProxyError(sent=False)
    return response.code, response.body


def _get_error(error: HTTPClientError, proxy: "_Proxy | None") -> UpstreamError:
    code = error.errno if isinstance(error, CurlError) else None
    if code == pycurl.E_FILESIZE_EXCEEDED:
        return UpstreamInvalid("The answer is over the limit of size.", sent=False)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return UpstreamTimeout(sent=False)
    if code in _PROXY or (proxy is not None and proxy.is_at_fault(code, str(error), sent=False)):
        return ProxyError(sent=False)
    if code in _TLS:
        return UpstreamTls(sent=False)
    return UpstreamUnreachable(sent=False)


def _set_way(curl: pycurl.Curl, config: Config, proxy: "_Proxy | None") -> None:
    """What every transfer to OpenAI has in common."""
    curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.TCP_NODELAY, 1)
    curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
    version = pycurl.CURL_HTTP_VERSION_2TLS if config.openai_http_version == "2" else pycurl.CURL_HTTP_VERSION_1_1
    curl.setopt(pycurl.HTTP_VERSION, version)
    curl.setopt(pycurl.NOPROXY, "")
    if proxy is None:
        curl.setopt(pycurl.PROXY, "")
    else:
        proxy.apply(curl)


class _Proxy(msgspec.Struct, frozen=True):
    """`http://[user:password@]host:port`, taken apart."""

    url: str
    credentials: str | None

    @classmethod
    def parse(cls, text: str | None) -> "_Proxy | None":
        if text is None:
            return None
        url = urlsplit(text)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        credentials = None
        if url.username is not None:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        return cls(f"http://{host}:{url.port}", credentials)

    def apply(self, curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.PROXY, self.url)
        curl.setopt(pycurl.PROXYTYPE, pycurl.PROXYTYPE_HTTP)
        if self.credentials is not None:
            user, _, password = self.credentials.partition(":")
            curl.setopt(pycurl.PROXYUSERNAME, user)
            curl.setopt(pycurl.PROXYPASSWORD, password)
            curl.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)

    def is_at_fault(self, code: int | None, message: str, sent: bool) -> bool:
        """Whether an error is the proxy's: without a tunnel every connection is one to the proxy."""
        return not sent and (code == pycurl.E_COULDNT_CONNECT or "CONNECT" in message or "proxy" in message.lower())


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").partition(":")
    return name.strip(), value.strip()


def check_libcurl(version: str = pycurl.version_info()[1]) -> None:
    """Raises SetupError where libcurl is older than 8.23, which leaks credentials around proxies
    (CVE-2026-86413, CVE-2026-94266)."""
    parts = tuple(int(part) for part in version.split("-")[0].split(".")[:3] if part.isdigit())
    if parts < MIN_LIBCURL:
        raise SetupError(f"libcurl {version} is too old: pycurl must come with libcurl 8.23 or newer")


def unusable(head: Head, *, has_proxy: bool) -> UpstreamError | None:
    """The error that a head is, where it cannot be relayed: a redirect, a status outside of HTTP, a proxy's 407."""
    if head.status == 407 and has_proxy:
        return ProxyError(sent=True)
    if not 200 <= head.status < 600 or 300 <= head.status < 400:
        return UpstreamInvalid(sent=True)
    return None
