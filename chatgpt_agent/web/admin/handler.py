"""The handler of the administrators' API: checks the token, reads the parameters, and writes the answer."""

import logging
import re
import zlib
from typing import Any

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import (
    AgentError,
    Draining,
    Forbidden,
    InvalidApiKey,
    InvalidRequest,
    InvalidValue,
    MethodNotAllowed,
    NotFound,
    StoreBadValue,
    StoreError,
    StoreUnavailable,
    UnsupportedMediaType,
)
from chatgpt_agent.core.plain_json import encode
from chatgpt_agent.web.admin.parameters import parse_body, parse_query, to_struct
from chatgpt_agent.web.admin.routes import PREFIX, ROUTES
from chatgpt_agent.web.admin.routing import AdminApi, AdminRequest, Route
from chatgpt_agent.web.body import BodyHandler
from chatgpt_agent.web.client_stream import LINGER_BYTES_WITH_TOKEN

log = logging.getLogger(__name__)

MAX_WARNINGS = 20  # of an answer

_ENTITY_TAG = re.compile(r'"([^"]*)"')
_VERSION = re.compile(r'"([0-9]{1,18})(?:-[0-9a-f]{8})?"')
_NO_VERSION = -1  # of an If-Match that no object matches


class AdminHandler(BodyHandler):
    """Handles the routes of one path. Browsers get no access from another origin, and cache nothing."""

    def initialize(self, api: AdminApi, routes: dict[str, Route]) -> None:
        self._api = api
        self._routes = routes
        self.methods = (*routes, "HEAD") if "GET" in routes else (*routes,)
        self._actor: Actor | None = None  # of this request

    def clear(self) -> None:
        """As the base class's, with the headers that keep browsers out of every answer."""
        super().clear()
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    # Before the body.

    async def prepare(self) -> None:  # type: ignore[override]  # Tornado awaits it; the base class's is not async
        try:
            await self._authorize()
        except AgentError as error:
            self.refuse(public_error(error))

    async def _authorize(self) -> None:
        if self.request.method not in self.methods:
            raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
        if self._api.lifecycle.draining:
            raise Draining
        admin, address = await self._api.authenticator.identify(self.request.headers, self.request.remote_ip)
        self.access.user = admin.name
        self.stream.linger_bytes = LINGER_BYTES_WITH_TOKEN
        if admin.role != Role.ADMIN and not self._route.for_viewers:
            raise Forbidden("Viewers have read-only access, without admins.")
        self._actor = Actor(admin.name, Via.REST, address)
        self.max_body_size = self._route.max_body
        self.reserve_body(self._api.memory.share(f"admin {admin.name}"))

    @property
    def _route(self) -> Route:
        return self._routes["GET" if self.request.method == "HEAD" else str(self.request.method)]

    # With the body.

    async def _answer(self, *path_values: str) -> None:
        with self._api.lifecycle:
            try:
                request = self._parse(path_values)
                answer = await self._route.handler(request)
                for text in request.warnings[:MAX_WARNINGS]:
                    self.add_header("X-Agent-Warning", text.encode("ascii", "backslashreplace").decode())
                self._write_answer(answer)
            except AgentError as error:
                self.write_agent_error(self._with_param(public_error(error)))

    get = head = post = put = patch = delete = options = _answer

    def _parse(self, path_values: tuple[str, ...]) -> AdminRequest[Any, Any, Any]:
        route = self._route
        assert self._actor is not None
        names = re.findall(r"{(\w+)}", route.path)
        try:
            path = to_struct(zip(names, path_values, strict=True), route.path_params)
        except InvalidRequest as error:  # no object has such a name or id
            raise NotFound(f"there is nothing at this address: {error.message}") from None
        return AdminRequest(
            api=self._api,
            actor=self._actor,
            path=path,
            query=to_struct(parse_query(self.request.query), route.query),
            body=self._parse_body(route),
            version=self._version(route),
        )

    def _parse_body(self, route: Route) -> Any:
        if route.body is None:
            if self.received:
                raise InvalidRequest("This endpoint takes no body.")
            return None
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type not in route.media_types or "Content-Encoding" in self.request.headers:
            raise UnsupportedMediaType(f"The body must be {' or '.join(route.media_types)}, and not compressed.")
        body = self.take_body()
        return body if route.body is bytes else parse_body(body, route.body)

    def _version(self, route: Route) -> int | None:
        """Returns the version in If-Match, or None if any will do. A foreign or a weak tag matches no version."""
        tags = self.request.headers.get_list("If-Match")
        if not tags or tags == ["*"]:
            return None
        if not route.conditional:
            raise InvalidRequest("If-Match is not supported here.", param="If-Match")
        match = _VERSION.fullmatch(tags[0].strip()) if len(tags) == 1 else None
        return int(match[1]) if match else _NO_VERSION

    def _with_param(self, error: AgentError) -> AgentError:
        """Returns an error of a rule, whose message begins with a field of the request, with this field as `param`."""
        name, is_field, _ = error.message.partition(": ")
        if isinstance(error, InvalidValue) and error.param is None and is_field and name in self._route.fields:
            error.param = name
        return error

    # The answer.

    def _write_answer(self, answer: Any) -> None:
        route = self._route
        if route.answer is None:
            self.set_status(route.status)
        elif route.answer is bytes:
            self.set_status(route.status)
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            self.write(answer)
        else:
            body = encode(answer)
            if route.has_etag and self._is_known(self._set_etag(answer.version, body)):
                self.set_status(304)
            else:
                self.write_json(body, route.status)

    def _set_etag(self, version: int, body: bytes) -> str:
        """Sets the ETag. The version does not cover all that changes: last-used times and spending have none."""
        tag = f"{version}-{zlib.crc32(body):08x}"
        self.set_header("ETag", f'"{tag}"')
        return tag

    def _is_known(self, tag: str) -> bool:
        known_etags = ",".join(self.request.headers.get_list("If-None-Match"))
        return not self._route.changes and (known_etags == "*" or tag in _ENTITY_TAG.findall(known_etags))

    def write_agent_error(self, error: AgentError) -> None:
        super().write_agent_error(error)
        if isinstance(error, StoreUnavailable):
            self.set_header("Retry-After", "1")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 403:  # by Tornado's cross_origin_protection
            self.write_agent_error(Forbidden("Pages of another origin have no access."))
            self.finish()
        else:
            super().write_error(status_code, **kwargs)


def admin_handlers(api: AdminApi) -> list[Any]:
    """Returns Tornado's routes: a handler for each path, with the routes of its methods."""
    paths: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + re.sub(r"{\w+}", "([^/]+)", route.path), {})[route.method] = route
    return [(path, AdminHandler, {"api": api, "routes": routes}) for path, routes in paths.items()]


def public_error(error: AgentError) -> AgentError:
    """Returns an error for an administrator, without the database's own message, which names hosts and tables."""
    if isinstance(error, InvalidApiKey):
        error.message = "This needs an admin's token: `chatgpt-agent admin token` issues one."
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable("The database is unavailable or too slow.")
    if isinstance(error, StoreBadValue):
        return InvalidValue("The database refuses a value.")
    if isinstance(error, StoreError):
        log.error("%s", error)
        return AgentError()
    return error
