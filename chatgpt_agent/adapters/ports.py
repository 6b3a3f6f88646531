"""Ports: the addresses on which the agent listens, and their sockets."""

import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from chatgpt_agent.adapters.own_thread import look_up
from chatgpt_agent.adapters.unix_sockets import PREFIX, UnixSocket, path_of
from chatgpt_agent.core.errors import SetupError

BACKLOG = 1024  # connections that wait to be accepted; a burst of clients is more than the usual 128

# What to do, by the error.
_ADVICE = {
    errno.EADDRINUSE: "another program listens there (ss -ltnp shows it)",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE (docs/operations/service.md)",
    errno.EADDRNOTAVAIL: "this machine does not have the address",
}

Place = tuple[int, tuple[Any, ...]]  # where to listen: family and socket address


async def resolve(key: str, addresses: Sequence[str]) -> list[Place]:
    """Returns the places that addresses and host names stand for, each once. `key` is the name of the port in the
    configuration. Raises SetupError."""
    places: dict[Place, None] = {}
    for address in addresses:
        if (path := path_of(address)) is not None:
            places[socket.AF_UNIX, (path,)] = None
            continue
        try:
            entries = await look_up(address, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a host name"
            raise SetupError(f"{key}: cannot listen on {address}: {reason}") from None
        places |= {(family, where): None for family, *_, where in entries}
    return list(places)


def bind(key: str, port: int, places: Sequence[Place], *, listen: bool = True) -> list[socket.socket]:
    """Returns sockets that listen on a port of each place, or at its path; without `listen`, they only take the port.
    `::` alone is every address of both families; beside an IPv4 address it is IPv6 alone. Raises SetupError."""
    sockets: list[socket.socket] = []
    both = sum(family != socket.AF_UNIX for family, _ in places) == 1
    for family, where in places:
        try:
            if family == socket.AF_UNIX:
                sockets.append(_listen_at_path(where[0]))
            else:
                chosen = port_of(sockets) or port  # port 0: one free port for all
                sockets.append(_listen(family, (where[0], chosen, *where[2:]), both=both, listen=listen))
        except (OSError, SetupError) as error:
            for listening in sockets:
                listening.close()
            place = f"{PREFIX}{where[0]}" if family == socket.AF_UNIX else f"{show_address(where[0])}:{port}"
            reason = error.message if isinstance(error, SetupError) else _reason(error)
            raise SetupError(f"{key}: cannot listen on {place}: {reason}") from None
    return sockets


async def try_ports(key: str, port: int, addresses: Sequence[str]) -> None:
    """Raises SetupError, as `resolve` and `bind` do, where this process could not listen now. It does not listen, and
    leaves Unix sockets alone."""
    places = [place for place in await resolve(key, addresses) if place[0] != socket.AF_UNIX]
    for listening in bind(key, port, places, listen=False):
        listening.close()


def port_of(sockets: Sequence[socket.socket]) -> int:
    """Returns the port of those that have one; 0: none has."""
    return next((int(each.getsockname()[1]) for each in sockets if each.family != socket.AF_UNIX), 0)


def reachable(listening: socket.socket) -> str:
    """Returns the address, as URLs have it, at which this machine reaches a socket that listens on a port."""
    host = str(listening.getsockname()[0])
    if not ip_address(host.partition("%")[0]).is_unspecified:
        return show_address(host)
    return "127.0.0.1" if listening.family == socket.AF_INET else "[::1]"


def show_address(host: str) -> str:
    """Returns an address as URLs have it (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _listen_at_path(path: str) -> socket.socket:
    listening = UnixSocket(path)
    try:
        listening.setblocking(False)
        listening.listen_at_path(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _reason(error: OSError) -> str:
    advice = _ADVICE.get(error.errno or 0)
    return f"{error.strerror}: {advice}" if advice else str(error.strerror)


def _listen(family: int, where: tuple[Any, ...], *, both: bool, listen: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (both and where[0] == "::"))
        listening.setblocking(False)
        listening.bind(where)
        if listen:
            listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
