"""One line for each request in the log `chatgpt_agent.access`: no query string, no header, no body."""

import logging
import os
import time

from chatgpt_agent.adapters.logs import Fields, MessageWithFields
from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Row

access_log = logging.getLogger("chatgpt_agent.access")


class AccessLogEntry(MessageWithFields):
    """What the access line says of one request: its id, its user, and why it failed. It is the message of its log
    record: `str()` is the line as text, `fields` are those of the JSON object."""

    __slots__ = (
        "duration_ms",
        "error_code",
        "id",
        "id_text",
        "method",
        "path",
        "reason",
        "row",
        "started_at",
        "status",
        "token_id",
        "user",
    )

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

    def log(self, method: str | None, path: str, status: int, row: Row | None = None, *, quiet: bool = False) -> None:
        """Writes the line; `quiet`: at DEBUG. `row`: of the request in the ledger, if it has one."""
        level = logging.DEBUG if quiet else logging.ERROR if 500 <= status < 505 else logging.INFO
        if not access_log.isEnabledFor(level):
            return
        self.duration_ms = (time.monotonic() - self.started_at) * 1000
        self.method, self.path, self.status, self.row = method, path, status, row
        # Not `access_log.log`, whose further steps take a quarter of a line's time.
        access_log.handle(logging.LogRecord(access_log.name, level, "", 0, self, (), None))

    def __str__(self) -> str:
        line = f"{self.method} {self.path} {self.status} {self.duration_ms:.1f}ms id={self.id_text} user={self.user}"
        if self.token_id:
            line = f"{line} token={self.token_id}"
        if self.error_code:
            line = f"{line} error={self.error_code}"
        if self.reason:
            line = f"{line} ({self.reason})"
        row = self.row
        if row is None:
            return line
        tokens = f"tokens={row.usage.input}+{row.usage.output}" if row.usage else "tokens=?"
        return f"{line} model={row.intent.model or '-'} state={row.state} {tokens} cost={row.cost:f}"

    def fields(self) -> Fields:
        """The same as `str()` says, with the time to the first byte of OpenAI's answer; null is what is not known."""
        row = self.row
        usage = row.usage if row else None
        return {
            "message": f"{self.method} {self.path} {self.status}",
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "duration_ms": round(self.duration_ms, 1),
            "request_id": self.id_text,
            "user": None if self.user == "-" else self.user,
            "token_id": self.token_id or None,
            "error": self.error_code or None,
            "reason": self.reason or None,
            "model": row.intent.model or None if row else None,
            "streamed": row.intent.streamed if row else None,
            "state": row.state if row else None,
            "input_tokens": usage.input if usage else None,
            "output_tokens": usage.output if usage else None,
            "cost": f"{row.cost:f}" if row else None,  # in USD; a text, which no reader rounds
            "first_byte_ms": row.first_byte_ms if row else None,
        }
