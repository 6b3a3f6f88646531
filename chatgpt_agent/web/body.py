"""Receives a request's body up to a limit, after the checks that need only the headers."""

import asyncio

from chatgpt_agent.core.errors import AgentError, RequestTooLarge
from chatgpt_agent.web.base import ApiHandler

LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024 * 1024


class BodyHandler(ApiHandler):
    """A handler with a request body. `refused`: the error has been sent, and the rest of the body is dropped."""

    max_body_size = 0  # bytes
    linger_bytes = LINGER_BYTES  # of a body that are read after its refusal

    def initialize(self) -> None:
        self.refused = False
        self.body = bytearray()
        self._received = 0

    def check_size(self) -> None:
        """Raises RequestTooLarge if the announced size of the body exceeds `max_body_size`."""
        length = self.request.headers.get("Content-Length", "0")
        # Python refuses to convert thousands of digits.
        if length.isdecimal() and (len(length) > 18 or int(length) > self.max_body_size):
            raise RequestTooLarge(self.max_body_size)

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self.refused:
            if self._received > self.linger_bytes:
                self.end_refusal()
        elif self._received > self.max_body_size:
            self.body.clear()
            self._received = 0
            self.refuse(RequestTooLarge(self.max_body_size))
        else:
            self.body += chunk

    def refuse(self, error: AgentError) -> None:
        """Answers with an error, and then reads and drops a part of the body: closing a connection with unread bytes
        resets it, and the reset may overtake the answer (RFC 9112 §9.6)."""
        self.refused = True
        self.write_agent_error(error)
        self.set_header("Connection", "close")
        headers = self.request.headers
        if "Expect" in headers or not ("Content-Length" in headers or "Transfer-Encoding" in headers):
            self.end_refusal()
        else:
            self.flush()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.end_refusal)

    def end_refusal(self) -> None:
        """Ends the answer and closes the connection, which Tornado would keep once the body has been read."""
        if not self._finished:
            stream = self.request.connection.stream  # type: ignore[union-attr]
            self.finish().add_done_callback(lambda _: stream.close())
