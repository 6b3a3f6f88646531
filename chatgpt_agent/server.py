"""The server: starts the services in order, listens, drains, and stops the services."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from chatgpt_agent import process
from chatgpt_agent.adapters import malloc, open_files
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_files import check_files
from chatgpt_agent.adapters.config_reload import Reload, compare
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.adapters.systemd import ServiceManager, service_manager
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.listening import Listening, connection_limits, within_file_limit
from chatgpt_agent.runtime.background import Background
from chatgpt_agent.runtime.database import database, prepare_database, retry_until_reachable
from chatgpt_agent.runtime.master_key import check_master_key_file
from chatgpt_agent.runtime.memory import trim_forever
from chatgpt_agent.runtime.reloading import Reloading
from chatgpt_agent.runtime.supervision import Supervision
from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.client_stream import ConnectionLimits
from chatgpt_agent.web.listener import Listener
from chatgpt_agent.wiring import Wiring

log = logging.getLogger(__name__)

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
        config, limits = within_file_limit(config, limits or connection_limits(config))
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
        self.reloading = Reloading(
            load or (lambda: config),
            self.take_over,
            on_begin=self.supervision.begin_reload,
            on_end=self.supervision.end_reload,
        )
        self.listening = Listening(config, limits)

    @property
    def listeners(self) -> list[Listener]:
        """Those of the API and of the administration, while it listens."""
        return self.listening.listeners

    @property
    def port(self) -> int:
        """The port of the API."""
        return self.listening.port

    @property
    def admin_port(self) -> int:
        """The port of the administration."""
        return self.listening.admin_port

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
        check_master_key_file(self._config)
        if not await self.unless_stopped(self.listening.resolve()):
            return False
        # Ports first: a second agent that is started by mistake must not touch the first one's outbox.
        self.listening.bind()
        # Requests that a crash cut off get their rows before new requests come.
        try:
            await self.ledger.open_outbox()
        except SetupError:
            self.listening.release()
            raise
        self.listening.listen(self.api, self.admin, cors=self.cors, on_error=self.figures.requests.note_error)
        self.own_api = self.listening.own_api
        self.supervision.start()
        # The rest needs the database, which may be away for now.
        self._background.start("connect", self._connect())
        self._background.start("memory", trim_forever())
        self._background.start("reload", self.reloading.run())
        self.loop_lag.start()
        if self.embedded_watch is not None:
            self._background.start("embedded PostgreSQL", self.embedded_watch.watch_forever())
        return True

    def take_over(self, config: Config) -> Reload:
        """Puts a new configuration in force, as far as a running agent can; requests in progress end with what they
        began with. Returns what has changed. Raises SetupError, and changes nothing, where a file cannot be used."""
        config, limits = within_file_limit(config, connection_limits(config))
        reload = compare(self._config, config)
        set_up_listeners = self.listening.prepare(reload.config, limits)
        self.reload(reload.config)
        set_up_listeners()
        self._config, self.own_api = reload.config, self.listening.own_api
        if {"log_level", "log_format"} & set(reload.changed):
            set_up_logging(config.log_level, config.log_format)
        return reload

    async def stop(self) -> None:
        """Stops the agent; running requests get `drain_timeout` to end, unless there is a second signal."""
        # Accept no more connections, and refuse requests on those that are open.
        self.lifecycle.draining = True
        self.supervision.stopping()
        self.listening.stop()
        self.page_brake.release()
        # Let running requests end; abort those that take too long, which still write their rows.
        self.stopping.clear()
        if not await self._drain():
            log.warning("aborting %d requests that did not end in time", self.lifecycle.in_progress)
            self.upstream.abort_all()
            await self.lifecycle.wait_idle(ABORT_SECONDS)
        await self.listening.close_all_connections()
        # Close the services, the ledger early: it ships its last rows.
        await self.supervision.close()
        await self._background.close()
        self.loop_lag.close()
        await self.stored_figures.close()
        await self.read_pool.close()
        await self.ledger.close()
        # Each gives up after a second where the database does not answer.
        await asyncio.gather(
            self.budget_sync.close(),
            self.limit_sync.close(),
            self.alerts.close(),
            self.last_used.close(),
            self._flush_spans(),
        )
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

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether `work` has ended before the agent is to stop. Raises what it raises."""
        working = asyncio.create_task(work, name="start")
        stopped = asyncio.create_task(self.stopping.wait(), name="stop signal")
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
            return False
        working.result()
        return True

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
        await self.limit_sync.start(agent_id)
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
            url = self.listening.console_url
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
