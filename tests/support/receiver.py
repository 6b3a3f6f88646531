"""A receiver of webhooks: a real HTTP server that says what it was sent, and answers as it is told."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

SECRET = b"made-up-secret-of-a-webhook-0123"


class Receiver:
    """`posts`: header fields and body of each; `statuses`: what it answers, one after the other, and then 200."""

    def __init__(self, *statuses: int) -> None:
        self.posts: list[tuple[HTTPHeaders, bytes]] = []
        self.statuses = list(statuses)
        self._server = HTTPServer(self._answer)
        [socket] = bind_sockets(0, "127.0.0.1")
        self._server.add_socket(socket)
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}/hook"

    def _answer(self, request: HTTPServerRequest) -> None:
        self.posts.append((request.headers, request.body))
        status = self.statuses.pop(0) if self.statuses else 200
        fields = HTTPHeaders({"Content-Length": "0", "Location": self.url})
        assert request.connection is not None
        request.connection.write_headers(ResponseStartLine("HTTP/1.1", status, "Fine"), fields)
        request.connection.finish()

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the posts say."""
        return [json.loads(body) for _, body in self.posts]

    async def wait(self, count: int) -> None:
        """Waits for so many posts."""
        async with asyncio.timeout(10):
            while len(self.posts) < count:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Ends it."""
        self._server.stop()
        await self._server.close_all_connections()


def signed(headers: HTTPHeaders, body: bytes) -> bool:
    """Whether the signature is that of the specification, computed from its text."""
    text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    wanted = base64.b64encode(hmac.new(SECRET, text, hashlib.sha256).digest()).decode()
    return bool(headers["webhook-signature"] == f"v1,{wanted}")
