"""Tornado's CurlAsyncHTTPClient with what this agent needs and Tornado's does not have.

For callers of `fetch`:

- `header_callback` and `streaming_callback` run inside libcurl, as the bytes arrive and in their order. (Tornado 6.6
  calls the first after the second where an answer is short.) They must neither raise nor call the client.
  `header_callback` gets lines as libcurl has them, as bytes.
  `streaming_callback` returns how many bytes it took, or `pycurl.WRITEFUNC_PAUSE` to pause the transfer.
  `response.headers` is empty: a caller reads them as they come.
- Cancelling the future of `fetch` ends the transfer (Tornado's goes on: tornado#157).
- A request is never sent twice: libcurl would silently repeat a POST when a kept connection dies (curl#18417, open),
  which a proxy must not do (RFC 9112 §9.3.1), and a DELETE, whose second answer would be a 404.
- A kept connection on which something has come since its last answer is not used (kept_connections.py), and only for
  requests of the same user with the same key (connection_pools.py).
- A request starts at once. Tornado queues those over `max_clients`, and no timeout runs there; our callers count.

What each override saves is in docs/performance.md. Those that save nothing measurable are here because of the first
list, or to keep the work of one request small in number of calls.
"""

import asyncio
import functools
import itertools
import operator
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from chatgpt_agent.adapters.curl.closing import close_multi
from chatgpt_agent.adapters.curl.connection_pools import ConnectionPools
from chatgpt_agent.adapters.curl.kept_connections import Address, KeptConnections

Respond = Callable[[HTTPResponse], None]

_NO_HEADERS = HTTPHeaders()  # of a response; one for all, because an empty one takes 1.3 µs to make
_RESYNC_MS = 1  # at least, before libcurl is asked again for a timeout that it has not acted on
# Attributes of an HTTPRequest that make a handle's settings; all others are set for each request.
_settings_of = operator.attrgetter(
    "method",
    "connect_timeout",
    "request_timeout",
    "follow_redirects",
    "max_redirects",
    "user_agent",
    "decompress_response",
    "proxy_host",
    "proxy_port",
    "proxy_username",
    "proxy_password",
    "proxy_auth_mode",
    "validate_cert",
    "ca_certs",
    "allow_ipv6",
    "client_key",
    "client_cert",
    "network_interface",
    "auth_username",
    "auth_password",
    "auth_mode",
)


class RequestSettings:
    """What requests of one method have in common. `arguments`: of Tornado's HTTPRequest. A handle that has them shows
    it by having the same object: to compare 21 attributes takes ten times as long."""

    def __init__(self, method: str, arguments: dict[str, Any]) -> None:
        self.attributes = vars(HTTPRequest("", method, **arguments))


class OwnedRequest(HTTPRequest):
    """A request of a user. Connections are kept for each owner and its key. `body`: None of a method without one;
    `read_body`: called by libcurl for its next bytes. `on_connection`, of a request without a body, is called when it
    has a connection, before anything is sent; `connection_reported`: whether it was."""

    def __init__(
        self,
        url: str,
        settings: RequestSettings,
        *,
        owner: int,
        headers: dict[str, str],
        body: bytes | None,
        read_body: Callable[[int], bytes],
        on_connection: Callable[[], None] | None = None,
    ) -> None:
        # Not HTTPRequest's own, whose 35 parameters take twice as long.
        self.__dict__.update(settings.attributes)
        self.start_time = time.time()
        self.url = url
        self.headers = headers
        if body is not None:
            self.body = body
        self.settings = settings
        self.owner = owner
        self.read_body = read_body
        self.connection_reported = False
        self._on_connection = on_connection

    def begin(self) -> None:
        """Notes that it has a connection."""
        if self._on_connection is not None:
            self.connection_reported = True
            self._on_connection()


class UpstreamHTTPClient(CurlAsyncHTTPClient):
    """One for each agent, made on its running loop: `UpstreamHTTPClient(force_instance=True, …)`."""

    def initialize(  # type: ignore[override]  # our arguments: Tornado makes none of these itself
        self,
        configure_handle: Callable[[pycurl.Curl], None],
        max_connections: int,
        max_idle: int,
        may_multiplex: bool,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        """`configure_handle` sets what all requests of this client have in common and Tornado's HTTPRequest has no
        attribute for; `may_multiplex`: it allows HTTP/2. Between requests at most about `max_connections` are kept
        open, those of a key without requests for `max_idle` to twice as many seconds."""
        self._configure_handle = configure_handle
        self._may_multiplex = may_multiplex
        self._loop = asyncio.get_running_loop()
        self._running: dict[pycurl.Curl, Respond] = {}
        self._starting: list[pycurl.Curl] = []  # those of them that are not libcurl's yet
        self._settings: dict[pycurl.Curl, RequestSettings | tuple[object, ...]] = {}
        self._kept = KeptConnections()
        self._pools = ConnectionPools(self._loop, max_idle=max_idle, max_connections=max_connections)
        self._stale: set[pycurl.Curl] = set()  # whose connection must not be used
        self._ending = False  # there are no more requests
        self._watched: dict[int, int] = {}  # POLL_IN and POLL_OUT of each socket
        self._timeout: asyncio.Handle | None = None
        super().initialize(max_clients=0, defaults=defaults)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def idle_handles(self) -> int:
        """Handles that wait for the next request."""
        return len(self._free_list)

    # One request.

    def fetch(
        self, request: str | HTTPRequest, raise_error: bool = True, **kwargs: Any
    ) -> "asyncio.Future[HTTPResponse]":
        """As Tornado's, but the request is used as it is (Tornado copies its headers and wraps it, because it changes
        them), and cancelling the future ends the transfer in the next iteration of the loop."""
        if self._closed:
            raise RuntimeError("fetch() called on closed AsyncHTTPClient")
        if not isinstance(request, HTTPRequest):
            request = HTTPRequest(request, **kwargs)
        future: asyncio.Future[HTTPResponse] = self._loop.create_future()
        respond = functools.partial(_resolve, future, raise_error)
        self.fetch_impl(request, respond)
        future.add_done_callback(functools.partial(self._end_cancelled, respond))
        return future

    def fetch_impl(self, request: HTTPRequest, callback: Respond) -> None:
        """Starts a request at once, on a handle that was used before where there is one."""
        curl = self._free_list.pop() if self._free_list else self._curl_create()
        try:
            self._curl_setup_request(curl, request, BytesIO(), _NO_HEADERS)
        except Exception as error:
            self._settings.pop(curl)
            self._curls.remove(curl)
            callback(HTTPResponse(request=request, code=599, error=error))
            return
        self._running[curl] = callback
        owner = request.owner if isinstance(request, OwnedRequest) else 0
        self._pools.enter(curl, (owner, request.headers.get("Authorization", "")))
        self._schedule_start(curl)

    def _schedule_start(self, curl: pycurl.Curl) -> None:
        """Starts a transfer with all others of this iteration of the loop, in a call to libcurl of their own. In the
        call in which another answer ends, libcurl would take its connection before we look at it; a call for each
        transfer would cost 30 µs (64 at once, alternating runs)."""
        if not self._starting:
            self._loop.call_soon(self._start)
        self._starting.append(curl)

    def _start(self) -> None:
        starting, self._starting = self._starting, []
        for curl in starting:
            self._multi.add_handle(curl)
        if starting:
            self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _curl_create(self) -> pycurl.Curl:
        curl = super()._curl_create()
        self._curls.append(curl)
        self._settings[curl] = ()
        return curl

    def _curl_setup_request(
        self, curl: pycurl.Curl, request: HTTPRequest, buffer: BytesIO, headers: HTTPHeaders
    ) -> None:
        """Tornado sets some 30 options for each request and resets them behind it: 7 % of a whole answer's CPU time. A
        handle that was used with the same settings keeps them here, and gets what belongs to this request alone."""
        settings = request.settings if isinstance(request, OwnedRequest) else _settings_of(request)
        if self._settings[curl] != settings:
            self._set_all_options(curl, request, buffer, headers)
            self._settings[curl] = settings
        curl.info = request, buffer
        curl.setopt(pycurl.URL, request.url)
        # No `Expect: 100-continue`, for which libcurl waits a second where the server does not know it.
        fields = request.headers
        pairs = fields.get_all() if isinstance(fields, HTTPHeaders) else fields.items()
        curl.setopt(pycurl.HTTPHEADER, [*itertools.starmap(_line, pairs), b"Expect:"])
        curl.setopt(pycurl.HEADERFUNCTION, request.header_callback or _ignore)
        curl.setopt(pycurl.WRITEFUNCTION, request.streaming_callback or buffer.write)
        if (body := request.body) is not None:
            curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
            read = request.read_body if isinstance(request, OwnedRequest) else BytesIO(body).read
            curl.setopt(pycurl.READFUNCTION, read)
        if request.prepare_curl_callback is not None:
            request.prepare_curl_callback(curl)

    def _set_all_options(self, curl: pycurl.Curl, request: HTTPRequest, buffer: BytesIO, headers: HTTPHeaders) -> None:
        for name, default in self.defaults.items():
            if getattr(request, name) is None:
                setattr(request, name, default)
        request.headers = HTTPHeaders(request.headers)
        curl.reset()
        curl.info = {}  # Tornado keeps its own streaming buffer there
        super()._curl_setup_request(curl, request, buffer, headers)
        curl.setopt(pycurl.SEEKFUNCTION, _refuse_to_seek)
        curl.setopt(pycurl.PREREQFUNCTION, functools.partial(self._before_request, curl))
        self._configure_handle(curl)

    def _finish(self, curl: pycurl.Curl, curl_error: int | None = None, curl_message: str | None = None) -> None:
        if curl in self._stale:
            self._stale.discard(curl)
            self._start_again(curl)
            return
        callback = self._running[curl]
        request, buffer = curl.info
        if not curl_error:
            self._kept.end(curl, tls=request.url.startswith("https:"))
        error = CurlError(curl_error, curl_message or "") if curl_error else None
        code = curl.getinfo(pycurl.HTTP_CODE) if error is None else error.code
        self._release(curl)
        buffer.seek(0)
        callback(HTTPResponse(request=request, code=code, headers=_NO_HEADERS, buffer=buffer, error=error))

    def _before_request(self, curl: pycurl.Curl, *addresses: str | int) -> int:
        # A connection is chosen, and nothing was sent on it yet (CURLOPT_PREREQFUNCTION).
        request, _ = curl.info
        if isinstance(request, OwnedRequest) and request.connection_reported:
            # libcurl repeats a request where a kept connection dies. To repeat one with a body it would have to rewind
            # the body, which `SEEKFUNCTION` refuses.
            return int(pycurl.PREREQFUNC_ABORT)
        if self._kept.begin(curl, cast(Address, addresses), may_multiplex=self._may_multiplex):
            if isinstance(request, OwnedRequest):
                request.begin()
            return int(pycurl.PREREQFUNC_OK)
        self._stale.add(curl)
        return int(pycurl.PREREQFUNC_ABORT)

    def _start_again(self, curl: pycurl.Curl) -> None:
        # Without this option libcurl keeps a connection of HTTP/2, with it, it closes that of a handle it removes.
        curl.setopt(pycurl.CONNECT_ONLY, 1)
        self._multi.remove_handle(curl)
        curl.setopt(pycurl.CONNECT_ONLY, 0)
        self._schedule_start(curl)

    def _end_cancelled(self, respond: Respond, future: "asyncio.Future[HTTPResponse]") -> None:
        if future.cancelled():
            for curl in [curl for curl, running in self._running.items() if running is respond]:
                self._release(curl)

    def _release(self, curl: pycurl.Curl) -> None:
        del self._running[curl]
        self._stale.discard(curl)
        if curl in self._starting:
            self._starting.remove(curl)
        else:
            self._multi.remove_handle(curl)
        self._kept.leave(curl)
        self._pools.leave(curl)
        # Nothing of the request stays: neither its key nor, through the callbacks, its body.
        curl.info = None
        curl.unsetopt(pycurl.HTTPHEADER)
        for function in (pycurl.READFUNCTION, pycurl.HEADERFUNCTION, pycurl.WRITEFUNCTION):
            curl.setopt(function, _ignore)
        self._free_list.append(curl)
        if self._ending and not self._running:
            self._loop.call_soon(self.close)  # not inside libcurl

    def close_when_idle(self) -> None:
        """Closes it when its last transfer has ended. There may be no further request."""
        self._ending = True
        if not self._running:
            self.close()

    def close(self) -> None:
        """Ends all transfers, whose futures stay as they are, and closes the connections."""
        if self._closed:
            return
        self._ending = False
        for curl in list(self._running):
            self._release(curl)
        self._cancel_timeout()
        self._pools.close()
        for fd in list(self._watched):
            self._watch(fd, 0)
        multi, self._multi = self._multi, pycurl.CurlMulti()
        super().close()
        close_multi(multi)

    # libcurl and the loop (https://curl.se/libcurl/c/libcurl-multi.html, "multi_socket").

    def _handle_socket(self, event: int, fd: int, multi: pycurl.CurlMulti, data: object) -> None:
        """Straight to asyncio's loop. Tornado removes and adds its handler of a socket for each change."""
        self._watch(fd, 0 if event == pycurl.POLL_REMOVE else event)

    def _watch(self, fd: int, events: int) -> None:
        changed = self._watched.get(fd, 0) ^ events
        # Added before anything is removed: the loop forgets a socket that has neither a reader nor a writer.
        if changed & events & pycurl.POLL_IN:
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        if changed & events & pycurl.POLL_OUT:
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        if changed & ~events & pycurl.POLL_IN:
            self._loop.remove_reader(fd)
        if changed & ~events & pycurl.POLL_OUT:
            self._loop.remove_writer(fd)
        if events:
            self._watched[fd] = events
        else:
            self._watched.pop(fd, None)

    def _set_timeout(self, msecs: int) -> None:
        """0, which libcurl sets for each request, is an iteration of the loop and no timer; -1 means no timeout."""
        self._cancel_timeout()
        if msecs == 0:  # not at once: libcurl is at work
            self._timeout = self._loop.call_soon(self._handle_timeout)
        elif msecs > 0:
            self._timeout = self._loop.call_later(msecs / 1000, self._handle_timeout)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _handle_timeout(self) -> None:
        self._timeout = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        # libcurl names a time once. The loop's clock may be a millisecond before its own: then it was asked too early.
        if self._timeout is None and not self._closed and (left := self._multi.timeout()) >= 0:
            self._set_timeout(max(left, _RESYNC_MS))

    def _act(self, fd: int, event: int) -> None:
        _, running = self._multi.socket_action(fd, event)
        if running < len(self._running) - len(self._starting):
            self._finish_pending_requests()


def _resolve(future: "asyncio.Future[HTTPResponse]", raise_error: bool, response: HTTPResponse) -> None:
    if future.cancelled():
        return
    error = response.error
    if error is not None and (raise_error or response.code == 599):  # Tornado's code for an error without a response
        future.set_exception(error)
    else:
        future.set_result(response)


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if "\n" in line or "\r" in line:
        raise ValueError(f"The header field {name} has a line break.")
    return line.encode("latin-1")


def _refuse_to_seek(_offset: int, _origin: int) -> int:
    return int(pycurl.SEEKFUNC_FAIL)


def _ignore(_: object) -> None:
    """In place of a callback of a request that is over."""
