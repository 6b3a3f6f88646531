"""Receives a request's body up to a limit, after the checks that need only the headers."""

from io import BytesIO
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from chatgpt_agent.core.errors import AgentError, MemoryFull, RequestTooLarge
from chatgpt_agent.runtime.memory import Share
from chatgpt_agent.web.base import ApiHandler


class BodyHandler(ApiHandler):
    """A handler with a request body. `refused`: the answer is an error, and the body is dropped."""

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.max_body_size = 0  # bytes
        self.refused = False
        self.received = 0  # bytes
        self.share: Share | None = None  # what the body takes of the memory for all bodies, once the client is known
        self._body = BytesIO()  # it grows without being copied, and gives its content without a copy
        super().__init__(application, request, **kwargs)

    def reserve_body(self, share: Share) -> None:
        """Takes room for the body by its Content-Length; chunks are checked and take room as they come. Raises
        RequestTooLarge if it exceeds `max_body_size`, MemoryFull."""
        self.share = share
        length = int(self.request.headers.get("Content-Length", "0"))
        if length > self.max_body_size:
            raise RequestTooLarge(self.max_body_size)
        self.connection.max_body_size = self.max_body_size
        if not share.grow(length):
            raise MemoryFull

    def data_received(self, chunk: bytes) -> None:
        if self.refused or self.share is None:
            return
        self.received += len(chunk)
        try:
            if self.received > self.share.size and not self.share.resize(self.received):
                raise MemoryError
            self._body.write(chunk)
        except MemoryError:  # of the share of this request, or of the system
            self.refuse(MemoryFull())

    def take_body(self) -> bytes:
        """Returns the body, which is not held here any more."""
        body = self._body.getvalue()
        self._body = BytesIO()
        return body

    def drop_body(self) -> None:
        """Gives back what the body takes of memory."""
        self._body = BytesIO()
        if self.share is not None:
            self.share.release()

    def on_finish(self) -> None:
        self.drop_body()

    def on_connection_close(self) -> None:
        """The client has left, perhaps in the middle of its body."""
        super().on_connection_close()
        self.drop_body()

    def refuse(self, error: AgentError) -> None:
        self.refused = True
        self.drop_body()
        super().refuse(error)
