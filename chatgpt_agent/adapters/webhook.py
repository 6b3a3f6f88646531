"""Posts to a webhook, signed according to the Standard Webhooks specification
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

It uses Tornado's simple client: posts are rare, and must not share connections with the requests to OpenAI. Through a
proxy it uses one on libcurl, because the simple client knows none.
"""

import base64
import binascii
import hashlib
import hmac
import socket
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config_values import Proxy
from chatgpt_agent.adapters.curl.proxied_client import proxied_client
from chatgpt_agent.adapters.files import read_secret_file
from chatgpt_agent.adapters.own_thread import look_up
from chatgpt_agent.core.errors import SetupError, WebhookFailed

TIMEOUT = 10.0  # seconds for the whole request
MAX_RESPONSE = 64 * 1024  # bytes
PREFIX = "whsec_"
MIN_SECRET = 24  # bytes, by the specification


class OwnThreadResolver(Resolver):
    """Looks names up without keeping a shutdown waiting, as Tornado's default resolver does."""

    async def resolve(self, host: str, port: int, family: Any = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        """Returns the addresses of a host, each with its family. Raises OSError."""
        return [(info[0], info[4]) for info in await look_up(host, port, family)]


class Webhook:
    """A receiver of posts. `secret` signs them; None: they are not signed. `proxy`: through which they go."""

    def __init__(self, url: str, secret: bytes | None, proxy: Proxy | None = None) -> None:
        self._url = url
        self._secret = secret
        self._options: dict[str, Any] = {}
        self._client: AsyncHTTPClient
        if proxy is None:
            self._client = SimpleAsyncHTTPClient(
                force_instance=True, max_body_size=MAX_RESPONSE, resolver=OwnThreadResolver()
            )
        else:
            self._client, self._options = proxied_client(proxy, max_response=MAX_RESPONSE)

    async def post(self, id: str, seconds: int, body: bytes) -> None:
        """Posts JSON. `id` is the same for all attempts, `seconds` is the current Unix time. Raises WebhookFailed
        unless the receiver answers with status 2xx."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"chatgpt-agent/{__version__}",
            "webhook-id": id,
            "webhook-timestamp": str(seconds),
        }
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, id, seconds, body)
        status = await self._fetch("POST", headers, body, TIMEOUT)
        if not 200 <= status < 300:
            raise WebhookFailed(f"status {status}")

    async def probe(self, seconds: float) -> int:
        """Sends a HEAD, which is no event, and returns the status of the answer. Raises WebhookFailed if there is none
        within some seconds."""
        return await self._fetch("HEAD", {"User-Agent": f"chatgpt-agent/{__version__}"}, None, seconds)

    async def _fetch(self, method: str, headers: dict[str, str], body: bytes | None, seconds: float) -> int:
        request = HTTPRequest(
            self._url,
            method,
            headers,
            body,
            follow_redirects=False,
            connect_timeout=seconds,
            request_timeout=seconds,
            **self._options,
        )
        try:
            return (await self._client.fetch(request, raise_error=False)).code
        except HTTPClientError as error:  # there is no answer
            raise WebhookFailed(str(error.message)) from None
        except Exception as error:  # no failure of the receiver may end the agent
            raise WebhookFailed(type(error).__name__) from None

    def close(self) -> None:
        """Closes the HTTP client."""
        self._client.close()


def signature(secret: bytes, id: str, seconds: int, body: bytes) -> str:
    """Returns the value of `webhook-signature`."""
    digest = hmac.digest(secret, f"{id}.{seconds}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def read_webhook_secret(path: Path) -> bytes:
    """Returns the secret in a file that only its owner can read: `whsec_` and base64 of at least 24 bytes. Raises
    SetupError."""
    text = read_secret_file(path, "the webhook's secret").decode("ascii", "replace").strip()
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(PREFIX) or len(secret) < MIN_SECRET:
        raise SetupError(f"the webhook's secret {path} must be {PREFIX} and base64 of at least {MIN_SECRET} bytes")
    return secret
