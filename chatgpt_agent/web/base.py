"""What all handlers share: checks before the body is read, errors in OpenAI's envelope, one access line a request."""

import sys
import time
from typing import Any, cast

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.errors import (
    AgentError,
    InvalidRequest,
    MethodNotAllowed,
    UnknownUrl,
)
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.web.access_log import AccessLogEntry
from chatgpt_agent.web.client_connection import RequestConnection
from chatgpt_agent.web.client_stream import LINGER_BYTES_WITH_TOKEN, ClientStream
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.errors import http_date, render
from chatgpt_agent.web.request_head import has_body


# Without this, Tornado would read the whole body before it calls `prepare`.
@stream_request_body
class ApiHandler(RequestHandler):
    """A handler whose failures are AgentErrors. `methods`: those that its URL accepts."""

    methods: tuple[str, ...] = ("GET", "HEAD")
    quiet = False  # whether its access lines are written at DEBUG: probes come every second

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.access = AccessLogEntry()
        self.connection = cast(RequestConnection, request.connection)  # of this request
        self.stream: ClientStream = self.connection.stream  # the client's connection
        super().__init__(application, request, **kwargs)
        self.connection.on_fault = self.on_fault

    def clear(self) -> None:
        """As Tornado's, but with the two headers that all our answers have. Tornado formats the date for each answer,
        and adds Server and a Content-Type, which we would remove again."""
        self._headers = HTTPHeaders()
        self._headers["Date"] = http_date(int(time.time()))
        self._headers["X-Agent-Request-Id"] = self.access.id_text
        if self.cors is not None:
            self.cors.add_to(self._headers, self.request.headers.get("Origin"))
        self._write_buffer: list[bytes] = []
        self.set_status(200)

    @property
    def cors(self) -> Cors | None:
        """What pages of other origins may do; None: nothing."""
        cors: Cors | None = self.application.settings.get("cors")
        return cors if cors is not None and cors.origins else None

    def prepare(self) -> None:
        """Runs the checks that need no body. An error is answered before any of the body is read."""
        try:
            if self.request.method == "OPTIONS":
                self.answer_options()
                return
            if self.request.method not in self.methods:
                raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
            self.check()
        except AgentError as error:
            self.refuse(error)
        except Exception:
            self.log_exception(*sys.exc_info())
            self.refuse(AgentError())

    def answer_options(self) -> None:
        """Answers what this URL accepts (RFC 9110 §9.3.7), which needs no token."""
        self.quiet = True
        methods = ", ".join((*self.methods, "OPTIONS"))
        self.set_status(204)
        self.set_header("Allow", methods)
        if self.cors is not None:
            self.cors.add_preflight_to(self._headers, self.request.headers, methods)
        self._end()

    def check(self) -> None:
        """Checks the request's headers. Raises AgentError."""

    def identify(self, authenticator: Authenticator) -> Identity:
        """Returns the user and token of the request. Raises InvalidApiKey, RateLimited, DirectoryStale."""
        identity = authenticator.identify(self.request.headers, self.request.remote_ip)
        self.access.user, self.access.token_id = identity.user.name, identity.token.id
        self.stream.linger_bytes = LINGER_BYTES_WITH_TOKEN
        return identity

    def limit_headers(self) -> list[tuple[str, str]]:
        """The `x-ratelimit-*` header fields, once the token is known."""
        return []

    def log_status(self) -> int:
        """The status in the access line."""
        return self.get_status()

    def log_path(self) -> str:
        """The path in the access line, without ids of users' objects."""
        return self.request.path

    def log_row(self) -> Row | None:
        """The row of the request in the ledger, if it has one, for the access line."""
        return None

    def refuse(self, error: AgentError) -> None:
        """Answers with an error before the body is read. The connection ends, unless there is no body."""
        self.write_agent_error(error)
        self._end()

    def _end(self) -> None:
        if has_body(self.request.headers):
            self.announce_close()
        self.finish()

    def on_fault(self, error: AgentError) -> None:
        """Answers a request whose body cannot be received, unless it has an answer."""
        if not self._finished:
            self.refuse(error)

    def announce_close(self) -> None:
        """Lets the connection end with this answer, and tells the client."""
        self.request.headers.pop("Connection", None)  # otherwise Tornado promises HTTP/1.0 clients to keep it
        self.set_header("Connection", "close")
        self.connection.close_after_answer()

    def data_received(self, chunk: bytes) -> None:
        """Drops the body, unless a handler needs it."""

    def compute_etag(self) -> None:
        """None: the API's answers have no ETag, and are never 304."""

    def check_xsrf_cookie(self) -> None:
        """Passes: the API has tokens and no cookies."""

    def write_json(self, value: bytes, status: int = 200) -> None:
        """Sets a JSON answer."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(value)))
        self.write(value)

    def note_error(self, error: AgentError) -> None:
        """Notes the error that answers the request, for the access line and the metrics."""
        self.access.fail(error)
        if (on_error := self.application.settings.get("on_error")) is not None:
            on_error(error)

    def write_agent_error(self, error: AgentError) -> None:
        """Sets an error as the answer."""
        self.note_error(error)
        self.clear()
        status, fields, body = render(error, self.access.id_text, self.methods)
        self.set_status(status)
        for name, value in (*self.limit_headers(), *fields):
            self.set_header(name, value)
        self.write(body)

    # Tornado's own errors, and bugs.

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """As Tornado's, but an answer that has begun is cut off: if it were finished, it would look complete."""
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
        self.stream.cut_off()
        self.finish()

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        # Tornado logs its own refusals with query string and client address; the access line has neither.
        if not isinstance(value, AgentError) and not (isinstance(value, HTTPError) and value.status_code < 500):
            super().log_exception(kind, value, trace)


class TokenHandler(ApiHandler):
    """A handler for clients with a token; `identity` is set by `check`."""

    def set_services(self, authenticator: Authenticator, rate_limiter: RateLimiter) -> None:
        """For `initialize` of each handler, whose arguments are its route's."""
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self._identity: Identity | None = None

    def check(self) -> None:
        self._identity = self.identify(self._authenticator)

    @property
    def identity(self) -> Identity:
        """The user and token of the request."""
        assert self._identity is not None
        return self._identity

    def write_json(self, value: bytes, status: int = 200) -> None:
        """Sets a JSON answer, with what is left of the rate limits."""
        for name, text in self.limit_headers():
            self.set_header(name, text)
        super().write_json(value, status)

    def limit_headers(self) -> list[tuple[str, str]]:
        return [] if self._identity is None else self._rate_limiter.headers(self._identity)


def log_request(handler: RequestHandler) -> None:
    """Writes the access line of a request."""
    if isinstance(handler, ApiHandler):
        handler.access.log(
            handler.request.method, handler.log_path(), handler.log_status(), handler.log_row(), quiet=handler.quiet
        )
