"""The route tables: one for the API, one for administration."""

from typing import Any

from tornado.web import Application

from chatgpt_agent.services.desk import Desk
from chatgpt_agent.services.directory import Directory
from chatgpt_agent.services.ledger import Ledger
from chatgpt_agent.services.lifecycle import Lifecycle
from chatgpt_agent.services.relay import Relay
from chatgpt_agent.web.account import ModelsHandler
from chatgpt_agent.web.base import UnknownUrlHandler, log_request
from chatgpt_agent.web.health import AliveHandler, ReadyHandler, RootHandler
from chatgpt_agent.web.me import MeHandler, MyUsageHandler, WeekHandler
from chatgpt_agent.web.proxy import ProxyHandler

_SETTINGS: dict[str, Any] = {
    "log_function": log_request,
    "default_handler_class": UnknownUrlHandler,
    "compress_response": False,  # it would also compress streams
}


def api_app(directory: Directory, ledger: Ledger, relay: Relay, lifecycle: Lifecycle, desk: Desk) -> Application:
    """What clients reach."""
    proxy = {"relay": relay, "lifecycle": lifecycle}
    models = {"directory": directory}
    own = {"directory": directory, "desk": desk}
    return Application(
        [
            (r"/chat", ProxyHandler, proxy),
            (r"/v1/chat/completions", ProxyHandler, proxy),
            (r"/v1/models", ModelsHandler, models),
            (r"/v1/models/(.+)", ModelsHandler, models),
            (r"/me", MeHandler, own),
            (r"/me/usage", MyUsageHandler, own),
            (r"/data/week", WeekHandler, own),
            *_health(directory, ledger, lifecycle),
        ],
        **_SETTINGS,
    )


def admin_app(directory: Directory, ledger: Ledger, lifecycle: Lifecycle) -> Application:
    """What only administrators reach, on a listener of its own."""
    return Application(_health(directory, ledger, lifecycle), **_SETTINGS)


def _health(directory: Directory, ledger: Ledger, lifecycle: Lifecycle) -> list[Any]:
    ready = {"directory": directory, "ledger": ledger, "lifecycle": lifecycle}
    return [(r"/", RootHandler), (r"/healthz", AliveHandler), (r"/readyz", ReadyHandler, ready)]
