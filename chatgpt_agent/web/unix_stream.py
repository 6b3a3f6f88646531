"""A client's connection through a Unix socket, which has no address and none of TCP's options."""

import select
import socket

from chatgpt_agent.web.client_stream import ClientStream


class UnixStream(ClientStream):
    """As ClientStream."""

    def _set_options(self, connection: socket.socket) -> None:
        self._ends = select.poll()
        self._ends.register(connection, select.POLLRDHUP)

    def has_ended(self) -> bool:
        if not self.closed() and self._ends.poll(0):
            self.close()
        return self.closed()
