"""The one handler of the administrators' API: who asks, for what, and the answer of the route's function."""

import logging
import re
import zlib
from collections.abc import Iterable
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import (
    AgentError,
    Draining,
    Forbidden,
    InvalidApiKey,
    InvalidJson,
    InvalidRequest,
    InvalidValue,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    StoreBadValue,
    StoreError,
    StoreUnavailable,
    UnsupportedMediaType,
)
from chatgpt_agent.core.plain_json import encode
from chatgpt_agent.web.admin.routes import PREFIX, ROUTES
from chatgpt_agent.web.admin.routing import MAX_BODY, AdminApi, Call, Route
from chatgpt_agent.web.base import ApiHandler

log = logging.getLogger(__name__)

MAX_IGNORED = 8 * MAX_BODY  # bytes more than a body may have, which are read so that its sender hears of it

_ENTITY_TAG = re.compile(r'"([^"]*)"')
_VERSION = re.compile(r'"([0-9]{1,18})(?:-[0-9a-f]{8})?"')


class AdminHandler(ApiHandler):
    """What is asked on one path. Browsers cannot use it from another origin, and keep nothing of it."""

    def initialize(self, api: AdminApi, routes: dict[str, Route]) -> None:
        self._api = api
        self._routes = routes
        self.methods = (*routes, "HEAD") if "GET" in routes else (*routes,)
        # Of this request.
        self._body = bytearray()
        self._size = 0
        self._max_body = MAX_BODY
        self._refusal: AgentError | None = None
        self._actor: Actor | None = None

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    # The head.

    async def prepare(self) -> None:  # type: ignore[override]
        try:
            await self._let_in()
        except AgentError as error:
            self._refusal = _shown(error)  # answered when the body has been read: its sender would else not see it

    async def _let_in(self) -> None:
        if self.request.method not in self.methods:
            raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
        if self._api.lifecycle.draining:
            raise Draining
        admin, address = await self._api.gate.identify(self.request.headers, self.request.remote_ip)
        self.access.who = admin.name
        if admin.role != Role.ADMIN and not self._route.for_viewers:
            raise Forbidden("A viewer changes nothing." if self._route.changes else "This is not for viewers.")
        self._max_body = self._route.max_body
        self._actor = Actor(admin.name, Via.REST, address)

    @property
    def _route(self) -> Route:
        return self._routes["GET" if self.request.method == "HEAD" else str(self.request.method)]

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_body + MAX_IGNORED:
            self.cut_off()
        elif self._size > self._max_body:
            self._body.clear()
            self._refusal = self._refusal or RequestTooLarge(self._max_body)
        elif self._refusal is None:
            self._body += chunk

    # With the body.

    async def _answer(self, *values: str) -> None:
        with self._api.lifecycle.request():
            try:
                if self._refusal is not None:
                    raise self._refusal
                self._write_found(await self._route.handler(self._call(values)))
            except AgentError as error:
                self.write_agent_error(_shown(error))

    get = head = post = put = patch = delete = _answer

    def _call(self, values: tuple[str, ...]) -> Call[Any, Any, Any]:
        route = self._route
        assert self._actor is not None
        names = re.findall(r"{(\w+)}", route.path)
        try:
            path = _parameters(zip(names, values, strict=True), route.path_params)
        except InvalidRequest as error:  # whatever cannot be a name or an id is not there
            raise NotFound(f"there is nothing at this address: {error.message}") from None
        query = _parameters(_query(self.request.query), route.query)
        return Call(
            api=self._api,
            actor=self._actor,
            path=path,
            query=query,
            body=self._body_of(route),
            version=self._version(route),
        )

    def _body_of(self, route: Route) -> Any:
        if route.body is None:
            if self._size:
                raise InvalidRequest("No body is wanted here.")
            return None
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in route.media_types or "Content-Encoding" in self.request.headers:
            raise UnsupportedMediaType(f"The body must be {' or '.join(route.media_types)}, and not compressed.")
        if route.body is bytes:
            return bytes(self._body)
        try:
            return msgspec.convert(_whole_numbers(msgspec.json.decode(bytes(self._body))), route.body)
        except msgspec.ValidationError as error:
            raise _invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson from None

    def _version(self, route: Route) -> int | None:
        """The version that the request is for; one that nothing has where the tag is none of ours, or a weak one."""
        tags = self.request.headers.get_list("If-Match")
        if not tags or tags == ["*"]:
            return None
        if not route.conditional:
            raise InvalidRequest("If-Match is not supported here.", param="If-Match")
        found = _VERSION.fullmatch(tags[0].strip()) if len(tags) == 1 else None
        return int(found[1]) if found else -1

    # The answer.

    def _write_found(self, found: Any) -> None:
        route = self._route
        if route.answer is None:
            self.set_status(route.status)
            return
        if route.answer is bytes:
            self.set_status(route.status)
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            self.write(found)
            return
        body = encode(found)
        if route.has_etag:
            # The version alone would miss what changes without one: when a token was last used, what is spent.
            tag = f'"{found.version}-{zlib.crc32(body):08x}"'
            self.set_header("ETag", tag)
            known = _ENTITY_TAG.findall(",".join(self.request.headers.get_list("If-None-Match")))
            if not route.changes and (tag[1:-1] in known or self.request.headers.get("If-None-Match") == "*"):
                self.set_status(304)
                return
        self.write_json(body, route.status)

    def write_agent_error(self, error: AgentError) -> None:
        super().write_agent_error(error)
        if isinstance(error, StoreUnavailable):
            self.set_header("Retry-After", "1")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 403:  # Tornado's cross_origin_protection
            self.write_agent_error(Forbidden("A page of another origin may not do this."))
            self.finish()
        else:
            super().write_error(status_code, **kwargs)


def admin_handlers(api: AdminApi) -> list[Any]:
    """Tornado's table: a handler for each path, with the routes of its methods."""
    paths: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + re.sub(r"{\w+}", "([^/]+)", route.path), {})[route.method] = route
    return [(path, AdminHandler, {"api": api, "routes": routes}) for path, routes in paths.items()]


def _shown(error: AgentError) -> AgentError:
    """An error as an answer tells it: nothing of the database's own words, which name hosts and tables."""
    if isinstance(error, InvalidApiKey):
        error.message = "This needs an administrator's token, as `chatgpt-agent admin token` issues them."
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable("The database is away, or too slow.")
    if isinstance(error, StoreBadValue):
        return InvalidValue("The database refuses a value.")
    if isinstance(error, StoreError):
        log.error("%s", error)
        return AgentError()
    return error


def _whole_numbers(value: Any) -> Any:
    """JSON's `1.0` is a whole number, too (JSON Schema, validation §6.1.1), which msgspec does not think."""
    if isinstance(value, dict):
        return {key: _whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _invalid(error: msgspec.ValidationError) -> InvalidRequest:
    """msgspec's words: `Expected …, got … - at `$.path``."""
    words, _, where = str(error).partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    return InvalidRequest(f"{path}: {words}" if path else words, param=path or None)


def _query(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise InvalidRequest("The query is not valid.") from None


def _parameters(texts: Iterable[tuple[str, str]], kind: type[msgspec.Struct]) -> Any:
    """Texts as the fields of a struct, of which a list may be there more than once. msgspec's own way to read numbers
    out of texts takes ` 1` and `1.0` for one."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in texts:
        of = fields.get(name)
        if get_origin(of) is tuple:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise InvalidRequest("A parameter is there twice.")
        else:
            values[name] = _value(text, of)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None


def _value(text: str, kind: Any) -> Any:
    if _may_be(kind, int) and re.fullmatch("0|[1-9][0-9]{0,18}", text):
        return int(text)
    if _may_be(kind, bool) and text in ("true", "false"):
        return text == "true"
    return text


def _may_be(kind: Any, wanted: type) -> bool:
    return kind is wanted or any(_may_be(each, wanted) for each in get_args(kind))  # also within Annotated and unions
