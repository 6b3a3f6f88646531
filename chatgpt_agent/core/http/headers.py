"""Which headers cross the agent. Both ways are allow-lists: what is not named here stays behind."""

import re
from collections.abc import Iterable

from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType
from chatgpt_agent.core.http.multipart import boundary_of

_RESPONSE = frozenset(
    {
        "content-type",
        "content-encoding",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-request-id",
        "openai-processing-ms",
        "openai-version",
    }
)
_RATELIMIT = re.compile(r"x-ratelimit-[!#$%&'*+.^_`|~\w-]*", re.ASCII | re.IGNORECASE)  # a token, RFC 9110 §5.6.2

# A relayed answer is never a web page of ours, whatever type it claims.
RESPONSE_ADDED = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "sandbox"),
)


def check_request_media(content_type: str | None, content_encoding: str | None, *, form: bool = False) -> None:
    """Refuses a body that is not plain JSON, or not a form: UnsupportedMediaType (RFC 9110 §15.5.16).
    No Content-Type at all counts as JSON."""
    if content_encoding and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("A Content-Encoding of the request body is not supported.")
    if form:
        boundary_of(content_type or "")
    elif content_type and content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("The Content-Type must be application/json.")


def request_headers(
    *, accept: str | None, upstream_key: str, request_id: str, agent: str, content_type: str = "application/json"
) -> list[tuple[str, str]]:
    """The header fields sent to OpenAI. Of the client's own only Accept crosses, and a form's Content-Type, in which
    its boundary is."""
    if accept and not (accept.isascii() and accept.isprintable() and len(accept) <= 256):
        raise InvalidRequest("The Accept header is not valid.")
    return [
        ("Authorization", f"Bearer {upstream_key}"),
        ("Content-Type", content_type),
        ("Accept", accept or "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", agent),
        ("X-Client-Request-Id", request_id),
    ]


def response_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of OpenAI's header fields that the client sees, as they came, repeats included.
    A value with control characters is dropped: it could split our own response."""
    return [(name, value) for name, value in fields if _may_pass(name) and value.isprintable()]


def _may_pass(name: str) -> bool:
    small = name.lower()
    return small in _RESPONSE or (small.startswith("x-ratelimit-") and _RATELIMIT.fullmatch(name) is not None)
