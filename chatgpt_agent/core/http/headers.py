"""Which header fields pass the agent: an allow-list for each direction."""

import functools
import re
from collections.abc import Iterable

from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.multipart import parse_boundary
from chatgpt_agent.core.names import is_printable

MAX_ACCEPT = 256  # characters

_RESPONSE = frozenset(
    {
        "content-type",
        "content-encoding",
        "cache-control",
        "x-accel-buffering",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-request-id",
        "openai-processing-ms",
        "openai-version",
    }
)
_RATELIMIT = re.compile(r"x-ratelimit-[!#$%&'*+.^_`|~\w-]*", re.ASCII | re.IGNORECASE)  # a token, RFC 9110 §5.6.2

# No browser may treat a forwarded answer as a web page of ours, whatever its type.
RESPONSE_ADDED = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "sandbox"),
)

# Of a stream, unless OpenAI sends its own: no proxy or cache on the way should hold it back (nginx does by default:
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering).
STREAM_DEFAULTS = (
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


def check_request_media(content_type: str | None, content_encoding: str | None, endpoint: Endpoint = CHAT) -> None:
    """Raises UnsupportedMediaType (RFC 9110 §15.5.16) unless a body is uncompressed, and what the endpoint takes: JSON,
    or a form. A missing Content-Type counts as JSON."""
    if content_encoding and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding is not supported: send the body uncompressed.")
    if is_form(content_type, endpoint):
        parse_boundary(content_type or "")
    elif content_type and not _is_json(content_type):
        raise UnsupportedMediaType("The Content-Type must be application/json.")


def is_form(content_type: str | None, endpoint: Endpoint) -> bool:
    """Whether the body of a request is read as a form."""
    return endpoint.form and not (endpoint.form_or_json and content_type is not None and _is_json(content_type))


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def request_headers(
    *, accept: str | None, upstream_key: str, request_id: str, agent: str, content_type: str = "application/json"
) -> list[tuple[str, str]]:
    """Returns the header fields sent to OpenAI. Of the client's own only Accept passes, and the Content-Type of a form,
    for its boundary. Raises InvalidRequest."""
    if accept and not (is_printable(accept, MAX_ACCEPT) and accept.isascii()):
        raise InvalidRequest(f"The Accept header must have at most {MAX_ACCEPT} printable ASCII characters.")
    return [
        ("Authorization", f"Bearer {upstream_key}"),
        ("Content-Type", content_type),
        ("Accept", accept or "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", agent),
        ("X-Client-Request-Id", request_id),
    ]


def response_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns those of OpenAI's header fields that the client gets, unchanged, repeats included. A value with control
    characters is dropped, because it could split our own response."""
    return [(name, value) for name, value in fields if _may_pass(name) and value.isprintable()]


@functools.lru_cache(maxsize=256)  # the names are those of OpenAI's answers, the same in each
def _may_pass(name: str) -> bool:
    lower = name.lower()
    return lower in _RESPONSE or (lower.startswith("x-ratelimit-") and _RATELIMIT.fullmatch(name) is not None)
