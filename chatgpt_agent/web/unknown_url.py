"""URLs without a handler: the answer names the one that was probably meant, such as with `/v1` in its place."""

import difflib
from collections.abc import Collection

from chatgpt_agent.core.errors import UnknownUrl
from chatgpt_agent.web.base import ApiHandler

MAX_SHOWN = 256  # characters of a path in the answer
SIMILARITY = 0.85  # of two paths, from 0 to 1: /v1/files is no misspelled /v1/models


class UnknownUrlHandler(ApiHandler):
    """Any URL that has no other handler. `paths`: those that have."""

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

    def initialize(self, paths: Collection[str] = ()) -> None:
        self._paths = paths

    def prepare(self) -> None:
        # `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7). A page sees the error of its request only if
        # its browser may make the request.
        preflight = self.cors is not None and self.cors.is_preflight(self.request.headers)
        if self.request.method == "OPTIONS" and (preflight or self.request.path == "*"):
            self.answer_options()
            return
        path = self.request.path[:MAX_SHOWN]
        meant = similar_path(path, self._paths)
        hint = f" Did you mean {meant}?" if meant else ""
        self.refuse(UnknownUrl(f"Unknown request URL: {self.request.method} {path}.{hint}"))


def similar_path(path: str, paths: Collection[str]) -> str | None:
    """Returns the path that was probably meant: the one that this one ends with, whatever is before it instead of
    `/v1`; or one that is spelled nearly the same."""
    plain = path.rstrip("/")
    for candidate in sorted(paths, key=len, reverse=True):
        if candidate.startswith("/v1/") and f"/{plain}".endswith(candidate.removeprefix("/v1")):
            return candidate
    return next(iter(difflib.get_close_matches(plain, paths, 1, SIMILARITY)), None)
