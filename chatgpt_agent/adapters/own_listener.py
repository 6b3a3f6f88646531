"""Asks the agent of a configuration on its own machine, through the port that its clients use."""

import contextlib
import socket
from http.client import HTTPConnection, HTTPException, HTTPSConnection

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
    """Where this machine reaches a listener. `host`: an address, or `unix:` and the path of a socket; `tls`: whether
    it speaks TLS."""

    host: str
    port: int
    tls: bool = False

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        if path_of(self.host) is not None:
            return self.host
        return f"{'https' if self.tls else 'http'}://{show_address(self.host)}:{self.port}"

    def connection(self, seconds: float) -> HTTPConnection:
        """Returns a connection that is not open yet, each step of which may take so long. It accepts any certificate:
        the file may have a newer one than the agent, until that is reloaded, and nothing secret is sent."""
        path = path_of(self.host)
        if path is not None:
            return _PathConnection(path, seconds)
        if self.tls:
            context = own_client_context(None)
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
        Place(host, config.port, config.tls_certificate is not None)
        for address in addresses
        for host in _ASKED.get(address, (address,))
    ]


def served_certificate(config: Config, seconds: float) -> bytes | None:
    """Returns the certificate that the running agent shows, in DER format; None: it cannot be reached on a port."""
    for place in places(config):
        if not place.tls or path_of(place.host) is not None:
            continue
        with contextlib.suppress(OSError, UnicodeError):  # it is no host name
            plain = socket.create_connection((place.host, place.port), seconds)
            with plain, own_client_context(None).wrap_socket(plain) as connection:
                return connection.getpeercert(binary_form=True)
    return None


def ask(place: Place, path: str, seconds: float) -> tuple[int, bytes]:
    """Returns the status and the body of the answer. Raises OSError where there is none."""
    connection = place.connection(seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER)
    except HTTPException as error:
        raise OSError(f"no answer in HTTP ({type(error).__name__})") from None
    except UnicodeError:
        raise OSError("not a host name") from None
    finally:
        connection.close()
