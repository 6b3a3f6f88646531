"""Errors: one tree, OpenAI's error object, and whether a retry is safe."""

import json

import pytest

from chatgpt_agent.core import errors
from chatgpt_agent.core.errors import (
    AgentError,
    ClientError,
    ConfigError,
    InsufficientQuota,
    KeyUnusable,
    ModelNotFound,
    RateLimited,
    RequestTooLarge,
    Unavailable,
    UpstreamError,
    UpstreamKeyRejected,
)

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, AgentError)]


def make(cls: type[AgentError]) -> AgentError:
    """Returns an error of any class."""
    if issubclass(cls, UpstreamError):
        return cls(sent=True)
    if cls is ModelNotFound:
        return ModelNotFound("gpt-9")
    if cls is RequestTooLarge:
        return RequestTooLarge(10)
    if cls is RateLimited:
        return RateLimited(retry_after=1.5)
    if cls is KeyUnusable:
        return KeyUnusable(1)
    return ConfigError(["PORT: not a number"]) if cls is ConfigError else cls()


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("InvalidApiKey", 401, "invalid_api_key"),
        ("InvalidJson", 400, "invalid_json"),
        ("InvalidRequest", 400, "invalid_request"),
        ("ModelNotFound", 404, "model_not_found"),
        ("UnknownUrl", 404, "unknown_url"),
        ("MethodNotAllowed", 405, "method_not_supported"),
        ("RequestTooLarge", 413, "request_too_large"),
        ("UnsupportedMediaType", 415, "unsupported_media_type"),
        ("UpstreamUnreachable", 502, "upstream_unreachable"),
        ("UpstreamTls", 502, "upstream_tls"),
        ("UpstreamLost", 502, "upstream_lost"),
        ("UpstreamTruncated", 502, "upstream_truncated"),
        ("UpstreamInvalid", 502, "upstream_invalid"),
        ("ProxyError", 502, "proxy_error"),
        ("UpstreamKeyRejected", 502, "upstream_key_rejected"),
        ("UpstreamTimeout", 504, "upstream_timeout"),
        ("LedgerUnavailable", 503, "ledger_unavailable"),
        ("DirectoryStale", 503, "directory_stale"),
        ("Draining", 503, "draining"),
        ("Overloaded", 503, "overloaded"),
        ("NotFound", 404, "not_found"),
        ("Conflict", 409, "conflict"),
        ("InvalidValue", 422, "invalid_value"),
        ("Forbidden", 403, "forbidden"),
    ],
)
def test_status_and_code_are_fixed(name: str, status: int, code: str) -> None:
    """The status and code of an error do not change, because clients tell errors apart by them."""
    error = make(getattr(errors, name))
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("cls", CLASSES)
def test_envelope_is_that_of_openai(cls: type[AgentError]) -> None:
    """Every error has a body with OpenAI's four fields and a message."""
    error = make(cls)
    fields = json.loads(error.envelope())["error"]
    assert set(fields) == {"message", "type", "param", "code"}
    assert fields["message"] == error.message == str(error) != ""


@pytest.mark.parametrize("cls", CLASSES)
def test_type_follows_from_the_status(cls: type[AgentError]) -> None:
    """A 4xx error is an `invalid_request_error`, any other a `server_error`; a 429 has one of OpenAI's own types."""
    if cls.status == 429:
        assert make(cls).type in ("requests", "insufficient_quota")
        return
    is_callers_fault = cls.status < 499
    assert make(cls).type == ("invalid_request_error" if is_callers_fault else "server_error")


@pytest.mark.parametrize("cls", CLASSES)
def test_tree_in_the_docstring_is_complete(cls: type[AgentError]) -> None:
    """The tree in the module's docstring has every error."""
    assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, UpstreamError)])
@pytest.mark.parametrize("sent", [False, True])
def test_retry_is_safe_only_if_nothing_was_sent(cls: type[UpstreamError], sent: bool) -> None:
    """A retry is safe only if nothing was sent to OpenAI, and never with a rejected key."""
    error = cls(sent=sent)
    assert error.sent is sent
    assert error.retry is (not sent and cls is not UpstreamKeyRejected)


def test_internal_error_is_not_retried() -> None:
    """An internal error must not be retried, because OpenAI may have billed the request."""
    assert AgentError().retry is False


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, ClientError)])
def test_client_error_leaves_the_retry_to_its_status(cls: type[ClientError]) -> None:
    """SDKs do not retry a 4xx; they would retry a 429, which does not fill a budget."""
    assert make(cls).retry is (False if cls is InsufficientQuota else None)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, Unavailable)])
def test_refusal_before_sending_may_be_retried(cls: type[Unavailable]) -> None:
    """A request that the agent refused before sending it may be retried."""
    assert cls().retry is True


def test_envelope_has_message_and_parameter() -> None:
    """The envelope has the message and the parameter of the error."""
    fields = json.loads(errors.InvalidRequest('not "so"', param="model").envelope())["error"]
    assert (fields["message"], fields["param"]) == ('not "so"', "model")


def test_configuration_error_has_a_line_for_each_error() -> None:
    """Each error of a configuration is one line of its message."""
    error = ConfigError(["PORT: not a number", "OPENAI_URL: no host"])
    assert str(error).splitlines() == error.errors == ["PORT: not a number", "OPENAI_URL: no host"]
