"""The one tree of errors. Each adapter translates foreign errors into these; `web` and `cli` show them.

AgentError
├── ClientError              the caller's fault; nothing was sent to OpenAI
│   ├── InvalidApiKey, InvalidCredentials 401, InvalidJson / InvalidRequest 400, ModelNotFound / UnknownUrl 404
│   ├── MethodNotAllowed 405, RequestTimeout 408, OneTimeLinkUsed 410, RequestTooLarge 413, UnsupportedMediaType 415
│   ├── MisdirectedRequest 421, UpgradeRequired 426, HeadTooLarge 431, HttpVersionNotSupported 505
│   ├── RateLimited, TooManyConnections, InsufficientQuota 429
├── UpstreamError            the exchange with OpenAI failed; `sent` says whether OpenAI may have billed it
│   ├── UpstreamUnreachable, UpstreamTls, UpstreamLost, UpstreamTruncated, UpstreamInvalid 502
│   ├── ProxyError, UpstreamKeyRejected 502, UpstreamTimeout 504
├── ClientClosed 499         the client disconnected before its answer was complete
├── Unavailable 503          the agent refuses a request before sending it
│   ├── LedgerUnavailable, DirectoryStale, Draining, Overloaded, MemoryFull, UsageUnavailable
├── StoreError               PostgreSQL: StoreUnavailable (worth a retry), StoreRejected (the statement is refused),
│                            StoreBadValue (one of its values is refused)
├── WebhookFailed            worth a retry
├── KeyUnusable              a user's stored OpenAI key cannot be decrypted
├── AdminError               commands and REST: NotFound 404, Conflict 409, VersionMismatch 412, InvalidValue 422,
│                            Forbidden 403
└── SetupError               the program cannot run with this setup (exit code 1); ConfigError (exit code 2)
"""

import msgspec


class AgentError(Exception):
    """Base of all errors of this program. `status` is the HTTP status; `type`, `param` and `code` are the fields of
    OpenAI's error object; `retry` is the value of `x-should-retry`, None to leave it out. `reason` is for the log only:
    no message, no secret."""

    status = 500
    code = "internal_error"
    type = "server_error"
    default = "Internal error of the agent."
    retry: bool | None = False

    def __init__(self, message: str = "", *, param: str | None = None, reason: str = "") -> None:
        super().__init__(message or self.default)
        self.message = message or self.default
        self.param = param
        self.reason = reason

    def envelope(self) -> bytes:
        """Returns OpenAI's error object as JSON (https://platform.openai.com/docs/guides/error-codes)."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


# The caller's fault.


class ClientError(AgentError):
    status = 400
    code = "invalid_request"
    type = "invalid_request_error"
    retry: bool | None = None


class InvalidApiKey(ClientError):
    """The answer is the same for every reason, so that it does not tell which tokens exist. `reason` is for the log."""

    status = 401
    code = "invalid_api_key"
    default = "Incorrect API key provided. Ask your administrator for a chatgpt-agent token."

    def __init__(self, reason: str = "missing or malformed") -> None:
        super().__init__(reason=reason)


class InvalidCredentials(ClientError):
    """A sign-in to the console that failed. The answer is the same for every reason, so that it does not tell which
    admins exist. `reason` is for the log."""

    status = 401
    code = "invalid_credentials"
    default = "The name or the password is not right."

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)


class InvalidJson(ClientError):
    code = "invalid_json"
    default = "The request body is not valid JSON."


class InvalidRequest(ClientError):
    default = "The request is not valid."


class ModelNotFound(ClientError):
    """The answer is the same for every reason: a client cannot tell models without a price from those of others."""

    status = 404
    code = "model_not_found"

    def __init__(self, model: str, *, reason: str = "") -> None:
        text = f"The model '{model}' does not exist or you do not have access to it."
        super().__init__(text, param="model", reason=reason)


class UnknownUrl(ClientError):
    status = 404
    code = "unknown_url"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_supported"


class RequestTimeout(ClientError):
    status = 408
    code = "request_timeout"
    default = "The request did not arrive in time."


class OneTimeLinkUsed(ClientError):
    """The link that creates the first admin has been used, is of an earlier start, or was never one."""

    status = 410
    code = "one_time_link_used"
    default = (
        "This link has been used, or is not the one that the agent wrote to its log at its last start. Sign in, or run "
        "`chatgpt-agent admin password NAME` on the agent's machine."
    )


class RequestTooLarge(ClientError):
    status = 413
    code = "request_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than the limit of {limit} bytes.")


class UnsupportedMediaType(ClientError):
    status = 415
    code = "unsupported_media_type"


class UpgradeRequired(ClientError):
    """Clients that try a WebSocket first take this status as the sign to use HTTP."""

    status = 426
    code = "upgrade_required"
    default = "WebSocket connections are not supported here. Send the request over HTTP."


class HeadTooLarge(ClientError):
    status = 431
    code = "request_head_too_large"
    default = "The header fields of the request are too large."


class HttpVersionNotSupported(ClientError):
    status = 505
    code = "http_version_not_supported"
    type = "server_error"
    default = "Only the versions 1.0 and 1.1 of HTTP are supported here."


class RateLimited(ClientError):
    """Too many requests or tokens a minute, requests at once, or wrong tokens. `retry_after`: seconds; `type`: what
    there is too much of, in OpenAI's words (`requests` or `tokens`)."""

    status = 429
    code = "rate_limit_exceeded"
    type = "requests"
    default = "Too many requests. Please wait and try again."

    def __init__(
        self, message: str = "", *, retry_after: float = 1.0, type: str = "requests", reason: str = ""
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after
        self.type = type


class TooManyConnections(ClientError):
    status = 429
    code = "too_many_connections"
    type = "requests"
    retry_after = 1.0  # seconds
    default = "Too many connections are open from your address. Close some, and try again."


class InsufficientQuota(ClientError):
    """The maximum cost of the request does not fit into a budget."""

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"
    retry = False


# The exchange with OpenAI failed.


class UpstreamError(AgentError):
    """`sent`: whether bytes of the request's body may have reached OpenAI, so that it may have billed them. `cause` is
    for the log: what exactly happened."""

    status = 502
    code = "upstream_error"

    def __init__(self, message: str = "", *, sent: bool, cause: str = "") -> None:
        super().__init__(message)
        self.sent = sent
        self.cause = cause
        self.retry = not sent


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    default = "OpenAI could not be reached."


class UpstreamTls(UpstreamError):
    code = "upstream_tls"
    default = "The TLS connection to OpenAI failed, or its certificate is not trusted."


class UpstreamLost(UpstreamError):
    code = "upstream_lost"
    default = "The connection to OpenAI was lost before its answer."


class UpstreamTruncated(UpstreamError):
    code = "upstream_truncated"
    default = "The connection to OpenAI was lost in the middle of its answer."


class UpstreamInvalid(UpstreamError):
    code = "upstream_invalid"
    default = "OpenAI's answer is not a valid answer of its API."


class ProxyError(UpstreamError):
    code = "proxy_error"
    default = "The proxy between the agent and OpenAI failed."


class UpstreamKeyRejected(UpstreamError):
    """Replaces OpenAI's own 401 and 403, which show parts of the stored key."""

    code = "upstream_key_rejected"
    default = "OpenAI rejected the API key that is stored for you. Ask your administrator to replace it."

    def __init__(self, message: str = "", *, sent: bool, cause: str = "") -> None:
        super().__init__(message, sent=sent, cause=cause)
        self.retry = False  # the key stays the same, whether the request was sent or not


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    default = "OpenAI did not answer in time."


class ClientClosed(AgentError):
    """The client disconnected, so this error is never sent. 499 is nginx's status for it, and appears in logs only."""

    status = 499
    code = "client_closed"


# The agent refuses a request before sending it.


class Unavailable(AgentError):
    status = 503
    retry = True


class LedgerUnavailable(Unavailable):
    """Requests that cannot be recorded are not served."""

    code = "ledger_unavailable"
    default = "The ledger cannot be written at the moment, so the agent serves no requests."


class DirectoryStale(Unavailable):
    code = "directory_stale"
    default = "The agent has been without its database for too long to check tokens."


class Draining(Unavailable):
    code = "draining"
    default = "The agent is shutting down."


class Overloaded(Unavailable):
    code = "overloaded"
    default = "The agent is at its limit of concurrent requests."


class MemoryFull(Unavailable):
    code = "memory_full"
    default = "The agent holds as much of other requests and answers as it may. Please try again."


class UsageUnavailable(Unavailable):
    code = "usage_unavailable"
    default = "Usage cannot be read at the moment. Requests to OpenAI are not affected."


# PostgreSQL.


class StoreError(AgentError):
    """`str()` never holds values of a statement: psycopg2's own message may, so the adapter shortens it."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database is down, too slow, or the connection was lost: the same statement may succeed later."""

    status = 503
    code = "database_unavailable"
    retry = None  # a change that was in progress may have been made


class StoreRejected(StoreError):
    """The database rejected the statement and will reject it again."""


class StoreBadValue(StoreRejected):
    """The database rejected a value in the statement: the same statement with another row may succeed."""


class WebhookFailed(AgentError):
    """The webhook did not confirm an alert."""

    code = "webhook_failed"


class KeyUnusable(AgentError):
    """A stored OpenAI key was not encrypted for this user with this master key."""

    code = "key_unusable"

    def __init__(self, user_id: int) -> None:
        super().__init__(
            f"the stored OpenAI key of user {user_id} was not encrypted for this user with this master key"
        )


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


class MisdirectedRequest(ClientError):
    """A request under a host name that is not ours (RFC 9110 §15.5.20): a web page may have given our address to a name
    of its own, so that a browser treats our answers as its own (DNS rebinding)."""

    status = 421
    code = "unknown_host"
    default = "The console is not reached under this host name. Add it to `admin_hosts` in the configuration."


class VersionMismatch(AdminError):
    """The record has changed since it was read, so nothing was written (RFC 9110 §13.1.1)."""

    status = 412
    code = "version_mismatch"


# The start.


class SetupError(AgentError):
    """The program cannot start or continue with this setup. The message is one line for the operator."""


class ConfigError(SetupError):
    """All errors of a configuration, one a line."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors
