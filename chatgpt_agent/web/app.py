"""The route tables: one for the API, one for administration."""

import re
from typing import Any

from tornado.httputil import HTTPServerConnectionDelegate
from tornado.web import Application

from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.in_flight import Lifecycle
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.runtime.relay import Relay
from chatgpt_agent.web.account import MeHandler, MyUsageHandler, WeekHandler
from chatgpt_agent.web.admin.handler import admin_handlers
from chatgpt_agent.web.admin.routing import AdminApi
from chatgpt_agent.web.base import UnknownUrlHandler, log_request
from chatgpt_agent.web.forward import ForwardedHandler, Front
from chatgpt_agent.web.health import AliveHandler, ReadyHandler, RootHandler
from chatgpt_agent.web.models import ModelsHandler

_SETTINGS: dict[str, Any] = {
    "log_function": log_request,
    "default_handler_class": UnknownUrlHandler,
    "compress_response": False,  # it would also compress streams
}


def api_app(
    directory: Directory, relay: Relay, lifecycle: Lifecycle, gate: Authenticator, read_pool: ReadPool
) -> HTTPServerConnectionDelegate:
    """What clients reach."""
    forwarded = {"/chat": CHAT} | {endpoint.path: endpoint for endpoint in ENDPOINTS if endpoint.path in relay.urls}
    models = {"directory": directory, "gate": gate, "limits": relay.limits}
    account = {**models, "read_pool": read_pool}
    me = {**account, "budgets": relay.budgets}
    app = Application(
        [
            *((re.escape(path), ForwardedHandler) for path in forwarded),
            (r"/v1/models", ModelsHandler, models),
            (r"/v1/models/(.+)", ModelsHandler, models),
            (r"/me", MeHandler, me),
            (r"/me/usage", MyUsageHandler, account),
            (r"/data/week", WeekHandler, account),
            *_health(relay, lifecycle),
        ],
        **_SETTINGS,
    )
    return Front(app, forwarded, relay, lifecycle, gate)


def admin_app(relay: Relay, api: AdminApi) -> Application:
    """What only administrators reach, on a listener of its own."""
    return Application(
        [*admin_handlers(api), *_health(relay, api.lifecycle)], **_SETTINGS, cross_origin_protection=True
    )


def _health(relay: Relay, lifecycle: Lifecycle) -> list[Any]:
    ready = {"relay": relay, "lifecycle": lifecycle}
    return [(r"/", RootHandler), (r"/healthz", AliveHandler), (r"/readyz", ReadyHandler, ready)]
