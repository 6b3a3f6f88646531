"""A receiver of spans: a real HTTP server that decodes what OpenTelemetry's exporter sends."""

import operator
import threading
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

from tests.support.waiting import until


class SpanReceiver:
    """`spans` are those that it received, `resources` what is known of their senders; `paths` and `headers` are of the
    requests. With `answers` False it answers when it is closed."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[HTTPHeaders] = []
        self.answers = True
        self._unanswered: list[HTTPServerRequest] = []
        self._server = HTTPServer(self._answer)
        [socket] = bind_sockets(0, "127.0.0.1")
        self._server.add_socket(socket)
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"

    def _answer(self, request: HTTPServerRequest) -> None:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        for group in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            self.resources.append(attributes(group.resource))
            self.spans += [span for scope in group.scope_spans for span in scope.spans]
        if self.answers:
            _send_answer(request)
        else:
            self._unanswered.append(request)

    async def close(self) -> None:
        """Answers what it has not answered, so that no exporter tries again later, and stops the server."""
        for request in self._unanswered:
            _send_answer(request)
        self._server.stop()
        await self._server.close_all_connections()


def exporters_run() -> bool:
    """Whether the SDK has threads that export spans."""
    return any(thread.name.startswith("OtelBatch") for thread in threading.enumerate())


async def until_exporters_ended() -> None:
    """Waits for the SDK's threads that export spans: what they log would get into the next test."""
    await until(exporters_run, operator.not_)


def _send_answer(request: HTTPServerRequest) -> None:
    assert request.connection is not None
    request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "0"}))
    request.connection.finish()


def attributes(owner: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in owner.attributes}
