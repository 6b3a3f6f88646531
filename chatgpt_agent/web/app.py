"""The route tables: one for the API, one for administration."""

import re
from typing import Any

from tornado.web import Application

from chatgpt_agent.core.endpoints import CHAT, ENDPOINTS, Endpoint
from chatgpt_agent.services.directory import Directory
from chatgpt_agent.services.gate import Gate
from chatgpt_agent.services.ledger import Ledger
from chatgpt_agent.services.lifecycle import Lifecycle
from chatgpt_agent.services.relay import Relay
from chatgpt_agent.web.account import ModelsHandler
from chatgpt_agent.web.admin_api.handler import admin_handlers
from chatgpt_agent.web.admin_api.route import AdminApi
from chatgpt_agent.web.base import UnknownUrlHandler, log_request
from chatgpt_agent.web.health import AliveHandler, ReadyHandler, RootHandler
from chatgpt_agent.web.proxy import ProxyHandler

_SETTINGS: dict[str, Any] = {
    "log_function": log_request,
    "default_handler_class": UnknownUrlHandler,
    "compress_response": False,  # it would also compress streams
}


def api_app(directory: Directory, ledger: Ledger, relay: Relay, lifecycle: Lifecycle, gate: Gate) -> Application:
    """What clients reach."""

    def forward(path: str, endpoint: Endpoint) -> Any:
        settings = {"endpoint": endpoint, "relay": relay, "lifecycle": lifecycle, "gate": gate}
        return re.escape(path), ProxyHandler, settings

    models = {"directory": directory, "gate": gate}
    return Application(
        [
            forward("/chat", CHAT),
            *(forward(endpoint.path, endpoint) for endpoint in ENDPOINTS if endpoint.path in relay.urls),
            (r"/v1/models", ModelsHandler, models),
            (r"/v1/models/(.+)", ModelsHandler, models),
            *_health(directory, ledger, lifecycle),
        ],
        **_SETTINGS,
    )


def admin_app(directory: Directory, ledger: Ledger, api: AdminApi) -> Application:
    """What only administrators reach, on a listener of its own."""
    return Application(
        [*admin_handlers(api), *_health(directory, ledger, api.lifecycle)], **_SETTINGS, cross_origin_protection=True
    )


def _health(directory: Directory, ledger: Ledger, lifecycle: Lifecycle) -> list[Any]:
    ready = {"directory": directory, "ledger": ledger, "lifecycle": lifecycle}
    return [(r"/", RootHandler), (r"/healthz", AliveHandler), (r"/readyz", ReadyHandler, ready)]
