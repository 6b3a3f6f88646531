"""The route tables: one for the API, one for administration."""

import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.web import Application, RequestHandler

from chatgpt_agent.admin.own_token import OwnToken
from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS, Endpoint
from chatgpt_agent.core.http.stored import ID
from chatgpt_agent.core.proxy_probe import PATH as PROBE_PATH
from chatgpt_agent.runtime.account_limiter import AccountLimiter
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.proxy_probe import ProxyProbe
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.web import me_page
from chatgpt_agent.web import metrics as metrics_page
from chatgpt_agent.web.account import MeHandler, MyUsageHandler, WeekHandler
from chatgpt_agent.web.account_reader import AccountReader
from chatgpt_agent.web.admin.handler import admin_handlers
from chatgpt_agent.web.admin.routing import AdminApi
from chatgpt_agent.web.base import log_request
from chatgpt_agent.web.console import languages, rendering
from chatgpt_agent.web.console.assets import AssetHandler
from chatgpt_agent.web.console.handler import AdminRootHandler
from chatgpt_agent.web.console.routes import console_handlers
from chatgpt_agent.web.console.routing import ConsoleServices
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.forward import ForwardHandler, ForwardServices
from chatgpt_agent.web.health import AliveHandler, Readiness, ReadyHandler, RootHandler
from chatgpt_agent.web.me_page import OwnPageHandler, OwnPageServices
from chatgpt_agent.web.me_rotate import RotateHandler
from chatgpt_agent.web.metrics import MetricsHandler, MetricsServices
from chatgpt_agent.web.models import ModelsHandler
from chatgpt_agent.web.proxy_probe import ProxyProbeHandler
from chatgpt_agent.web.unknown_url import UnknownUrlHandler

_SETTINGS: dict[str, Any] = {
    "log_function": log_request,
    "default_handler_class": UnknownUrlHandler,
    "compress_response": False,  # it would also compress streams
}


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the handlers of the API work with. `endpoints`: the forwarded ones, by the paths that clients use and by
    method; `on_error` is called with the error of each request that gets one."""

    endpoints: dict[str, dict[str, Endpoint]]
    forward: ForwardServices
    directory: Directory
    budgets: Budgets
    read_pool: ReadPool
    account_limiter: AccountLimiter
    own_token: OwnToken
    public_url: Callable[[], str | None]
    readiness: Readiness
    proxy_probe: ProxyProbe
    cors: Cors
    on_error: Callable[[AgentError], None]


Route = tuple[type[RequestHandler], dict[str, Any]]


class RoutedApplication(Application):
    """An application that looks up `paths` in a dictionary before it tries its patterns one after the other. `probe`:
    for its own URL, which no answer names."""

    def __init__(self, paths: dict[str, Route], handlers: list[Any], probe: ProxyProbe, **settings: Any) -> None:
        named = [pattern for pattern, *_ in handlers if "(" not in pattern]
        unknown = {"paths": [*paths, *named]}
        hidden = (PROBE_PATH, ProxyProbeHandler, {**unknown, "probe": probe})
        super().__init__([*handlers, hidden], **_SETTINGS, default_handler_args=unknown, **settings)
        self._routes = {alias: route for path, route in paths.items() for alias in aliases(path)}

    def find_handler(  # type: ignore[override] # Tornado's own type for it is a private class
        self, request: HTTPServerRequest, **kwargs: Any
    ) -> HTTPMessageDelegate:
        """The handler of a request's path."""
        route = self._routes.get(request.path)
        return self.get_handler_delegate(request, *route) if route else super().find_handler(request, **kwargs)


def aliases(path: str) -> list[str]:
    """Returns the spellings of a path of OpenAI's API that clients may use: with and without `/v1` and a slash at the
    end, because base URLs are written with and without them."""
    return [spelling + end for spelling in {path, path.removeprefix("/v1")} for end in ("", "/")]


def _pattern(path: str) -> str:
    """Returns the pattern of a path with ids, in all spellings."""
    return r"(?:/v1)?" + re.sub(r"\{(\w+)\}", rf"(?P<\1>{ID})", path.removeprefix("/v1")) + "/?"


def forwarded_endpoints(urls: Collection[str]) -> dict[str, dict[str, Endpoint]]:
    """The endpoints whose upstream URLs are known, by the paths at which clients reach them and by method."""
    paths = {"/chat": {CHAT.method: CHAT}}
    for endpoint in ENDPOINTS:
        if endpoint.name in urls:
            paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return paths


def api_app(services: Services) -> Application:
    """What clients reach."""
    languages.load()
    forward = services.forward
    token = {"authenticator": forward.authenticator, "rate_limiter": forward.rate_limiter}
    models = {**token, "directory": services.directory}
    reader = AccountReader(
        read_pool=services.read_pool,
        directory=services.directory,
        rate_limiter=forward.rate_limiter,
        budgets=services.budgets,
    )
    account = {
        **token,
        "read_pool": services.read_pool,
        "account_limiter": services.account_limiter,
        "reader": reader,
    }
    rotation = {
        **token,
        "own_token": services.own_token,
        "lifecycle": forward.lifecycle,
        "memory": forward.memory,
    }
    page = OwnPageServices(
        authenticator=forward.authenticator,
        account_limiter=services.account_limiter,
        reader=reader,
        own_token=services.own_token,
        lifecycle=forward.lifecycle,
        memory=forward.memory,
        public_url=services.public_url,
    )
    forwarded: dict[str, Route] = {
        path: (ForwardHandler, {"endpoints": endpoints, "services": forward})
        for path, endpoints in services.endpoints.items()
    }
    return RoutedApplication(
        {
            **{path: route for path, route in forwarded.items() if "{" not in path},
            "/v1/models": (ModelsHandler, models),
        },
        [
            *((_pattern(path), *route) for path, route in forwarded.items() if "{" in path),
            (r"(?:/v1)?/models/(.+?)/?", ModelsHandler, models),
            (r"/me", MeHandler, account),
            (r"/me/usage", MyUsageHandler, account),
            (r"/me/rotate", RotateHandler, rotation),
            (me_page.PATH, OwnPageHandler, {"services": page}),
            (r"/me/static/(.+)", AssetHandler, {"assets": me_page.ASSETS}),
            (r"/data/week", WeekHandler, account),
            *_health(services.readiness),
        ],
        services.proxy_probe,
        cors=services.cors,
        on_error=services.on_error,
        **rendering.SETTINGS,
    )


def admin_app(api: AdminApi, console: ConsoleServices, readiness: Readiness, metrics: MetricsServices) -> Application:
    """What only administrators reach, on a listener of its own."""
    handlers = [
        *admin_handlers(api),
        *console_handlers(console),
        (r"/", AdminRootHandler),
        (metrics_page.PATH, MetricsHandler, {"services": metrics}),
        *_health(readiness),
    ]
    return Application(handlers, **_SETTINGS, **rendering.SETTINGS, cross_origin_protection=True)


def mark_as_demonstration(*applications: Application) -> None:
    """Lets each page say that its figures are made up. No configuration does this: the command `demo` alone calls
    it."""
    for application in applications:
        application.settings["demonstration"] = True


def _health(readiness: Readiness) -> list[Any]:
    return [(r"/", RootHandler), (r"/healthz", AliveHandler), (r"/readyz", ReadyHandler, {"readiness": readiness})]
