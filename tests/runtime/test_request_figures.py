"""What is counted of each request: its labels are of fixed sets."""

from decimal import Decimal

import msgspec
import pytest

from chatgpt_agent.core.errors import (
    AgentError,
    ClientError,
    DirectoryStale,
    NotFound,
    UpstreamKeyRejected,
    UpstreamTimeout,
)
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.metrics import MAX_MODELS, METRICS, OTHER, Kind
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime.histogram import Histogram
from chatgpt_agent.runtime.request_figures import RequestFigures
from tests.support.factories import PRICE, make_row


def test_thousands_of_names_add_no_series() -> None:
    """Endpoints are ours, models those with a price and at most so many of them, codes and statuses known ones."""
    figures = RequestFigures()
    for number in range(3000):
        row = make_row(number, state=State.UPSTREAM_ERROR, endpoint=f"/v1/{number}")
        row = msgspec.structs.replace(row, status=number, error=f"code_{number}")
        figures.note_row(row, msgspec.structs.replace(PRICE, model=f"model-{number}"))
        error = ClientError()
        error.code = f"code_{number}"
        figures.note_error(error)
    assert set(figures.endpoints) == {OTHER}
    assert len(figures.models) == MAX_MODELS + 1
    assert figures.upstream_errors.keys() == RequestFigures().upstream_errors.keys()
    assert figures.refusals.keys() == RequestFigures().refusals.keys()
    assert figures.refusals[OTHER] == 3000


def test_requested_model_is_no_label() -> None:
    """A fine-tuned model, which has the price of its base, is counted as that."""
    figures = RequestFigures()
    figures.note_row(make_row(model="ft:gpt-6-luna:acme::1"), PRICE)
    assert set(figures.models) == {PRICE.model}


def test_request_of_a_free_endpoint_has_no_model() -> None:
    """Any text may stand for the model of a moderation."""
    figures = RequestFigures()
    figures.note_row(make_row(endpoint="/v1/moderations", model="anything"), None)
    assert (figures.models, set(figures.endpoints)) == ({}, {"/v1/moderations"})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DirectoryStale(), "directory_stale"),
        (AgentError(), "internal_error"),
        (NotFound(), OTHER),
        (UpstreamKeyRejected(sent=False), "upstream_key_rejected"),
        (UpstreamKeyRejected(sent=True), None),
        (UpstreamTimeout(sent=True), None),
    ],
)
def test_only_the_agents_own_errors_are_refusals(error: AgentError, reason: str | None) -> None:
    """What happened on the way to OpenAI is counted with the row."""
    figures = RequestFigures()
    figures.note_error(error)
    assert {code for code, count in figures.refusals.items() if count} == ({reason} if reason else set())


def test_parts_of_tokens_are_counted() -> None:
    """Rare kinds too, and those of the model that draws."""
    figures = RequestFigures()
    usage = Usage(input=10, output=5, cached=4, audio_input=3, image_output=2)
    figures.note_row(msgspec.structs.replace(make_row(), usage=usage, uncertain_cost=Decimal("0.5")), PRICE)
    figures.note_image(Usage(input=1, output=7), None)
    luna, other = figures.models[PRICE.model], figures.models[OTHER]
    assert {name: count for name, count in luna.counts.items() if count} == {
        name: getattr(usage, name) for name in ("input", "output", "cached", "audio_input", "image_output")
    }
    assert (luna.uncertain_cost, other.counts["output"]) == (0.5, 7)


def test_value_at_a_bound_is_below_it() -> None:
    """Prometheus's `le` is "less or equal"."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.add(value)
    assert (histogram.counts, histogram.sum) == ([2, 1, 1], 6.0)


def test_names_follow_prometheus() -> None:
    """Counters end in `_total`, histograms are of seconds, a label is never `le`; each name is there once."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
        assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(metric.buckets)
        assert "le" not in metric.labels
