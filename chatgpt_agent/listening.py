"""Where the agent listens: its API for clients, and its administration, each with a listener of its own."""

import logging
import socket
from collections.abc import Callable

import msgspec
from tornado.httputil import HTTPServerConnectionDelegate

from chatgpt_agent import __version__
from chatgpt_agent.adapters import open_files, ports
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.tls import certificate_text, certificate_warning, listener_context
from chatgpt_agent.adapters.unix_sockets import path_of
from chatgpt_agent.core.access.hosts import LOCAL_HOSTS, literal_hosts
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.own_api import OwnApi
from chatgpt_agent.web.client_connection import OnError
from chatgpt_agent.web.client_stream import ConnectionLimits
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.listener import Listener

log = logging.getLogger(__name__)


class Listening:
    """The listeners. `resolve` and `bind` come first: a second agent that is started by mistake finds the ports in use,
    and changes nothing."""

    def __init__(self, config: Config, limits: ConnectionLimits) -> None:
        self._config = config
        self._limits = limits
        self.listeners: list[Listener] = []
        self._places: tuple[list[ports.Place], list[ports.Place]] = ([], [])
        self._api_sockets: list[socket.socket] = []
        self._admin_sockets: list[socket.socket] = []
        self.port = 0  # of the API; 0: it has only Unix sockets
        self.admin_port = 0
        self.own_api = OwnApi()

    async def resolve(self) -> None:
        """Looks the addresses up. A name server may take very long. Raises SetupError."""
        config = self._config
        self._places = (
            await ports.resolve("port", addresses_in(config.bind_address)),
            await ports.resolve("admin_port", addresses_in(config.admin_bind_address)),
        )

    def bind(self) -> None:
        """Takes the ports and sockets. Raises SetupError."""
        api, admin = self._places
        self._api_sockets = ports.bind("port", self._config.port, api)
        try:
            self._admin_sockets = ports.bind("admin_port", self._config.admin_port, admin)
        except SetupError:
            self.release()
            raise

    def release(self) -> None:
        """Gives ports and sockets up, and removes the files of these, of an agent that does not start."""
        for listening in (*self._api_sockets, *self._admin_sockets):
            listening.close()

    def listen(
        self,
        api: HTTPServerConnectionDelegate,
        admin: HTTPServerConnectionDelegate,
        *,
        cors: Cors,
        on_error: OnError,
    ) -> None:
        """Serves from now on. Raises ConfigError."""
        trusted = self._config.trusted_proxies
        self.listeners += [
            Listener(api, self._limits, trusted, cors, on_error),
            Listener(admin, _admin_limits(self._limits), trusted),
        ]
        self.port, self.admin_port = ports.port_of(self._api_sockets), ports.port_of(self._admin_sockets)
        self.prepare(self._config, self._limits)()
        for listener, sockets in zip(self.listeners, (self._api_sockets, self._admin_sockets), strict=True):
            listener.listen_on(sockets)
        api_urls, admin_urls = self._urls()
        log.info("chatgpt-agent %s listens on %s", __version__, api_urls)
        log.info("administration listens on %s", admin_urls)

    def prepare(self, config: Config, limits: ConnectionLimits) -> Callable[[], None]:
        """Returns what puts a configuration in force. Raises ConfigError where its certificate cannot be used."""
        tls = certificate = None
        if config.tls_certificate is not None and config.tls_key is not None:
            tls = listener_context(config.tls_certificate, config.tls_key)
            certificate = certificate_text(config.tls_certificate)
            if warning := certificate_warning(config.tls_certificate):
                log.warning("%s", warning)

        def apply() -> None:
            self._config, self._limits = config, limits
            api, admin = self.listeners
            api.set_limits(limits, config.trusted_proxies)
            admin.set_limits(_admin_limits(limits), config.trusted_proxies)
            api.tls, admin.tls = tls, tls if config.admin_tls else None
            self.own_api = self._own_api(certificate)

        return apply

    def stop(self) -> None:
        """Accepts no more connections; those that are open stay so."""
        for listener in self.listeners:
            listener.stop()

    async def close_all_connections(self) -> None:
        """Closes all connections, in the middle of what they do."""
        for listener in self.listeners:
            await listener.close_all_connections()

    @property
    def console_url(self) -> str:
        """The URL under which a browser on this machine reaches the administration; of one that has only a Unix socket
        the proxy's, as far as it is known."""
        if not self.admin_port:
            return f"https://{self._config.admin_hosts[0]}" if self._config.admin_hosts else ""
        hosts = literal_hosts(_tcp_addresses(self._config.admin_bind_address))
        return f"{_scheme(self._config.admin_tls)}://{hosts[0] if hosts else LOCAL_HOSTS[1]}:{self.admin_port}"

    def _own_api(self, certificate: str | None) -> OwnApi:
        for listening in self._api_sockets:
            if listening.family != socket.AF_UNIX:
                url = f"{_scheme(certificate)}://{ports.reachable(listening)}:{self.port}"
                return OwnApi(url=url, certificate=certificate)
        return OwnApi(path=self._api_sockets[0].getsockname())

    def _urls(self) -> tuple[str, str]:
        config = self._config
        return (
            _urls(config.bind_address, self.port, _scheme(config.tls_certificate)),
            _urls(config.admin_bind_address, self.admin_port, _scheme(config.admin_tls)),
        )


def connection_limits(config: Config) -> ConnectionLimits:
    """Returns the limits of clients' connections in a configuration."""
    return ConnectionLimits(
        connections_per_address=config.max_connections_per_address,
        head_seconds=config.client_timeout,
        body_seconds=config.client_timeout,
        idle_seconds=config.keep_alive_timeout,
    )


def within_file_limit(config: Config, limits: ConnectionLimits) -> tuple[Config, ConnectionLimits]:
    """Returns the configuration and the limits, lowered to what the limit of open files allows."""
    exchanges, connections = open_files.split_file_limit(open_files.file_limit(), config.max_concurrent_requests)
    if exchanges < config.max_concurrent_requests:
        log.warning("the limit of open files (ulimit -n) leaves room for %d requests at once", exchanges)
        config = config.with_values("the limit of open files", max_concurrent_requests=exchanges)
    connections = min(max(limits.connections, exchanges), connections)
    return config, msgspec.structs.replace(limits, connections=connections)


def _admin_limits(limits: ConnectionLimits) -> ConnectionLimits:
    """A limit of its own: administrators can connect however many clients there are."""
    return msgspec.structs.replace(limits, connections=open_files.ADMIN_CONNECTIONS)


def _tcp_addresses(addresses: str) -> list[str]:
    return [address for address in addresses_in(addresses) if path_of(address) is None]


def _scheme(tls: object) -> str:
    return "https" if tls else "http"


def _urls(addresses: str, port: int, scheme: str) -> str:
    return ", ".join(
        address if path_of(address) else f"{scheme}://{ports.show_address(address)}:{port}"
        for address in addresses_in(addresses)
    )
