"""Lets web pages of other origins use the API from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

import re
from collections.abc import Collection

from tornado.httputil import HTTPHeaders

MAX_AGE = "7200"  # seconds for which a browser need not ask again; Chromium's limit
ANY = "*"

# What a page may read of an answer, beside its status and body.
_EXPOSED = ", ".join(
    (
        "x-request-id",
        "x-agent-request-id",
        "x-agent-error",
        "x-should-retry",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        "openai-processing-ms",
        "openai-version",
    )
)
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: *, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")  # tokens, RFC 9110 §5.6.2
_MAX_NAMES = 4096  # characters


class Cors:
    """`origins`: those whose pages have access; `*` is any.

    Cookies play no part, so `*` gives a page no more than it has with the token that it sends."""

    def __init__(self, origins: Collection[str]) -> None:
        self.set_origins(origins)

    def set_origins(self, origins: Collection[str]) -> None:
        """Gives access to pages of these origins from now on."""
        self.origins = frozenset(origin.lower() for origin in origins)

    def allows(self, origin: str | None) -> bool:
        """Whether pages of an origin have access."""
        return ANY in self.origins or (origin is not None and origin.lower() in self.origins)

    def is_preflight(self, request: HTTPHeaders) -> bool:
        """Whether a browser asks with OPTIONS for a page that has access."""
        return "Access-Control-Request-Method" in request and self.allows(request.get("Origin"))

    def add_to(self, headers: HTTPHeaders, origin: str | None) -> None:
        """Adds the fields of any answer to a page of this origin."""
        if ANY not in self.origins:
            headers["Vary"] = "Origin"
        if self.allows(origin):
            headers["Access-Control-Allow-Origin"] = ANY if ANY in self.origins else str(origin)
            headers["Access-Control-Expose-Headers"] = _EXPOSED

    def add_preflight_to(self, headers: HTTPHeaders, request: HTTPHeaders, methods: str) -> None:
        """Adds the fields that answer a browser which asks what a page may send."""
        if not self.is_preflight(request):
            return
        headers["Access-Control-Allow-Methods"] = methods
        headers["Access-Control-Max-Age"] = MAX_AGE
        names = request.get("Access-Control-Request-Headers", "").strip()
        if len(names) <= _MAX_NAMES and _NAMES.fullmatch(names):  # any may be sent: SDKs have many, which we ignore
            headers["Access-Control-Allow-Headers"] = names
