"""The one rendering of errors: OpenAI's error object, and header fields of our own
(docs/decisions/0002-errors-in-openais-format.md)."""

import functools
import math
from collections.abc import Iterable

from tornado.httputil import format_timestamp

from chatgpt_agent.core.errors import (
    AgentError,
    InvalidApiKey,
    MethodNotAllowed,
    RateLimited,
    TooManyConnections,
    Unavailable,
    UpgradeRequired,
)

Fields = list[tuple[str, str]]

PAGE_FIELDS = frozenset({"Retry-After", "Allow", "X-Agent-Error"})

http_date = functools.lru_cache(maxsize=1)(format_timestamp)  # of a second (RFC 9110 §6.6.1)


def render(error: AgentError, request_id: str, methods: Iterable[str]) -> tuple[int, Fields, bytes]:
    """Returns status, header fields and JSON body of an error. `methods`: those that the URL accepts."""
    body = error.envelope()
    fields = [
        ("X-Agent-Request-Id", request_id),
        ("X-Agent-Error", error.code),
        ("x-request-id", request_id),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    if error.retry is not None:
        fields.append(("x-should-retry", "true" if error.retry else "false"))
    if isinstance(error, Unavailable):
        fields.append(("Retry-After", "1"))
    elif isinstance(error, RateLimited | TooManyConnections):
        fields.append(("Retry-After", str(math.ceil(error.retry_after))))  # RFC 9110 §10.2.3: whole seconds
        fields.append(("Retry-After-Ms", str(math.ceil(error.retry_after * 1000))))
    elif isinstance(error, InvalidApiKey):
        fields.append(("WWW-Authenticate", "Bearer"))  # RFC 9110 §11.6.1
    elif isinstance(error, MethodNotAllowed):
        fields.append(("Allow", ", ".join(methods)))
    elif isinstance(error, UpgradeRequired):
        fields.append(("Upgrade", "HTTP/1.1"))  # RFC 9110 §15.5.22
    return error.status, fields, body


def page_fields(error: AgentError, methods: Iterable[str]) -> Fields:
    """Returns the header fields of an error whose body is a page."""
    return [(name, value) for name, value in render(error, "", methods)[1] if name in PAGE_FIELDS]
