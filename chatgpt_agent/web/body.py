"""Receives a request's body up to a limit, after the checks that need only the headers."""

from chatgpt_agent.core.errors import AgentError, RequestTooLarge
from chatgpt_agent.web.base import ApiHandler


class BodyHandler(ApiHandler):
    """A handler with a request body, in `chunks`. `refused`: the answer is an error, and the body is dropped."""

    def initialize(self) -> None:
        self.max_body_size = 0  # bytes
        self.refused = False
        self.chunks: list[bytes] = []
        self._received = 0

    def check_size(self) -> None:
        """Raises RequestTooLarge if Content-Length exceeds `max_body_size`. Chunks are checked as they come."""
        if int(self.request.headers.get("Content-Length", "0")) > self.max_body_size:
            raise RequestTooLarge(self.max_body_size)
        self.connection.max_body_size = self.max_body_size

    def data_received(self, chunk: bytes) -> None:
        if not self.refused:
            self.chunks.append(chunk)

    def take_body(self) -> bytes:
        """Returns the body and releases its chunks."""
        body = b"".join(self.chunks)
        self.chunks.clear()
        return body

    def refuse(self, error: AgentError) -> None:
        self.refused = True
        self.chunks.clear()
        super().refuse(error)
