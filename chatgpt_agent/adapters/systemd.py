"""Messages to systemd, which may have started this process (sd_notify(3), sd_watchdog_enabled(3))."""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """The datagram socket of the service manager. `address`: its path, or with an @ its abstract name; None: there is
    none, and messages go nowhere. `watchdog_seconds`: within which it wants to hear from the service again and again;
    None: never."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self.is_present = address is not None
        self.watchdog_seconds = watchdog_seconds
        self._unsent: dict[str, str] = {}  # the newest line of each name
        self._socket: socket.socket | None = None
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address or ""

    def send(self, *lines: str) -> None:
        """Sends lines such as `READY=1`. It never waits and never raises: what the socket does not take, because its
        queue is full or systemd starts again, goes out with the next message."""
        if not self.is_present:
            return
        for line in lines:
            name = line.partition("=")[0]
            self._unsent.pop(name, None)  # so that the lines are in the order of their news
            self._unsent[name] = line
        with contextlib.suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.sendto("\n".join(self._unsent.values()).encode(), self._address)
            self._unsent.clear()

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._socket.close()


def service_manager(environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
    """Returns the service manager that the environment names. The variables are removed: a process that this one starts
    is not the service."""
    address, microseconds, pid = (environ.pop(name, "") for name in VARIABLES)
    is_watched = microseconds.isdigit() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
    is_supported = address.startswith(("/", "@"))
    return ServiceManager(address if is_supported else None, int(microseconds) / 1e6 if is_watched else None)


def monotonic_microseconds() -> int:
    """Returns the time for MONOTONIC_USEC, by which systemd tells messages before a reload from those after it."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
