"""A route of the administrators' API, and the request that its function gets."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.administration import Administration, Stores
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.runtime.authentication import AdminAuthenticator
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.runtime.memory import Memory
from chatgpt_agent.runtime.upstream_contact import UpstreamContact
from chatgpt_agent.web.admin.schemas import Empty

P = TypeVar("P")
Q = TypeVar("Q")
B = TypeVar("B")


MAX_BODY = 1024 * 1024  # bytes
MAX_FILE = 8 * MAX_BODY  # bytes
CSV_FILE: dict[str, Any] = {"text/csv": {"type": "string"}}


class AdminApi(msgspec.Struct, kw_only=True):
    """What the administrators' API works with. `config`: the one in force, which a reload replaces."""

    config: Config
    authenticator: AdminAuthenticator
    stores: Stores
    lifecycle: Lifecycle
    memory: Memory
    upstream: UpstreamContact


class AdminRequest(msgspec.Struct, Generic[P, Q, B], frozen=True, kw_only=True):
    """An authorized request with its parameters. `version`: from If-Match; the change applies only to this version."""

    api: AdminApi
    actor: Actor
    path: P
    query: Q
    body: B
    version: int | None
    warnings: list[str] = msgspec.field(default_factory=list)  # for the answer's header

    @property
    def administration(self) -> Administration:
        """The use cases, for the administrator of this request."""
        return Administration(
            self.api.config, self.api.stores, self.actor, self.api.authenticator.keyring, warn=self.warnings.append
        )


AnyRequest = AdminRequest[Any, Any, Any]
Operation = Callable[[AnyRequest], Awaitable[Any]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path, and what the OpenAPI document says of it.

    `body`: bytes for a file of one of the media types in `files`, each with its schema. `answer`: bytes for CSV, None
    for 204. `conditional`: supports If-Match. `read_only`: changes nothing, although it is not a GET. `admins_only`:
    closed to viewers, although it changes nothing."""

    method: str
    path: str
    handler: Operation
    summary: str
    path_params: type[msgspec.Struct] = Empty
    query: type[msgspec.Struct] = Empty
    body: type[msgspec.Struct] | type[bytes] | None = None
    files: Mapping[str, Any] = msgspec.field(default_factory=dict)
    max_body: int = MAX_BODY
    answer: Any = None
    status: int = 200
    conditional: bool = False
    read_only: bool = False
    admins_only: bool = False
    tag: str

    @property
    def media_types(self) -> tuple[str, ...]:
        """The media types of the body."""
        return tuple(self.files) or ("application/json",)

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields in path, query and body."""
        kinds = [self.path_params, self.query, *([] if self.body in (None, bytes) else [self.body])]
        return frozenset(name for kind in kinds for name in getattr(kind, "__struct_encode_fields__", ()))

    @property
    def changes(self) -> bool:
        """Whether the route may change something."""
        return self.method != "GET" and not self.read_only

    @property
    def for_viewers(self) -> bool:
        """Whether a viewer may use the route."""
        return not (self.changes or self.admins_only)

    @property
    def has_etag(self) -> bool:
        """Whether the answer has an ETag."""
        return "version" in getattr(self.answer, "__struct_fields__", ())
