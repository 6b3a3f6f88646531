"""Spans: one for each request to a forwarded endpoint, exported to a real receiver."""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import MakeAgent
from tests.support.agent import MODEL, OPENAI_KEY, Agent
from tests.support.client import Connection, request_bytes
from tests.support.upstream import MODEL_SERVED, Upstream

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.otlp import SpanReceiver, attributes

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # as in the specification of W3C
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"

Traced = Callable[..., Awaitable[Agent]]


@pytest.fixture
def receiver(io_loop: IOLoop) -> Iterator[SpanReceiver]:
    """A receiver of spans."""
    receiver = io_loop.run_sync(_open_receiver)
    yield receiver
    io_loop.run_sync(receiver.close)


async def _open_receiver() -> SpanReceiver:
    return SpanReceiver()


@pytest.fixture
def traced(make_agent: MakeAgent, receiver: SpanReceiver, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Starts an agent that exports its spans at once."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    return lambda **settings: make_agent(otel_endpoint=receiver.url, **settings)


async def only_span(agent: Agent, receiver: SpanReceiver) -> Span:
    """Waits for the span of the only request."""
    await agent.until(lambda: receiver.spans)
    [span] = receiver.spans
    return span


def sent_headers(upstream: Upstream) -> dict[str, str]:
    """The header fields of the only request to OpenAI."""
    [request] = upstream.requests
    return {name.lower(): value for name, value in request.headers}


async def test_span_has_what_the_ledger_has(traced: Traced, receiver: SpanReceiver) -> None:
    """Model, counts, cost and times of the request under the names of OpenTelemetry's conventions."""
    agent = await traced()
    answer = await agent.chat("chunks=2", stream=True, max_completion_tokens=50, n=2)
    span = await only_span(agent, receiver)
    values = attributes(span)
    assert 0 < values.pop("gen_ai.response.time_to_first_chunk") < 30
    assert values.pop("gen_ai.response.id").startswith("chatcmpl-")
    assert values.pop("chatgpt_agent.request.cost") > 0
    counts = ("input", "output", "cache_read.input", "reasoning.output")
    assert min(values.pop(f"gen_ai.usage.{count}_tokens") for count in counts) > 0
    assert values == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.choice.count": 2,
        "gen_ai.response.model": MODEL_SERVED,
        "openai.response.service_tier": "default",
        "server.address": "127.0.0.1",
        "server.port": urlsplit(agent.config.openai_url).port,
        "user.name": "alice",
        "chatgpt_agent.request.id": answer.header("X-Agent-Request-Id"),
        "chatgpt_agent.request.state": "done",
    }
    assert (span.name, span.kind, span.parent_span_id) == (f"chat {MODEL}", Span.SPAN_KIND_CLIENT, b"")
    assert span.status.code == Status.STATUS_CODE_UNSET


async def test_no_content_leaves_the_agent(traced: Traced, receiver: SpanReceiver, upstream: Upstream) -> None:
    """Neither messages nor tokens and keys, nor a text in the place of a model."""
    agent = await traced()
    await agent.chat("a-secret-message", stream=False)
    await agent.chat("hello", model="a-secret-model")
    await agent.until(lambda: len(receiver.spans) == 2)
    exported = b"".join(span.SerializeToString() for span in receiver.spans)
    text = json.loads(upstream.sent())["choices"][0]["message"]["content"]
    assert not [secret for secret in ("a-secret", text, agent.token, OPENAI_KEY) if secret.encode() in exported]


@pytest.mark.parametrize(
    ("body", "name", "error"),
    [
        ({"model": "gpt-6-lunar"}, "chat", "model_not_found"),
        ({"content": "status=429"}, f"chat {MODEL}", "429"),
        ({"content": "status=401"}, f"chat {MODEL}", "upstream_key_rejected"),
    ],
)
async def test_span_of_a_failure_has_its_error(
    traced: Traced, receiver: SpanReceiver, body: dict[str, str], name: str, error: str
) -> None:
    """The agent's code, or OpenAI's status; the model only where it has a price."""
    agent = await traced()
    await agent.chat(body.pop("content", "hello"), **body)
    span = await only_span(agent, receiver)
    assert (span.name, attributes(span)["error.type"]) == (name, error)
    assert span.status.code == Status.STATUS_CODE_ERROR


async def test_span_of_a_disconnected_client_has_the_whole_answer(traced: Traced, receiver: SpanReceiver) -> None:
    """It ends when the answer has been read to its usage."""
    agent = await traced()
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", "/chat", agent.headers(), agent.body("chunks=4 gap=0.02", stream=True)))
    await connection.head()
    await connection.chunk()
    await connection.close()
    values = attributes(await only_span(agent, receiver))
    assert (values["error.type"], values["chatgpt_agent.request.state"]) == ("client_closed", "done")
    assert values["gen_ai.usage.output_tokens"] > 0


async def test_span_of_a_bug_has_its_error(
    traced: Traced, receiver: SpanReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, although no handler knows of it."""
    agent = await traced()
    monkeypatch.setattr(agent.server.admissions, "admit", None)
    assert (await agent.chat()).status == 500
    assert attributes(await only_span(agent, receiver))["error.type"] == "internal_error"


async def test_clients_span_is_the_parent(traced: Traced, receiver: SpanReceiver, upstream: Upstream) -> None:
    """`traceparent` of the client is read, and does not pass to OpenAI without the setting."""
    agent = await traced()
    await agent.post(agent.body(), traceparent=TRACEPARENT, tracestate="vendor=1")
    span = await only_span(agent, receiver)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert not {"traceparent", "tracestate"} & set(sent_headers(upstream))


async def test_openai_can_continue_the_trace(traced: Traced, receiver: SpanReceiver, upstream: Upstream) -> None:
    """With the setting, OpenAI's parent is the agent's span."""
    agent = await traced(otel_pass_traceparent=True)
    await agent.post(agent.body(), traceparent=TRACEPARENT, tracestate="vendor=1")
    span = await only_span(agent, receiver)
    sent = sent_headers(upstream)
    assert sent["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1"


async def test_invalid_traceparent_is_ignored(traced: Traced, receiver: SpanReceiver, upstream: Upstream) -> None:
    """The span is the first of a trace of its own, and nothing of the client's fields passes."""
    agent = await traced(otel_pass_traceparent=True)
    await agent.post(agent.body(), traceparent="00-secret", tracestate="vendor=1")
    span = await only_span(agent, receiver)
    assert span.parent_span_id == b""
    assert sent_headers(upstream)["traceparent"].startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")
    assert "tracestate" not in sent_headers(upstream)


async def test_last_spans_are_exported_when_the_agent_stops(
    dsn: str, upstream: Upstream, receiver: SpanReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not wait for the SDK's next batch."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    settings = {"database_url": dsn, "openai_url": upstream.url, "data_dir": tmp_path, "otel_endpoint": receiver.url}
    agent = Agent(settings)
    await agent.start()
    await agent.chat()
    await agent.stop()
    assert len(receiver.spans) == 1
