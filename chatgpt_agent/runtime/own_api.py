"""The agent's own API, as the console reaches it to send a first request: as any client does, from this machine."""

import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from chatgpt_agent.adapters.tls import own_client_context


class OwnApi(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API listens: at a URL, with the certificate in force, in PEM format, if that is https; or only at the
    path of a Unix socket."""

    url: str = ""
    certificate: str | None = None
    path: str = ""

    async def fetch(self, path: str, *, max_answer: int, **request: Any) -> HTTPResponse:
        """Returns the answer to a request, whatever its status. `request`: arguments of Tornado's HTTPRequest;
        `max_answer`: bytes. Raises OSError, tornado.httpclient.HTTPError."""
        resolver = _PathResolver(self.path) if self.path else None
        client = SimpleAsyncHTTPClient(force_instance=True, max_buffer_size=max_answer, resolver=resolver)
        tls = own_client_context(self.certificate) if self.certificate else None
        try:
            url = f"{self.url or 'http://localhost'}{path}"
            return await client.fetch(HTTPRequest(url, ssl_options=tls, **request), raise_error=False)
        finally:
            client.close()

    def url_at(self, host: str | None) -> str:
        """Returns its URL under a host name of this machine; behind a Unix socket, without the port of the proxy."""
        parts = urlsplit(self.url)
        name = f"[{host}]" if ":" in (host or "") else host
        return f"{parts.scheme or 'http'}://{name}{f':{parts.port}' if parts.port else ''}"


class _PathResolver(Resolver):
    """Resolves every host to the path of a Unix socket."""

    def initialize(self, path: str) -> None:
        self._path = path

    def __init__(self, path: str) -> None:
        """Does nothing: Tornado calls `initialize`."""

    async def resolve(self, host: str, port: int, family: Any = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        """Returns the path as the one address."""
        return [(socket.AF_UNIX, self._path)]
