"""Spans through OpenTelemetry's SDK, which exports them from a thread of its own. No other module imports the SDK: it
comes with the extra `otel`.

The SDK reads the variables of OpenTelemetry's specification, such as OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and
OTEL_EXPORTER_OTLP_HEADERS (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.core.errors import SetupError

Attributes = Mapping[str, str | int | float | bool]

NAME = "chatgpt-agent"
QUIET_SECONDS = 60.0  # after a line of the SDK
_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")

_trace_context = TraceContextTextMapPropagator()  # https://www.w3.org/TR/trace-context/


class Tracer:
    """Starts spans, and exports those that have ended. Where the receiver is away or too slow, the oldest are lost."""

    def __init__(self, endpoint: str, version: str) -> None:
        """Raises SetupError if the SDK refuses one of its variables."""
        for name in _LOGGERS:
            logging.getLogger(name).filters[:] = [_OnceAMinute()]
        try:
            resource = _resource(version)
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces_url(endpoint))))
        except (ValueError, RuntimeError) as error:
            raise SetupError(f"otel_endpoint: OpenTelemetry cannot be set up: {error}") from None
        self._tracer = self._provider.get_tracer(NAME, version)

    def start(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> "OpenSpan":
        """Starts the span of a request to OpenAI, below the span that the client's header fields name, if they do."""
        parent = _trace_context.extract(headers, Context())
        return OpenSpan(self._tracer.start_span(name, parent, SpanKind.CLIENT, attributes))

    async def close(self, seconds: float) -> None:
        """Exports what has ended, as far as that takes no longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(in_own_thread(self._provider.shutdown), seconds)


class OpenSpan:
    """A span that has not ended."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def headers(self) -> list[tuple[str, str]]:
        """The header fields that name this span as the parent: traceparent, and tracestate if the client sent one."""
        fields: dict[str, str] = {}
        _trace_context.inject(fields, set_span_in_context(self._span, Context()))
        return list(fields.items())

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None:
        """Ends the span, whose name is known by now, with further attributes."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def traces_url(endpoint: str) -> str:
    """Returns where spans are sent: the path of the specification is added to a URL without one."""
    return endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"


def _resource(version: str) -> Resource:
    """The SDK's own, with our name where none is configured."""
    resource = Resource.create({"service.version": version})
    if str(resource.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": NAME}))
    return resource


class _OnceAMinute(logging.Filter):
    """Lets a line through if none was for a while: the SDK logs each batch that it cannot export."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._logged_at < QUIET_SECONDS:
            return False
        self._logged_at = now
        return True
