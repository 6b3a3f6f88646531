"""A receiver of webhooks: a real HTTP server that keeps what it receives and answers with the statuses of the test."""

import base64
import hashlib
import hmac
import json
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

from tests.support.waiting import until

SECRET = b"invented-secret-of-a-webhook-012"


class Receiver:
    """`posts` has header fields and body of each request; `statuses` are its next answers, after which come 200s."""

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
    def messages(self) -> list[dict[str, Any]]:
        """The bodies of the posts, decoded."""
        return [json.loads(body) for _, body in self.posts]

    async def wait(self, count: int) -> None:
        """Waits for a number of posts."""
        await until(lambda: len(self.posts) >= count)

    async def close(self) -> None:
        """Stops the server."""
        self._server.stop()
        await self._server.close_all_connections()


def signed(headers: HTTPHeaders, body: bytes) -> bool:
    """Whether the signature is the one that the Standard Webhooks specification demands, computed independently."""
    text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(SECRET, text, hashlib.sha256).digest()).decode()
    return bool(headers["webhook-signature"] == f"v1,{expected}")
