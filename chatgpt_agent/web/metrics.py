"""`GET /metrics` of the admin port: the metrics in Prometheus's text format."""

from ipaddress import ip_address

import msgspec

from chatgpt_agent.core.access.hosts import is_allowed_host, plain_host
from chatgpt_agent.core.access.networks import NO_PEER, Networks, Proxies, client_address, parse_address
from chatgpt_agent.core.errors import AgentError, MethodNotAllowed, MisdirectedRequest
from chatgpt_agent.runtime.authentication import AdminAuthenticator, Headers
from chatgpt_agent.runtime.cooperative import run_cooperatively
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.base import ApiHandler
from chatgpt_agent.web.exposition import Exposition

PATH = "/metrics"


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of the metrics. `networks`: that read them without signing in; `hosts`: under which
    the console is reached. A client of a proxy that is not in `trusted_proxies` is not known by its address."""

    networks: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    hosts: tuple[str, ...]


class MetricsAccess:
    """Who may read the metrics: clients in some networks, and admins with their token."""

    def __init__(self, authenticator: AdminAuthenticator, settings: MetricsSettings) -> None:
        self._authenticator = authenticator
        self.set_settings(settings)

    def set_settings(self, settings: MetricsSettings) -> None:
        """Puts other settings in force."""
        self._networks = Networks(settings.networks)
        self._trusted_proxies = Proxies(settings.trusted_proxies)
        self._hosts = frozenset(map(plain_host, settings.hosts))

    async def check(self, headers: Headers, peer: str | None, host: str) -> str:
        """Returns the name of the admin, or `-`. Raises InvalidApiKey, RateLimited, MisdirectedRequest, StoreError."""
        if not headers.get_list("Authorization") and self._is_in_network(headers, peer):
            if not (_is_address(host) or is_allowed_host(host, self._hosts)):
                raise MisdirectedRequest
            return "-"
        admin, _ = await self._authenticator.identify(headers, peer)
        return admin.name

    def _is_in_network(self, headers: Headers, peer: str | None) -> bool:
        forwarded = headers.get_list("X-Forwarded-For")
        if forwarded and parse_address(peer or NO_PEER) not in self._trusted_proxies:
            return False  # otherwise all clients of a proxy on this machine would be let in
        if not forwarded and headers.get_list("Forwarded"):
            return False  # by a proxy, in a form that is not read
        return client_address(peer or NO_PEER, forwarded, self._trusted_proxies) in self._networks


def _is_address(host: str) -> bool:
    """Whether a Host header field has an address and no name, which a web page could have given to us."""
    try:
        ip_address(plain_host(host).strip("[]"))
    except ValueError:
        return False
    return True


class MetricsServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the handler works with."""

    access: MetricsAccess
    exposition: Exposition


class MetricsHandler(ApiHandler):
    """Answers scrapes. Nothing waits for PostgreSQL, except the check of an admin's token."""

    quiet = True

    def initialize(self, services: MetricsServices) -> None:
        self._services = services

    async def prepare(self) -> None:  # type: ignore[override]  # Tornado awaits it; the base class's is not async
        try:
            if self.request.method not in self.methods:
                raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
            request = self.request
            self.access.user = await self._services.access.check(request.headers, request.remote_ip, request.host)
        except AgentError as error:
            self.refuse(public_error(error))

    async def get(self) -> None:
        work, content_type = self._services.exposition.encode(self.request.headers.get("Accept", ""))
        text = await run_cooperatively(work)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Length", str(len(text)))
        self.write(text)

    head = get
