"""Unix sockets that the agent listens on: their files, which a killed agent leaves behind."""

import socket
import stat
from pathlib import Path

from chatgpt_agent.core.errors import SetupError

PREFIX = "unix:"  # before the path, in an address of the configuration
MODE = 0o660  # the agent's account and its group may connect
MAX_PATH = 107  # bytes (unix(7))


class UnixSocket(socket.socket):
    """A socket that removes its file at its end, unless another one has taken the place of the file."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = Path(path)
        self._inode: int | None = None

    def listen_at_path(self, backlog: int) -> None:
        """Raises OSError, and SetupError where another process listens there or the file is no socket."""
        _remove_stale(self._path)
        self.bind(str(self._path))
        self._inode = self._path.stat().st_ino
        self._path.chmod(MODE)  # before `listen`, so that no other account can connect in between
        self.listen(backlog)

    def close(self) -> None:
        """Closes the socket and removes its file."""
        inode, self._inode = self._inode, None
        if inode is not None and _inode_of(self._path) == inode:
            self._path.unlink()
        super().close()


def path_of(address: str) -> str | None:
    """Returns the path in `unix:/path`; None: it is another address."""
    return address.removeprefix(PREFIX) if address.startswith(PREFIX) else None


def _remove_stale(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full
            pass
    raise SetupError(f"another process listens on {path}")


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
