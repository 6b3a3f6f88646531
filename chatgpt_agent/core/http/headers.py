"""Which header fields pass the agent: an allow-list for each direction."""

import functools
import re
from collections.abc import Iterable, Mapping

from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.multipart import parse_boundary
from chatgpt_agent.core.names import is_printable

MAX_ACCEPT = 256  # characters
MAX_VALUE = 8192  # characters of another field of the client

# OpenAI uses these to route a request to the machine that has its conversation in the cache, and to read the body as
# Codex intends (docs/codex.md). They hold ids, names of features and a state of OpenAI's own. X-Codex-Turn-Metadata,
# which names folders and repositories, does not pass.
_REQUEST = frozenset(
    {
        "session-id",
        "session_id",  # of older versions, as the next
        "conversation_id",
        "thread-id",
        "x-codex-window-id",
        "x-codex-turn-state",
        "x-codex-beta-features",
        "x-openai-internal-codex-responses-lite",
    }
)
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
        "openai-model",
        "x-codex-turn-state",  # sent back with the next request of the turn
        "x-reasoning-included",
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
    *,
    client: Mapping[str, str],
    upstream_key: str,
    request_id: str,
    agent: str,
    content_type: str = "application/json",
    trace: Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Returns the header fields sent to OpenAI. Of the client's own fields, only these are forwarded: Accept, those in
    `_REQUEST`, and the Content-Type of a form, for its boundary. `trace`: the fields that name the agent's own span; a
    client's traceparent never passes as it is. Raises InvalidRequest."""
    accept = client.get("Accept")
    if accept:
        _check_value("Accept", accept, MAX_ACCEPT)
    # The names first: few requests have any of these fields, and a look at a value takes much longer.
    forwarded = [(lower, client[name]) for name in client if (lower := name.lower()) in _REQUEST]
    for name, value in forwarded:
        _check_value(name, value or "-", MAX_VALUE)
    return [
        ("Authorization", f"Bearer {upstream_key}"),
        ("Content-Type", content_type),
        ("Accept", accept or "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", agent),
        ("X-Client-Request-Id", request_id),
        *((name, value) for name, value in forwarded if value),
        *trace,
    ]


def _check_value(name: str, value: str, limit: int) -> None:
    if not (is_printable(value, limit) and value.isascii()):
        raise InvalidRequest(f"The {name} header must have at most {limit} printable ASCII characters.")


def response_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns those of OpenAI's header fields that the client gets, unchanged, repeats included. A value with control
    characters is dropped, because it could split our own response."""
    return [(name, value) for name, value in fields if _may_pass(name) and value.isprintable()]


@functools.lru_cache(maxsize=256)  # the names are those of OpenAI's answers, the same in each
def _may_pass(name: str) -> bool:
    lower = name.lower()
    return lower in _RESPONSE or (lower.startswith("x-ratelimit-") and _RATELIMIT.fullmatch(name) is not None)
