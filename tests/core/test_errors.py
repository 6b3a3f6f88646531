"""Errors: one tree, OpenAI's envelope, and whether a retry is safe."""

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
    """An error of any class, with the least that it takes."""
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
    """Clients tell errors apart by status and code, so these do not change."""
    error = make(getattr(errors, name))
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("cls", CLASSES)
def test_envelope_is_that_of_openai(cls: type[AgentError]) -> None:
    """Every error has a body with OpenAI's four fields and a message that says something."""
    error = make(cls)
    fields = json.loads(error.envelope())["error"]
    assert set(fields) == {"message", "type", "param", "code"}
    assert fields["message"] == error.message == str(error) != ""


@pytest.mark.parametrize("cls", CLASSES)
def test_type_says_whose_fault_it_was(cls: type[AgentError]) -> None:
    """What has a status of 4xx for a client to read is an `invalid_request_error`, all else a `server_error`; those of
    limits are named as OpenAI names them."""
    if cls.status == 429:
        assert make(cls).type in ("requests", "insufficient_quota")
        return
    callers = cls.status < 499
    assert make(cls).type == ("invalid_request_error" if callers else "server_error")


@pytest.mark.parametrize("cls", CLASSES)
def test_tree_is_drawn_in_the_module(cls: type[AgentError]) -> None:
    """The drawing at the head of the module leaves no error out."""
    assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, UpstreamError)])
@pytest.mark.parametrize("sent", [False, True])
def test_retry_is_safe_only_if_nothing_was_sent(cls: type[UpstreamError], sent: bool) -> None:
    """Once OpenAI may have billed a request its client is told not to send it again, nor ever with a refused key."""
    error = cls(sent=sent)
    assert error.sent is sent
    assert error.retry is (not sent and cls is not UpstreamKeyRejected)


def test_fault_of_the_agent_is_not_retried() -> None:
    """An error that nobody foresaw may come after OpenAI has billed: the client is told not to try again."""
    assert AgentError().retry is False


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, ClientError)])
def test_fault_of_the_caller_says_nothing_of_retries(cls: type[ClientError]) -> None:
    """SDKs know from a 4xx status alone that the same request would fail again; a 429 they would try again, which does
    not fill a budget."""
    assert make(cls).retry is (False if cls is InsufficientQuota else None)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, Unavailable)])
def test_refusal_before_sending_may_be_retried(cls: type[Unavailable]) -> None:
    """Where the agent refused before anything was sent, the client may try again."""
    assert cls().retry is True


def test_message_and_parameter_are_told() -> None:
    """The envelope holds the message and the parameter that the error was raised with."""
    fields = json.loads(errors.InvalidRequest('not "so"', param="model").envelope())["error"]
    assert (fields["message"], fields["param"]) == ('not "so"', "model")


def test_configuration_faults_are_all_told() -> None:
    """A faulty configuration is told with every fault at once, a line each."""
    error = ConfigError(["PORT: not a number", "OPENAI_URL: no host"])
    assert str(error).splitlines() == error.faults == ["PORT: not a number", "OPENAI_URL: no host"]
