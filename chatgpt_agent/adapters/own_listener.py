"""Asks the agent of a configuration on its own machine, through the port that its clients use."""

import socket
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.ports import show_address
from chatgpt_agent.adapters.tls import own_client_context
from chatgpt_agent.adapters.unix_sockets import path_of

MAX_ANSWER = 64 * 1024  # bytes that are read of an answer

# An agent that listens on every address is asked at this machine's own. `::` alone is every address of IPv4, too, and a
# container may have no other.
_ASKED = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104 - not to listen on


class Place(msgspec.Struct, frozen=True):
    """Where this machine reaches a listener. `host`: an address, or `unix:` and the path of a socket; `certificate`: of
    a listener with TLS."""

    host: str
    port: int
    certificate: Path | None = None

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        if path_of(self.host) is not None:
            return self.host
        return f"{'https' if self.certificate else 'http'}://{show_address(self.host)}:{self.port}"

    def connection(self, seconds: float) -> HTTPConnection:
        """Returns a connection that is not open yet, each step of which may take so long. Raises OSError."""
        path = path_of(self.host)
        if path is not None:
            return _PathConnection(path, seconds)
        if self.certificate is not None:
            context = own_client_context(self.certificate)
            return HTTPSConnection(self.host, self.port, timeout=seconds, context=context)
        return HTTPConnection(self.host, self.port, timeout=seconds)


class _PathConnection(HTTPConnection):
    """A connection through a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def places(config: Config) -> list[Place]:
    """Returns where to ask the listener of the API, in this order: the first that answers counts."""
    addresses = addresses_in(config.bind_address)
    return [
        Place(host, config.port, config.tls_certificate)
        for address in addresses
        for host in _ASKED.get(address, (address,))
    ]


def ask(place: Place, path: str, seconds: float) -> tuple[int, bytes]:
    """Returns the status and the body of the answer. Raises OSError where there is none."""
    connection = place.connection(seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER)
    except HTTPException as error:
        raise OSError(f"no answer in HTTP ({type(error).__name__})") from None
    finally:
        connection.close()
