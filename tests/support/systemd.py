"""The socket of a service manager, which keeps what it is sent."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


class NotifySocket:
    """A datagram socket at a path, or with an @ at an abstract name. `lines`: all that has been read."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def read(self) -> list[str]:
        """Reads what has come, and returns its lines."""
        begin = len(self.lines)
        while True:
            try:
                self.lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.lines[begin:]

    def next_within(self, seconds: float) -> bytes | None:
        """Waits for a message without giving the event loop a turn; None: there was none."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096)
        except TimeoutError:
            return None
        finally:
            self._socket.setblocking(False)

    async def line(self, text: str, *, after: int = 0) -> str:
        """Waits for a line that begins with a text, behind the first `after` lines, and returns it."""

        def search() -> str:
            self.read()
            return next((line for line in self.lines[after:] if line.startswith(text)), "")

        line: str = await until(search)
        return line

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


@contextmanager
def notify_socket(folder: Path) -> Iterator[NotifySocket]:
    """A socket in a folder."""
    listening = NotifySocket(str(folder / "notify"))
    try:
        yield listening
    finally:
        listening.close()
