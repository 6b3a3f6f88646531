"""Ports of this machine that no other process has, or gets meanwhile."""

import errno
import socket

import pytest


def reserve() -> socket.socket:
    """A socket with a free port of 127.0.0.1, which is reserved until the socket is closed: connecting is refused, and
    the system gives the port to no other socket. Only a server with SO_REUSEADDR that asks for it may listen there, as
    those of asyncio do."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def port_of(reserved: socket.socket) -> int:
    """The port of a socket."""
    port: int = reserved.getsockname()[1]
    return port


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6; a container may have none."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def unused_port() -> int:
    """Returns a port that no process has on any address now. Port 0 is free on the one address that is bound."""
    family, every = (socket.AF_INET6, "::") if has_ipv6() else (socket.AF_INET, "0.0.0.0")
    with socket.socket(family) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind((every, 0))
        port: int = probe.getsockname()[1]
        return port
