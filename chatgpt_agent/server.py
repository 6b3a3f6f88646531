"""The server: starts the services in order, listens, drains, and stops the services."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from tornado.httputil import HTTPServerConnectionDelegate

from chatgpt_agent import __version__, process
from chatgpt_agent.adapters import malloc, open_files, ports
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.config_files import check_files
from chatgpt_agent.adapters.config_reload import Reload, compare
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.adapters.systemd import ServiceManager, service_manager
from chatgpt_agent.core.access.hosts import LOCAL_HOSTS, literal_hosts
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.background import Background
from chatgpt_agent.runtime.database import database, prepare_database, retry_until_reachable
from chatgpt_agent.runtime.master_key import check_master_key_file
from chatgpt_agent.runtime.memory import trim_forever
from chatgpt_agent.runtime.reloading import Reloading
from chatgpt_agent.runtime.supervision import Supervision
from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.client_connection import OnError
from chatgpt_agent.web.client_stream import ConnectionLimits
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.listener import Listener
from chatgpt_agent.wiring import Wiring

log = logging.getLogger(__name__)

T = TypeVar("T")

UNSENT_SECONDS = 2.0  # for requests to reach OpenAI during a shutdown: a name lookup may take much longer
ABORT_SECONDS = 2.0  # for aborted requests to write their rows


def serve(config: Config, load: Callable[[], Config]) -> None:
    """Runs an agent until a signal stops it; `load` reads its configuration again. Raises SetupError, ConfigError."""

    def load_checked() -> Config:
        new = load()
        check_files(new)
        return new

    async def main(dsn: str) -> None:
        await Server(config, dsn, load=load_checked, manager=manager).run()

    manager = service_manager()
    check_files(config)
    process.prepare()
    open_files.raise_file_limit()
    malloc.map_large_blocks()
    with database(config) as dsn, asyncio.Runner(loop_factory=process.loop_factory()) as runner:
        runner.run(main(dsn))


class Server(Wiring):
    """One agent. `start` returns when it listens; it is ready once it has reached the database."""

    def __init__(
        self,
        config: Config,
        dsn: str,
        limits: ConnectionLimits | None = None,
        tuning: Tuning = Tuning(),
        *,
        load: Callable[[], Config] | None = None,
        manager: ServiceManager = ServiceManager(None),
    ) -> None:
        """`load` reads and checks the configuration again; None: a reload changes nothing."""
        config, self._limits = _within_file_limit(config, limits or _connection_limits(config))
        super().__init__(config, dsn, tuning=tuning, on_death=self._on_death)
        self._config, self._dsn = config, dsn
        # How it ends.
        self.stopping = asyncio.Event()
        self.failure: Exception | None = None  # why it stopped, unless a signal stopped it
        self._background = Background(self._on_death)
        # What systemd knows and wants.
        self.supervision = Supervision(
            manager,
            directory=self.directory,
            budgets=self.budgets,
            ledger=self.ledger,
            lifecycle=self.lifecycle,
            on_death=self._on_death,
        )
        self.reloading = Reloading(load or (lambda: config), self.take_over, self.supervision.reloading)
        # Listeners.
        self.listeners: list[Listener] = []
        self.port = 0
        self.admin_port = 0

    async def run(self) -> None:
        """Serves until a signal stops it, or until it cannot go on: then it raises the reason, such as SetupError."""
        with process.handle_signals(
            on_stop=self._on_stop_signal, on_reload=self._on_reload_signal, on_ignored=self._on_ignored_signal
        ):
            if await self.start():
                process.freeze_objects()
                await self.stopping.wait()
                await self.stop()
            log.info("chatgpt-agent has stopped")
        if self.failure is not None:
            raise self.failure

    async def start(self) -> bool:
        """Recovers the ledger and listens; False: a signal came while names were looked up, and nothing is open.
        Raises SetupError."""
        config = self._config
        check_master_key_file(config)
        places = await self._unless_stopped(self._resolve_addresses())
        if places is None:
            return False
        api_places, admin_places = places
        # Ports first: a second agent that is started by mistake must not touch the first one's outbox.
        api_sockets = ports.bind("port", config.port, api_places)
        admin_sockets = ports.bind("admin_port", config.admin_port, admin_places)
        # Requests that a crash cut off get their rows before new requests come.
        await self.ledger.open_outbox()
        self.port = self._listen(self.api, api_sockets, self._limits, self.cors, self.figures.requests.note_error)
        self.own_api = f"http://{ports.reachable(api_sockets[0])}:{self.port}"
        self.admin_port = self._listen(self.admin, admin_sockets, _admin_limits(self._limits))
        log.info("chatgpt-agent %s listens on %s", __version__, _urls(config.bind_address, self.port))
        log.info("administration listens on %s", _urls(config.admin_bind_address, self.admin_port))
        self.supervision.start()
        # The rest needs the database, which may be away for now.
        self._background.start("connect", self._connect())
        self._background.start("memory", trim_forever())
        self._background.start("reload", self.reloading.run())
        self.loop_lag.start()
        return True

    def take_over(self, config: Config) -> Reload:
        """Puts a new configuration in force, as far as a running agent can; requests in progress end with what they
        began with. Returns what has changed. Raises SetupError, and changes nothing, where a file cannot be used."""
        config, limits = _within_file_limit(config, _connection_limits(config))
        reload = compare(self._config, config)
        self.reload(reload.config)
        self._config, self._limits = reload.config, limits
        for listener, its_limits in zip(self.listeners, (limits, _admin_limits(limits)), strict=True):
            listener.set_limits(its_limits, config.trusted_proxies)
        if {"log_level", "log_format"} & set(reload.changed):
            set_up_logging(config.log_level, config.log_format)
        return reload

    async def stop(self) -> None:
        """Stops the agent; running requests get `drain_timeout` to end, unless there is a second signal."""
        # Accept no more connections, and refuse requests on those that are open.
        self.lifecycle.draining = True
        self.supervision.stopping()
        for listener in self.listeners:
            listener.stop()
        # Let running requests end; abort those that take too long, which still write their rows.
        self.stopping.clear()
        if not await self._drain():
            log.warning("aborting %d requests that did not end in time", self.lifecycle.in_progress)
            self.upstream.abort_all()
            await self.lifecycle.wait_idle(ABORT_SECONDS)
        for listener in self.listeners:
            await listener.close_all_connections()
        # Close the services, the ledger early: it ships its last rows.
        await self.supervision.close()
        await self._background.close()
        self.loop_lag.close()
        await self.stored_figures.close()
        await self.read_pool.close()
        await self.ledger.close()
        # Each gives up after a second where the database does not answer.
        await asyncio.gather(self.budget_sync.close(), self.alerts.close(), self.last_used.close(), self._flush_spans())
        self.upstream.close()
        await self.directory.close()
        await self.verification.close()
        await self.admin_stores.close()

    async def _flush_spans(self) -> None:
        if self.tracing is not None:
            await self.tracing.close()

    async def _drain(self) -> bool:
        """Lets running requests end. Returns False where that takes too long, or at a second signal."""
        seconds = self._config.drain_timeout
        unsent = min(UNSENT_SECONDS, seconds)
        if await self.lifecycle.drain(unsent, hurry=self.stopping):
            return True
        self.upstream.abort_unsent()  # clients may send these again
        return await self.lifecycle.drain(seconds - unsent, hurry=self.stopping)

    async def _resolve_addresses(self) -> tuple[list[ports.Place], list[ports.Place]]:
        """The places of the API and of the administration. A name server may take very long."""
        return (
            await ports.resolve("port", addresses_in(self._config.bind_address)),
            await ports.resolve("admin_port", addresses_in(self._config.admin_bind_address)),
        )

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None where the agent is to stop before."""
        working = asyncio.create_task(work, name="start")
        stopped = asyncio.create_task(self.stopping.wait(), name="stop signal")
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
            return None
        return working.result()

    def _listen(
        self,
        app: HTTPServerConnectionDelegate,
        sockets: list[socket.socket],
        limits: ConnectionLimits,
        cors: Cors | None = None,
        on_error: OnError | None = None,
    ) -> int:
        listener = Listener(app, limits, self._config.trusted_proxies, cors, on_error)
        listener.listen_on(sockets)
        self.listeners.append(listener)
        return int(sockets[0].getsockname()[1])

    async def _connect(self) -> None:
        """Starts what needs the database, as soon as it can be reached."""
        try:
            await retry_until_reachable(self.start_services)
            self.supervision.ready()
        except Exception as error:  # waiting would not help
            self._fail(error)

    async def start_services(self) -> None:
        """Starts what needs the database. Raises SetupError, StoreError."""
        keyring = await prepare_database(self._config, self._dsn)
        self.admin_authenticator.open(keyring)
        self.console_access.open(keyring)
        agent_id = await self.ledger.report()
        # Rows of the last run: budgets count them from here on; after a failed try, some may be shipped already.
        if not self.ledger.is_shipping:
            self.budgets.add_unshipped(await self.ledger.backlog_rows())
        # Shipping starts before the agent is ready: if it is stopped as soon as it is, these rows are shipped.
        await self.ledger.start_shipping()
        # From here on requests are served.
        await self.directory.start(keyring)
        await self.budget_sync.start(agent_id)
        self.alerts.start()
        self.last_used.start()
        self.stored_figures.start()
        await self._show_first_run()

    async def _show_first_run(self) -> None:
        """Logs the link that creates the first admin, if there is none who can sign in."""
        code = await self.console_access.prepare_first_run()
        if code is not None:
            url = _local_url(self._config.admin_bind_address, self.admin_port)
            log.info("open %s/console/first-run?code=%s to create the first admin", url, code)

    def _on_stop_signal(self, name: str) -> None:
        log.info("received a stop signal (%s)", name)
        self.stopping.set()

    def _on_reload_signal(self, name: str) -> None:
        if self.lifecycle.draining:
            log.warning("%s is ignored: the agent is stopping", name)
        else:
            self.reloading.ask()

    def _on_ignored_signal(self, name: str) -> None:
        log.warning("%s is ignored: SIGHUP reads the configuration again, SIGTERM stops the agent", name)

    def _on_death(self, task: str, error: Exception) -> None:
        self._fail(SetupError(f"the task {task} died: {type(error).__name__}"))

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or error
        self.stopping.set()


def _urls(addresses: str, port: int) -> str:
    return ", ".join(f"http://{ports.show_address(address)}:{port}" for address in addresses_in(addresses))


def _local_url(addresses: str, port: int) -> str:
    """The first URL under which a browser on this machine reaches a listener."""
    hosts = literal_hosts(addresses_in(addresses))
    return f"http://{hosts[0] if hosts else LOCAL_HOSTS[1]}:{port}"


def _connection_limits(config: Config) -> ConnectionLimits:
    return ConnectionLimits(
        connections_per_address=config.max_connections_per_address,
        head_seconds=config.client_timeout,
        body_seconds=config.client_timeout,
        idle_seconds=config.keep_alive_timeout,
    )


def _admin_limits(limits: ConnectionLimits) -> ConnectionLimits:
    """A limit of its own: administrators can connect however many clients there are."""
    return msgspec.structs.replace(limits, connections=open_files.ADMIN_CONNECTIONS)


def _within_file_limit(config: Config, limits: ConnectionLimits) -> tuple[Config, ConnectionLimits]:
    """The configuration and the limits, lowered to what the limit of open files allows."""
    exchanges, connections = open_files.split_file_limit(open_files.file_limit(), config.max_concurrent_requests)
    if exchanges < config.max_concurrent_requests:
        log.warning("the limit of open files (ulimit -n) leaves room for %d requests at once", exchanges)
        config = config.with_values("the limit of open files", max_concurrent_requests=exchanges)
    connections = min(max(limits.connections, exchanges), connections)
    return config, msgspec.structs.replace(limits, connections=connections)
