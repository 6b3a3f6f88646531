"""One line for each request in the log `chatgpt_agent.access`: no query string, no header, no body."""

import logging
import os
import time

from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.core.ids import uuid7

access_log = logging.getLogger("chatgpt_agent.access")


class AccessLogEntry:
    """What the access line says of one request: its id, its user, and why it failed."""

    __slots__ = ("error_code", "id", "id_text", "reason", "started_at", "token_id", "user")

    def __init__(self) -> None:
        self.id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        self.id_text = str(self.id)
        self.started_at = time.monotonic()  # Tornado's request_time() follows the wall clock, which may be set back
        self.user = "-"
        self.token_id = 0  # unknown
        self.error_code = ""
        self.reason = ""

    def fail(self, error: AgentError) -> None:
        """Records the error that answers the request."""
        self.error_code = error.code
        self.reason = error.reason

    def log(self, method: str | None, path: str, status: int, details: str = "", *, quiet: bool = False) -> None:
        """Writes the line; `quiet`: at DEBUG. `details` go to its end."""
        level = logging.DEBUG if quiet else logging.ERROR if 500 <= status < 505 else logging.INFO
        if not access_log.isEnabledFor(level):
            return
        line = (
            f"{method} {path} {status} {(time.monotonic() - self.started_at) * 1000:.1f}ms"
            f" id={self.id_text} user={self.user}"
        )
        if self.token_id:
            line = f"{line} token={self.token_id}"
        if self.error_code:
            line = f"{line} error={self.error_code}"
        if self.reason:
            line = f"{line} ({self.reason})"
        access_log.log(level, f"{line} {details}" if details else line)
