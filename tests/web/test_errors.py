"""The rendering of an error: status, header fields and body."""

import json

import pytest

from chatgpt_agent.core.errors import (
    AgentError,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    Overloaded,
    RateLimited,
    UpstreamLost,
)
from chatgpt_agent.web.errors import render


def fields_of(error: AgentError, methods: tuple[str, ...] = ()) -> dict[str, str]:
    return dict(render(error, "id-1", methods)[1])


def test_error_has_its_status_and_body() -> None:
    """An error has its own status, and OpenAI's error object as a JSON body of a known length."""
    status, fields, body = render(InvalidRequest("n must be an integer.", param="n"), "id-1", ())
    assert (status, json.loads(body)["error"]["param"]) == (400, "n")
    assert ("Content-Type", "application/json") in fields
    assert ("Content-Length", str(len(body))) in fields


def test_error_carries_its_code_and_the_request_id() -> None:
    """An error's headers have the error's code, and the request id under our name and under OpenAI's."""
    fields = fields_of(Overloaded())
    assert fields["X-Agent-Error"] == "overloaded"
    assert fields["X-Agent-Request-Id"] == fields["x-request-id"] == "id-1"


@pytest.mark.parametrize(
    ("error", "retry"),
    [(Overloaded(), "true"), (UpstreamLost(sent=True), "false"), (AgentError(), "false"), (InvalidRequest(), None)],
)
def test_error_says_whether_a_retry_is_safe(error: AgentError, retry: str | None) -> None:
    """`x-should-retry` is true only if nothing was sent, and left out where the status says enough."""
    assert fields_of(error).get("x-should-retry") == retry


def test_rate_limit_says_when_to_try_again() -> None:
    """The wait is in whole seconds for HTTP and in milliseconds for OpenAI's SDKs, both rounded up."""
    fields = fields_of(RateLimited(retry_after=1.2341))
    assert (fields["Retry-After"], fields["Retry-After-Ms"]) == ("2", "1235")


def test_refusal_of_a_busy_agent_says_to_wait_a_second() -> None:
    """A 503 of the agent has `Retry-After: 1`."""
    assert fields_of(Overloaded())["Retry-After"] == "1"


def test_missing_token_names_the_scheme() -> None:
    """A 401 has the WWW-Authenticate that RFC 9110 §15.5.2 demands."""
    assert fields_of(InvalidApiKey())["WWW-Authenticate"] == "Bearer"


def test_wrong_method_names_the_allowed_ones() -> None:
    """A 405 has the Allow that RFC 9110 §15.5.6 demands."""
    assert fields_of(MethodNotAllowed("Only GET."), ("GET", "HEAD"))["Allow"] == "GET, HEAD"
