"""Receives a request's body up to a limit, after the checks that need only the headers."""

import asyncio

from chatgpt_agent.core.errors import AgentError, RequestTooLarge
from chatgpt_agent.web.base import ApiHandler

MAX_LENGTH_DIGITS = 18  # of a Content-Length; Python refuses to convert thousands of digits
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024 * 1024


class BodyHandler(ApiHandler):
    """A handler with a request body, in `chunks`. `refused`: the error is sent, and the rest of the body is dropped."""

    linger_bytes = LINGER_BYTES  # of a refused body that are read

    def initialize(self) -> None:
        self.max_body_size = 0  # bytes
        self.refused = False
        self.chunks: list[bytes] = []
        self._received = 0

    def check_size(self) -> None:
        """Raises RequestTooLarge if Content-Length exceeds `max_body_size`."""
        length = self.request.headers.get("Content-Length", "")  # Tornado refuses what is not a number
        if length.isdecimal() and (len(length) > MAX_LENGTH_DIGITS or int(length) > self.max_body_size):
            raise RequestTooLarge(self.max_body_size)

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self.refused:
            if self._received > self.linger_bytes:
                self.end_refusal()
        elif self._received > self.max_body_size:
            self.chunks.clear()
            self._received = 0
            self.refuse(RequestTooLarge(self.max_body_size))
        else:
            self.chunks.append(chunk)

    def take_body(self) -> bytes:
        """Returns the body and releases its chunks."""
        body = b"".join(self.chunks)
        self.chunks.clear()
        return body

    def refuse(self, error: AgentError) -> None:
        """Answers with an error, and then reads and drops a part of the body: closing a connection with unread bytes
        resets it, and the reset may overtake the answer (RFC 9112 §9.6)."""
        self.refused = True
        self.write_agent_error(error)
        self.announce_close()
        headers = self.request.headers
        if "Expect" in headers or not ("Content-Length" in headers or "Transfer-Encoding" in headers):
            self.end_refusal()
        else:
            self.flush()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.end_refusal)

    def end_refusal(self) -> None:
        """Ends the answer and closes the connection."""
        if not self._finished:
            self.close_after(self.finish())

    def announce_close(self) -> None:
        """Tells the client that the connection ends with this answer."""
        self.request.headers.pop("Connection", None)  # otherwise Tornado promises HTTP/1.0 clients to keep it
        self.set_header("Connection", "close")

    def close_after(self, finished: "asyncio.Future[None]") -> None:
        """Closes the connection, which Tornado would keep once the body has been read, whatever the answer says."""
        stream = self.request.connection.stream  # type: ignore[union-attr]
        finished.add_done_callback(lambda _: stream.close())
