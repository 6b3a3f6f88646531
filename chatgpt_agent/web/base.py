"""What every handler of the API shares: a request id, OpenAI's error envelope, and one access line a request."""

import functools
import logging
import os
import sys
import time
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, format_timestamp
from tornado.web import Application, RequestHandler, stream_request_body

from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.errors import (
    AgentError,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    UnknownUrl,
)
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.web.errors import render

http_date = functools.lru_cache(maxsize=1)(format_timestamp)  # of a second (RFC 9110 §6.6.1)
access_log = logging.getLogger("chatgpt_agent.access")


class AccessLogEntry:
    """What is told of one request: its id, whose it is, and a line in the log."""

    __slots__ = ("began", "error_code", "id", "id_text", "refused_because", "who")

    def __init__(self) -> None:
        self.id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        self.id_text = str(self.id)
        self.began = time.monotonic()  # Tornado's request_time() goes backwards with the clock on the wall
        self.who = "-"
        self.error_code = ""
        self.refused_because = ""

    def fail(self, error: AgentError) -> None:
        """Keeps of an error what the log says of it."""
        self.error_code = error.code
        if isinstance(error, InvalidApiKey):
            self.refused_because = error.reason

    def log(self, request: HTTPServerRequest, status: int, words: str = "", *, quiet: bool = False) -> None:
        """Writes the line: no query string, no header, no body."""
        level = logging.DEBUG if quiet else logging.ERROR if status >= 500 else logging.INFO
        if not access_log.isEnabledFor(level):
            return
        line = (
            f"{request.method} {request.path} {status} {(time.monotonic() - self.began) * 1000:.1f}ms"
            f" id={self.id_text} user={self.who}"
        )
        if self.error_code:
            line = f"{line} error={self.error_code}"
        if self.refused_because:
            line = f"{line} ({self.refused_because})"
        access_log.log(level, "%s", f"{line} {words}" if words else line)


# Every handler takes its body in pieces: Tornado would else read all of it before the handler is asked at all.
@stream_request_body
class ApiHandler(RequestHandler):
    """A handler that fails with AgentError. `methods` are those that its route knows."""

    methods: tuple[str, ...] = ("GET", "HEAD")
    quiet = False  # what is asked every second is no news for the log

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.access = AccessLogEntry()
        super().__init__(application, request, **kwargs)

    def clear(self) -> None:
        """As Tornado's, but with the two headers that all our answers have. Tornado formats the date for each answer,
        and adds Server and a Content-Type, which we would remove again."""
        self._headers = HTTPHeaders()
        self._headers["Date"] = http_date(int(time.time()))
        self._headers["X-Agent-Request-Id"] = self.access.id_text
        self._write_buffer: list[bytes] = []
        self.set_status(200)

    def prepare(self) -> None:
        """The checks that need no body. Errors leave as the answer, before any of the body is read."""
        try:
            if self.request.method not in self.methods:
                raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
            self.check()
        except AgentError as error:
            self.refuse(error)
        except Exception:
            self.log_exception(*sys.exc_info())
            self.refuse(AgentError())

    def check(self) -> None:
        """What a handler asks of a request's headers."""

    def identify(self, authenticator: Authenticator) -> Identity:
        """Whose request this is. Raises InvalidApiKey, RateLimited, DirectoryStale."""
        identity = authenticator.identify(self.request.headers, self.request.remote_ip)
        self.access.who = identity.user.name
        return identity

    def limit_headers(self) -> list[tuple[str, str]]:
        """What an answer says of limits, where it is known whose they are."""
        return []

    def log_status(self) -> int:
        """The status in the access line."""
        return self.get_status()

    def log_details(self) -> str:
        """What the access line says at its end."""
        return ""

    def refuse(self, error: AgentError) -> None:
        """Answers with an error, before the body is read."""
        self.write_agent_error(error)
        self.finish()

    def data_received(self, chunk: bytes) -> None:
        """Nothing here wants a body."""

    def compute_etag(self) -> None:
        """No ETag, and so no 304, on an answer of the API."""

    def check_xsrf_cookie(self) -> None:
        """The API knows tokens and no cookies."""

    def write_json(self, value: bytes, status: int = 200) -> None:
        """Sets a JSON answer."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(value)))
        self.write(value)

    def write_agent_error(self, error: AgentError) -> None:
        """Sets an error as the answer."""
        self.access.fail(error)
        self.clear()
        status, fields, body = render(error, self.access.id_text, self.methods)
        self.set_status(status)
        for name, value in (*self.limit_headers(), *fields):
            self.set_header(name, value)
        self.write(body)

    # Tornado's own errors, and bugs.

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """As Tornado's, but an answer that has begun is cut off: finished cleanly, it would look complete."""
        if not self._headers_written:
            super().send_error(status_code, **kwargs)
        elif not self._finished:
            self.cut_off()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, AgentError):
            self.write_agent_error(error)
        elif status_code == 404:
            self.write_agent_error(UnknownUrl(f"Unknown request URL: {self.request.method} {self.request.path}."))
        elif status_code == 405:
            self.write_agent_error(MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here."))
        elif 400 <= status_code < 500:
            self.write_agent_error(InvalidRequest())
        else:
            self.write_agent_error(AgentError())
        self.finish()

    def cut_off(self) -> None:
        """Closes the connection in the middle of the answer, so that the client sees that it is not whole."""
        self.request.connection.stream.close()  # type: ignore[union-attr]
        self.finish()

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        if not isinstance(value, AgentError):
            super().log_exception(kind, value, trace)


class TokenHandler(ApiHandler):
    """A handler for whoever has a token, who is `identity` from `check` on."""

    def initialize(self, authenticator: Authenticator, rate_limiter: RateLimiter) -> None:
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self._known: Identity | None = None

    def check(self) -> None:
        self._known = self.identify(self._authenticator)

    @property
    def identity(self) -> Identity:
        """Whose request this is."""
        assert self._known is not None
        return self._known

    def write_json(self, value: bytes, status: int = 200) -> None:
        """As every JSON answer, and with what is left of the limits."""
        for name, text in self.limit_headers():
            self.set_header(name, text)
        super().write_json(value, status)

    def limit_headers(self) -> list[tuple[str, str]]:
        return [] if self._known is None else self._rate_limiter.headers(self._known)


def log_request(handler: RequestHandler) -> None:
    """Writes the access line of a request."""
    if isinstance(handler, ApiHandler):
        handler.access.log(handler.request, handler.log_status(), handler.log_details(), quiet=handler.quiet)


class UnknownUrlHandler(ApiHandler):
    """Whatever is not in the route table."""

    def prepare(self) -> None:
        self.refuse(UnknownUrl(f"Unknown request URL: {self.request.method} {self.request.path[:256]}."))
