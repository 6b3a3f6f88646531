"""The one tree of errors. An edge turns every foreign error into one of these; a face (API, CLI) shows it.

AgentError
├── ClientError              the caller's fault, nothing was sent to OpenAI
│   ├── InvalidApiKey 401, InvalidJson / InvalidRequest 400, ModelNotFound / UnknownUrl 404
│   ├── MethodNotAllowed 405, RequestTooLarge 413, UnsupportedMediaType 415
│   ├── RateLimited, InsufficientQuota 429
├── UpstreamError            OpenAI could not be used; `sent` says whether it may have billed
│   ├── UpstreamUnreachable, UpstreamTls, UpstreamLost, UpstreamTruncated, UpstreamInvalid 502
│   ├── ProxyError, UpstreamKeyRejected 502, UpstreamTimeout 504
├── ClientClosed             the client left, so the rest of its answer is for nobody
├── Unavailable 503          the agent refuses before sending
│   ├── LedgerUnavailable, DirectoryStale, Draining, Overloaded, UsageUnavailable
├── StoreError               PostgreSQL: StoreUnavailable (try again), StoreRejected (it never will),
│                            StoreBadValue (it will not take this value, and others it will)
├── WebhookFailed            to be tried again
├── AdminError             commands and REST: NotFound 404, Conflict 409, VersionMismatch 412, InvalidValue 422,
│                            Forbidden 403
└── SetupError               it cannot run as it is set up: exit code 1; ConfigError, a line a fault: 2
"""

import msgspec


class AgentError(Exception):
    """Anything this program says no with. `status` is HTTP's; `code` and `type` are OpenAI's error fields."""

    status = 500
    code = "internal_error"
    type = "server_error"
    default = "The agent failed to handle this request."
    retry: bool | None = False  # x-should-retry; None: leave it to the status

    def __init__(self, message: str = "", *, param: str | None = None) -> None:
        super().__init__(message or self.default)
        self.message = message or self.default
        self.param = param

    def envelope(self) -> bytes:
        """The JSON body of OpenAI's error envelope
        (https://platform.openai.com/docs/guides/error-codes)."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


# The caller's fault.


class ClientError(AgentError):
    status = 400
    code = "invalid_request"
    type = "invalid_request_error"
    retry: bool | None = None


class InvalidApiKey(ClientError):
    """One body for every reason, so that an answer never tells which tokens exist. `reason` is for the log alone."""

    status = 401
    code = "invalid_api_key"
    default = "Incorrect API key provided. Ask your administrator for a chatgpt-agent token."

    def __init__(self, reason: str = "no token, or not one") -> None:
        super().__init__()
        self.reason = reason


class InvalidJson(ClientError):
    code = "invalid_json"
    default = "The request body is not valid JSON."


class InvalidRequest(ClientError):
    default = "The request is not valid."


class ModelNotFound(ClientError):
    status = 404
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist or you do not have access to it.", param="model")


class UnknownUrl(ClientError):
    status = 404
    code = "unknown_url"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_supported"


class RequestTooLarge(ClientError):
    status = 413
    code = "request_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is over the limit of {limit} bytes.")


class UnsupportedMediaType(ClientError):
    status = 415
    code = "unsupported_media_type"


class RateLimited(ClientError):
    """Too many requests or tokens a minute, requests at once, or wrong tokens. `retry_after`: seconds; `type`: of what
    there are too many, as OpenAI says it."""

    status = 429
    code = "rate_limit_exceeded"
    type = "requests"
    default = "Too many requests. Wait, and try again."

    def __init__(self, message: str = "", *, retry_after: float = 1.0, type: str = "requests") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.type = type


class InsufficientQuota(ClientError):
    """A budget does not hold the most that the call can cost."""

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"
    retry = False


# OpenAI, or the way to it, failed.


class UpstreamError(AgentError):
    """`sent`: whether bytes of the request's body may have reached OpenAI, so that it may have billed."""

    status = 502
    code = "upstream_error"

    def __init__(self, message: str = "", *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
        self.retry = not sent


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    default = "OpenAI could not be reached."


class UpstreamTls(UpstreamError):
    code = "upstream_tls"
    default = "No trusted TLS connection to OpenAI could be made."


class UpstreamLost(UpstreamError):
    code = "upstream_lost"
    default = "The connection to OpenAI was lost before it answered."


class UpstreamTruncated(UpstreamError):
    code = "upstream_truncated"
    default = "The connection to OpenAI was lost in the middle of its answer."


class UpstreamInvalid(UpstreamError):
    code = "upstream_invalid"
    default = "OpenAI answered with something that is not an API answer."


class ProxyError(UpstreamError):
    code = "proxy_error"
    default = "The proxy on the way to OpenAI failed."


class UpstreamKeyRejected(UpstreamError):
    """OpenAI's own 401/403 would show parts of the stored key, so it is replaced by this."""

    code = "upstream_key_rejected"
    default = "OpenAI refused the key that is stored for you. Tell your administrator."

    def __init__(self, message: str = "", *, sent: bool) -> None:
        super().__init__(message, sent=sent)
        self.retry = False  # sent or not, the key stays what it is


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    default = "OpenAI did not answer in time."


class ClientClosed(AgentError):
    """The client went away; nobody is left to read this. 499 is nginx's number for it, used in logs alone."""

    status = 499
    code = "client_closed"


# The agent refuses before anything is sent.


class Unavailable(AgentError):
    status = 503
    retry = True


class LedgerUnavailable(Unavailable):
    code = "ledger_unavailable"
    default = "The ledger cannot be written, so no request is sent. No record, no service."


class DirectoryStale(Unavailable):
    code = "directory_stale"
    default = "The agent has not seen its database for too long to know who may use it."


class Draining(Unavailable):
    code = "draining"
    default = "The agent is shutting down."


class Overloaded(Unavailable):
    code = "overloaded"
    default = "The agent serves as many requests at once as it may."


class UsageUnavailable(Unavailable):
    code = "books_unavailable"
    default = "The books cannot be read at the moment. Requests to OpenAI are not affected."


# PostgreSQL.


class StoreError(AgentError):
    """`str()` never holds values of a statement: psycopg2's own message may, so edges shorten it."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database is away, too slow or cut off: the same statement may work later."""

    status = 503
    code = "database_unavailable"
    retry = None  # a change that was under way may have been made


class StoreRejected(StoreError):
    """The database refused the statement itself: it will refuse it again."""


class StoreBadValue(StoreRejected):
    """The database refused a value in the statement, not the statement: another row may pass."""


class WebhookFailed(AgentError):
    """Nobody at the webhook said that what was posted has arrived."""

    code = "webhook_failed"


# Commands and the REST API for administrators.


class AdminError(AgentError):
    status = 400
    type = "invalid_request_error"


class NotFound(AdminError):
    status = 404
    code = "not_found"


class Conflict(AdminError):
    status = 409
    code = "conflict"


class InvalidValue(AdminError):
    status = 422
    code = "invalid_value"


class Forbidden(AdminError):
    status = 403
    code = "forbidden"


class VersionMismatch(AdminError):
    """Somebody else has changed it since it was read: nothing was changed (RFC 9110 §13.1.1)."""

    status = 412
    code = "version_mismatch"


# The start.


class SetupError(AgentError):
    """The program cannot start or go on as it is set up; the message is one line for the operator."""


class ConfigError(SetupError):
    """Every fault of a configuration at once, a line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
