"""A span for each request to a forwarded endpoint, where spans are exported: what the ledger knows of the request, and
nothing that it says."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatgpt_agent import __version__
from chatgpt_agent.adapters import otel_names as names
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.core.http.endpoints import Endpoint
from chatgpt_agent.core.http.request import ApiRequest
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime.answering import ChunkSink

if TYPE_CHECKING:  # the extra `otel` may be missing
    from chatgpt_agent.adapters.otel import OpenSpan, Tracer

Attributes = dict[str, str | int | float | bool]

FLUSH_SECONDS = 1.0  # for the last spans, when the agent stops
FAILED = 400  # an HTTP status from which on a request has failed


def open_tracing(config: Config) -> "Tracing | None":
    """Returns what makes spans; None: no `otel_endpoint` is set. Raises SetupError."""
    if config.otel_endpoint is None:
        return None
    from chatgpt_agent.adapters.otel import Tracer  # only here: the extra `otel` may be missing

    tracer = Tracer(config.otel_endpoint, __version__)
    return Tracing(tracer, openai_url=config.openai_url, pass_on=config.otel_pass_traceparent)


class Tracing:
    """Makes the spans. `openai_url`: of whatever server answers; `pass_on`: that server learns which span is its
    parent."""

    def __init__(self, tracer: "Tracer", *, openai_url: str, pass_on: bool) -> None:
        url = urlsplit(openai_url)
        self._tracer = tracer
        self._pass_on = pass_on
        self._server: Attributes = {
            names.PROVIDER: "openai",
            names.SERVER_ADDRESS: url.hostname or "",
            names.SERVER_PORT: url.port or (80 if url.scheme == "http" else 443),
        }

    def begin(self, endpoint: Endpoint, headers: Mapping[str, str], *, user: str, request_id: str) -> "RequestSpan":
        """Begins the span of a request whose body is in. `headers`: the client's, which may name a parent."""
        operation = names.OPERATIONS.get(endpoint.name, endpoint.name)
        attributes = {names.OPERATION: operation, names.USER: user, names.REQUEST_ID: request_id, **self._server}
        span = self._tracer.start(operation, attributes, headers)
        return RequestSpan(span, operation, span.headers() if self._pass_on else ())

    async def close(self) -> None:
        """Exports the last spans."""
        await self._tracer.close(FLUSH_SECONDS)


class RequestSpan:
    """The span of one request, to be ended in any case. `headers`: the header fields by which OpenAI learns of it."""

    __slots__ = ("_attributes", "_began_at", "_operation", "_span", "headers")

    def __init__(self, span: "OpenSpan", operation: str, headers: Sequence[tuple[str, str]]) -> None:
        self._span = span
        self._operation = operation
        self._began_at = time.monotonic()
        self._attributes: Attributes = {}
        self.headers = headers

    def note_request(self, request: ApiRequest) -> None:
        """Notes what the request asks for. Its model comes with its row: what has none may be any text of a client."""
        if request.output_limit is not None:
            self._attributes[names.REQUEST_MAX_TOKENS] = request.output_limit
        if request.choices != 1:
            self._attributes[names.REQUEST_CHOICES] = request.choices

    def timed(self, sink: ChunkSink) -> ChunkSink:
        """Returns a sink that notes when the first chunk of the answer comes."""
        return _FirstChunk(sink, self._note_first_chunk)

    def _note_first_chunk(self) -> None:
        self._attributes[names.RESPONSE_FIRST_CHUNK] = round(time.monotonic() - self._began_at, 6)

    def end(self, row: Row | None, error: str) -> None:
        """Ends it with what the ledger has of the request. `error`: the code of the error that answered it, if any."""
        attributes, name = self._attributes, self._operation
        if row is not None:
            attributes |= _of_row(row)
            name = f"{name} {row.intent.model}" if row.intent.model else name
        failure = error if row is None else _failure(row) or error
        if failure:
            attributes[names.ERROR] = failure
        self._span.end(name, attributes, failed=bool(failure))


class _FirstChunk:
    """Passes chunks on, and reports the first. After it, `write` is that of the other sink: a chunk costs nothing."""

    def __init__(self, sink: ChunkSink, on_first: Callable[[], None]) -> None:
        self._sink = sink
        self._on_first = on_first
        self.write = self._write_first

    def _write_first(self, chunk: bytes) -> bool:
        self._on_first()
        self.write = self._sink.write
        return self._sink.write(chunk)

    async def wait_for_room(self) -> None:
        await self._sink.wait_for_room()


def _of_row(row: Row) -> Attributes:
    values: dict[str, str | int | float | bool | None] = {
        names.REQUEST_MODEL: row.intent.model or None,
        names.REQUEST_STREAM: row.intent.streamed or None,
        names.RESPONSE_MODEL: row.served_model,
        names.RESPONSE_ID: row.upstream_id,
        names.RESPONSE_SERVICE_TIER: row.service_tier,
        names.STATE: row.state.value,
        names.COST: float(row.cost),
    }
    attributes = {name: value for name, value in values.items() if value is not None}
    return attributes if row.usage is None else attributes | _of_usage(row.usage)


def _of_usage(usage: Usage) -> Attributes:
    parts = {name: getattr(usage, kind) for kind, name in names.PARTS.items()}
    counts = {name: count for name, count in parts.items() if count}
    return {names.INPUT_TOKENS: usage.input, names.OUTPUT_TOKENS: usage.output, **counts}


def _failure(row: Row) -> str | None:
    """Returns why a request has failed: the code of an error of ours, OpenAI's status, or the row's state."""
    if row.error is not None:
        return row.error
    if row.status is not None and row.status >= FAILED:
        return str(row.status)
    return None if row.state in (State.DONE, State.USAGE_UNKNOWN) else row.state.value
