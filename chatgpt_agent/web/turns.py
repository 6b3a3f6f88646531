"""A handler of pages, which wait for their turn while clients' requests are in progress."""

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from chatgpt_agent.core.errors import AgentError, ClientClosed
from chatgpt_agent.runtime.page_brake import PageBrake, Turn
from chatgpt_agent.web.body import BodyHandler


class TurnHandler(BodyHandler):
    """A handler whose answers may wait."""

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self._turn: tuple[PageBrake, Turn] | None = None
        super().__init__(application, request, **kwargs)

    async def wait_for_turn(self, brake: PageBrake, owner: str) -> bool:
        """Waits until a page may begin. Returns whether that took any time. Raises Overloaded; ClientClosed if the
        client disconnects meanwhile."""
        turn = brake.turn(owner)
        waits = not turn.done()
        self._turn = brake, turn
        if not await turn:
            raise ClientClosed
        return waits

    def on_connection_close(self) -> None:
        """The client has left: a page that waits is not made."""
        super().on_connection_close()
        if self._turn is not None:
            brake, turn = self._turn
            brake.leave(turn)

    def note_disconnect(self, error: AgentError) -> None:
        """Notes for the access line that there is no client to answer."""
        self.access.fail(error)
        self.set_status(error.status)
