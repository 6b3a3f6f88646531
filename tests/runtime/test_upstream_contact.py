"""What the outcomes of requests say about OpenAI."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatgpt_agent.core.ledger import Outcome, State
from chatgpt_agent.runtime.upstream_contact import UpstreamContact

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def noted(**outcome: Any) -> UpstreamContact:
    contact = UpstreamContact(now=lambda: NOW)
    contact.note(Outcome(**{"state": State.UPSTREAM_ERROR, **outcome}))
    return contact


@pytest.mark.parametrize("status", [200, 400, 429])
def test_answer_is_contact(status: int) -> None:
    """A refused request has reached OpenAI, too."""
    contact = noted(status=status)
    assert (contact.answered_at, contact.failed_at, contact.error) == (NOW, None, None)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ({"status": None, "error": "upstream_unreachable"}, "upstream_unreachable"),
        ({"status": 200, "error": "upstream_truncated"}, "upstream_truncated"),
        ({"status": 401, "error": "upstream_key_rejected"}, "upstream_key_rejected"),
        ({"status": 503}, "HTTP 503"),
    ],
)
def test_failure_has_its_error(outcome: dict[str, Any], error: str) -> None:
    """The agent's own code is more exact than a status."""
    contact = noted(**outcome)
    assert (contact.answered_at, contact.failed_at, contact.error) == (None, NOW, error)


def test_disconnect_of_a_client_says_nothing() -> None:
    """Nothing was sent, and nothing failed."""
    contact = noted(error="client_closed", state=State.NOT_SENT)
    assert (contact.answered_at, contact.failed_at) == (None, None)


def test_failure_stays_after_a_success() -> None:
    """Both times are kept, so that the later one can be seen."""
    contact = noted(status=503)
    contact.note(Outcome(state=State.DONE, status=200))
    assert (contact.answered_at, contact.failed_at, contact.error) == (NOW, NOW, "HTTP 503")


def test_seconds_since_the_last_outcome() -> None:
    """The later one of an answer and a failure counts; before the first it is infinite."""
    times = iter([0.0, 10.0, 12.0, 15.0])
    contact = UpstreamContact(clock=lambda: next(times))
    assert contact.seconds_since == float("inf")
    contact.note(Outcome(state=State.DONE, status=200))
    contact.note(Outcome(state=State.UPSTREAM_ERROR, status=503))
    assert contact.seconds_since == 3


def test_time_since_does_not_follow_the_wall_clock() -> None:
    """If that is set back, the brake of the console's pages would wait until it has caught up."""
    walls = iter([NOW, NOW - timedelta(hours=1)])
    clock = iter([10.0, 15.0])
    contact = UpstreamContact(now=lambda: next(walls), clock=lambda: next(clock))
    contact.note(Outcome(state=State.DONE, status=200))
    assert contact.seconds_since == 5
