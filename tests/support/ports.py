"""A port of this machine that no other process gets meanwhile."""

import socket


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
