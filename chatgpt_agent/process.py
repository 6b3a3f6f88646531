"""What belongs to the process: signals, ports, open files, garbage collection and the event loop."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chatgpt_agent.core.errors import SetupError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Their default ends the process. They come from closed terminals, from tools that rotate logs or want a reload.
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = STOP_SIGNALS + IGNORED_SIGNALS
ADMIN_CONNECTIONS = 16
BACKLOG = 1024  # connections that wait to be accepted; a burst of clients is more than the usual 128
RESERVED_FILES = 56  # open without any client, including the few that migrating and shipping open

# Allocations before a collection. Python's default of 700 is reached every second request, and nearly all requests
# leave no reference cycle behind. The few cycles that a connection leaves wait longer.
GC_THRESHOLDS = (10_000, 10, 10)


def prepare() -> None:
    """Sets up the process before the embedded database and the event loop are started."""
    raise_file_limit()
    gc.set_threshold(*GC_THRESHOLDS)
    # Signals stay pending until `handle_signals`, and after it: an embedded database that is being started or stopped
    # would be left running.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def freeze_objects() -> None:
    """Exempts all present objects from collection: scanning them held the event loop for 25 ms each time."""
    gc.freeze()


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """The event loop's class; None: asyncio's default."""
    # With io_uring, libuv registers sockets with the kernel at a cost of 5 to 7 % of a chunk (uvloop 0.23).
    os.environ.setdefault("UV_USE_IO_URING", "0")
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.Loop  # a sixth less CPU than asyncio's own, measured


# Signals.


@contextlib.contextmanager
def handle_signals(on_stop: Callable[[str], None], on_ignored: Callable[[str], None]) -> Iterator[None]:
    """Calls these with the name of each signal, including one that is pending, until the context ends."""
    loop = asyncio.get_running_loop()
    for number in filter(_is_wanted, SIGNALS):
        loop.add_signal_handler(number, on_stop if number in STOP_SIGNALS else on_ignored, number.name)
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_wanted(number: signal.Signals) -> bool:
    """Whether a signal is handled: a shell starts jobs in the background with SIGINT ignored."""
    return signal.getsignal(number) is not signal.SIG_IGN


# Ports.


def bind(key: str, port: int, addresses: Sequence[str]) -> list[socket.socket]:
    """Returns sockets that listen on a port of each address, of both families where a name has both. `::` alone is
    every address of both families; beside an IPv4 address it is IPv6 alone. `key` is the port's name in the
    configuration. Raises SetupError."""
    sockets: list[socket.socket] = []
    for family, where in _resolve(key, addresses):
        chosen = sockets[0].getsockname()[1] if sockets else port  # port 0: one free port for all
        try:
            sockets.append(_listen(family, (where[0], chosen, *where[2:]), both=len(addresses) == 1))
        except OSError as error:
            for listening in sockets:
                listening.close()
            host = show_address(where[0])
            raise SetupError(f"{key}: cannot listen on {host}:{port}: {error.strerror}") from None
    return sockets


def show_address(host: str) -> str:
    """Returns an address as URLs have it (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _resolve(key: str, addresses: Sequence[str]) -> list[tuple[int, tuple[Any, ...]]]:
    """Returns family and socket address of each, once. Raises SetupError."""
    resolved: dict[tuple[int, tuple[Any, ...]], None] = {}
    for address in addresses:
        try:
            entries = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a host name"
            raise SetupError(f"{key}: cannot listen on {address}: {reason}") from None
        resolved |= {(family, where): None for family, *_, where in entries}
    return list(resolved)


def _listen(family: int, where: tuple[Any, ...], *, both: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (both and where[0] == "::"))
        listening.setblocking(False)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


# Open files.


def raise_file_limit() -> None:
    """Raises the soft limit of open files to the hard limit: each client and each exchange with OpenAI needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def split_file_limit(limit: int, max_exchanges: int) -> tuple[int, int]:
    """Splits a limit of open files between exchanges and client connections; returns both numbers, at least 1
    each. Together they stay below the limit, so that each connected client can be served and EMFILE is never met."""
    room = max(limit - RESERVED_FILES - ADMIN_CONNECTIONS, 2)
    exchanges = min(max_exchanges, room // 2)
    return exchanges, room - exchanges
