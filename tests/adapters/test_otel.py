"""Spans through OpenTelemetry's SDK: its variables, and what it logs."""

import logging

import msgspec
import pytest

from chatgpt_agent import __version__
from chatgpt_agent.adapters.otel_names import OPERATIONS, PARTS
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.core.http.endpoints import ENDPOINTS
from chatgpt_agent.core.usage import Usage

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

from chatgpt_agent.adapters.otel import Tracer, traces_url
from tests.support.otlp import SpanReceiver, exporters_run, until_exporters_ended
from tests.support.waiting import until


async def export(*, path: str = "") -> SpanReceiver:
    """Exports a span, and returns its receiver."""
    receiver = SpanReceiver()
    tracer = Tracer(receiver.url + path, __version__)
    tracer.start("chat", {}, {}).end("chat m", {}, failed=False)
    await tracer.close(10)
    await receiver.close()
    return receiver


async def test_resource_names_the_program() -> None:
    """Where no other name is configured."""
    [resource] = (await export()).resources
    assert (resource["service.name"], resource["service.version"]) == ("chatgpt-agent", __version__)


async def test_variables_of_the_specification_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the service, further attributes, header fields of the export."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-made-up=1")
    receiver = await export()
    assert receiver.resources[0]["service.name"] == "gateway"
    assert receiver.resources[0]["deployment.environment.name"] == "test"
    assert receiver.headers[0]["x-made-up"] == "1"


@pytest.mark.parametrize("variable", ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_SCHEDULE_DELAY"])
def test_variable_that_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The start ends with it."""
    monkeypatch.setenv(variable, "0")
    with pytest.raises(SetupError, match=r"^otel_endpoint: OpenTelemetry cannot be set up: .* positive"):
        Tracer("http://127.0.0.1:9", __version__)


async def test_receiver_that_does_not_answer_is_not_waited_for() -> None:
    """Its spans are lost."""
    receiver = SpanReceiver()
    receiver.answers = False
    tracer = Tracer(receiver.url, __version__)
    tracer.start("chat", {}, {}).end("chat m", {}, failed=False)
    await tracer.close(0.1)
    assert exporters_run()  # the SDK itself waits for 10 s
    await until(lambda: receiver.paths)
    await receiver.close()
    await until_exporters_ended()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example.com/otlp/v1/traces", "https://collector.example.com/otlp/v1/traces"),
    ],
)
def test_url_without_a_path_gets_that_of_the_specification(endpoint: str, url: str) -> None:
    """As the variable OTEL_EXPORTER_OTLP_ENDPOINT and that of traces alone do."""
    assert traces_url(endpoint) == url


async def test_failed_exports_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK itself logs a line for each try."""
    await until_exporters_ended()
    await Tracer("http://127.0.0.1:9", __version__).close(1)
    log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    for _ in range(3):
        log.warning("Transient error, retrying in 1 s.")
    assert len(caplog.records) == 1


def test_names_are_of_what_there_is() -> None:
    """Each operation is that of an endpoint, each count one of a usage."""
    assert set(OPERATIONS) <= {endpoint.name for endpoint in ENDPOINTS}
    assert set(PARTS) <= {field.name for field in msgspec.structs.fields(Usage)}
