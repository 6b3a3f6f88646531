"""The composition root: opens everything in order, listens, drains, and closes everything in the opposite order."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator

import msgspec
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.netutil import bind_sockets

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.exchange import UpstreamClient
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.webhook import Webhook, read_webhook_secret
from chatgpt_agent.admin.administration import Stores
from chatgpt_agent.core.errors import SetupError, StoreUnavailable
from chatgpt_agent.runtime.alerts import Alerts
from chatgpt_agent.runtime.authentication import AdminAuthenticator, Authenticator
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.database import database, ensure_schema
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.in_flight import Lifecycle
from chatgpt_agent.runtime.last_used import LastUsed
from chatgpt_agent.runtime.ledger import STATEMENT_SECONDS, Ledger
from chatgpt_agent.runtime.master_key import check_master_key_file, open_keyring
from chatgpt_agent.runtime.rate_limiter import Limits
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.runtime.relay import Relay
from chatgpt_agent.runtime.time_zone import REBUILD_SECONDS, sync_time_zone
from chatgpt_agent.web.admin.routing import AdminApi
from chatgpt_agent.web.app import admin_app, api_app
from chatgpt_agent.web.listener import Limits as ListenerLimits
from chatgpt_agent.web.listener import Listener

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # that end the agent; the last when its terminal closes
RETRY_SECONDS = 1.0  # between looks for a database that is away at the start
USES_SECONDS = 2.0  # for a statement that writes when tokens were last used: at the end, nobody waits longer for it
REPORT_SECONDS = 60.0  # for a statement of a report over REST
PROOF_SECONDS = 3600.0  # for one of the proof of the ledger
ABORT_SECONDS = 2.0  # for requests that were aborted to write their rows

# New objects until the collector looks for circles among them: Python's own 700 are those of two requests, of which
# nearly all go without it. The few circles that a connection leaves behind wait for longer.
GC_THRESHOLDS = (10_000, 10, 10)
RESERVED_FILES = 56  # that the process holds without a client, the few that migrating and shipping open included
ADMIN_CONNECTIONS = 16


class Server:
    """One agent. `start` returns when it listens; it is ready when the database has been seen."""

    def __init__(self, config: Config, dsn: str, limits: ListenerLimits = ListenerLimits()) -> None:
        transfers, connections = split_file_limit(file_limit(), config.max_concurrent_requests)
        if transfers < config.max_concurrent_requests:
            log.warning("the limit of open files (ulimit -n) leaves room for %d requests at once", transfers)
            config = msgspec.structs.replace(config, max_concurrent_requests=transfers)
        self._limits = msgspec.structs.replace(limits, connections=min(max(limits.connections, transfers), connections))
        self._config = config
        self._dsn = dsn
        loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        self._fatal: Exception | None = None
        # Services, from the inside out.
        self.lifecycle = Lifecycle()
        self.directory = Directory(Store(dsn), stale_after=config.stale_after, clock=loop.time, on_death=self._on_death)
        self.ledger = Ledger(Outbox(config.data_dir), Store(dsn, seconds=STATEMENT_SECONDS), on_death=self._on_death)
        self.upstream = UpstreamClient(config)
        self.alerts = Alerts(Store(dsn), open_webhook(config), self.directory.whose, on_death=self._on_death)
        self.budgets = Budgets(Store(dsn), Store(dsn), on_mark=self.alerts.on_mark, on_death=self._on_death)
        self.directory.on_budgets = lambda: self.budgets.set_budgets(
            self.directory.budgets.values(), self.directory.owner_of, self.directory.time_zone
        )
        self.ledger.on_shipping = self.budgets.shipping
        self.ledger.on_shipped = self.budgets.shipped
        self.desk = ReadPool(dsn)
        self.relay = Relay(config, self.directory, self.ledger, self.upstream, self.budgets, Limits(loop.time))
        self.uses = LastUsed(Store(dsn, seconds=USES_SECONDS), clock=loop.time, on_death=self._on_death)
        self.gate = Authenticator(self.directory, self.uses, trusted_proxies=config.trusted_proxies, clock=loop.time)
        # Administration: what is slow has connections of its own, because one serves a statement after the other.
        self._admin_stores = Stores(
            changes=Store(dsn),
            reports=Store(dsn, seconds=REPORT_SECONDS),
            proofs=Store(dsn, seconds=PROOF_SECONDS),
        )
        self.admin_gate = AdminAuthenticator(
            self._admin_stores.changes, trusted_proxies=config.trusted_proxies, clock=loop.time
        )
        self._admin_api = AdminApi(
            config=config, gate=self.admin_gate, stores=self._admin_stores, lifecycle=self.lifecycle
        )
        # Listeners.
        self._servers: list[Listener] = []
        self._bringing_up: asyncio.Task[None] | None = None
        self.port = 0
        self.admin_port = 0

    async def start(self) -> None:
        """Recovers the ledger and listens. Raises SetupError."""
        config = self._config
        check_master_key_file(config)
        api = api_app(self.directory, self.relay, self.lifecycle, self.gate, self.desk)
        admin = admin_app(self.relay, self._admin_api)
        # Ports first: a second agent that was started by mistake must not touch the first one's outbox.
        api_sockets = _bind("port", config.port, config.bind_address)
        admin_sockets = _bind("admin_port", config.admin_port, config.admin_bind_address)
        await self.ledger.open_outbox()
        self.port = self._listen(api, api_sockets, self._limits)
        # Files of its own: whatever clients do, administrators get in.
        few = msgspec.structs.replace(self._limits, connections=ADMIN_CONNECTIONS)
        self.admin_port = self._listen(admin, admin_sockets, few)
        log.info("chatgpt-agent %s listens on http://%s:%d", __version__, config.bind_address, self.port)
        log.info("administration listens on http://%s:%d", config.admin_bind_address, self.admin_port)
        self._bringing_up = asyncio.create_task(self._bring_up(), name="bring up")

    async def run(self) -> None:
        """Serves until a signal says to stop, or until it cannot go on, which raises SetupError."""
        with self._hearing_signals():
            await self.start()
            gc.freeze()  # what there is now stays: looking for garbage among it held the event loop for 25 ms each time
            await self.stopping.wait()
            await self.stop()
        if self._fatal is not None:
            raise self._fatal

    async def stop(self) -> None:
        """Stops accepting, lets what runs come to its end within `drain_timeout`, then ends it, and closes."""
        self.lifecycle.draining = True
        for server in self._servers:
            server.stop()
        if not await self._drained():
            log.warning("%d requests are cut off: they took longer than the agent may wait", self.lifecycle.in_flight)
            self.upstream.abort_all()
            await self.lifecycle.wait_idle(ABORT_SECONDS)
        for server in self._servers:
            await server.close_all_connections()
        if self._bringing_up is not None:
            self._bringing_up.cancel()
            await asyncio.gather(self._bringing_up, return_exceptions=True)
        await self.desk.close()
        await self.ledger.close()
        await self.budgets.close()
        await self.alerts.close()
        await self.upstream.close()
        await self.uses.close()
        await self.directory.close()
        await self._admin_stores.close()
        log.info("chatgpt-agent has stopped")

    async def _drained(self) -> bool:
        """Whether all requests ended in time; a second signal means that there is no time."""
        self.stopping.clear()
        idle = asyncio.create_task(self.lifecycle.wait_idle(self._config.drain_timeout), name="drain")
        again = asyncio.create_task(self.stopping.wait(), name="second signal")
        await asyncio.wait({idle, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if not idle.done():
            idle.cancel()
            return False
        return idle.result()

    @contextlib.contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in filter(_is_wanted, SIGNALS):
            loop.add_signal_handler(number, self._on_signal)
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # one that waited is heard now
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _on_signal(self) -> None:
        log.info("asked to stop")
        self.stopping.set()

    def _listen(self, app: HTTPServerConnectionDelegate, sockets: list[socket.socket], limits: ListenerLimits) -> int:
        server = Listener(app, limits)
        server.listen_on(sockets)
        self._servers.append(server)
        return int(sockets[0].getsockname()[1])

    async def _bring_up(self) -> None:
        """Does what needs the database, as soon as there is one."""
        warned = False
        while True:
            try:
                await self._open_database()
            except StoreUnavailable as error:
                if not warned:
                    log.warning("not ready: %s", error)
                warned = True
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # whatever it is, waiting does not make it better
                self._fatal = error
                self.stopping.set()
                return
            else:
                log.info("ready")
                return

    async def _open_database(self) -> None:
        loop = asyncio.get_running_loop()
        for name in await loop.run_in_executor(None, ensure_schema, self._config, self._dsn):
            log.info("migrated the database: %s", name)
        async with Store(self._dsn) as store:
            keyring = await open_keyring(self._config, store)
        async with Store(self._dsn, seconds=REBUILD_SECONDS) as store:
            await sync_time_zone(store, self._config.time_zone)
        self.admin_gate.open(keyring)
        if not self.ledger.is_shipping:  # else this is the second try, and some of them are gone
            self.budgets.add_unshipped(await self.ledger.waiting_rows())
        agent = await self.ledger.report()
        # Before it is ready: rows of the last run go out also where somebody ends it as soon as it says so.
        await self.ledger.start_shipping()
        await self.directory.start(keyring)
        await self.budgets.start(agent)
        self.alerts.start()
        self.uses.start()

    def _on_death(self, task: str, error: Exception) -> None:
        """Ends the agent when one of its background tasks has died."""
        self._fatal = self._fatal or SetupError(f"the task {task} died: {type(error).__name__}")
        self.stopping.set()


def open_webhook(config: Config) -> Webhook | None:
    """The configured webhook. Raises SetupError."""
    if config.webhook_url is None:
        return None
    secret = config.webhook_secret_file
    return Webhook(config.webhook_url, None if secret is None else read_webhook_secret(secret))


def _is_wanted(number: signal.Signals) -> bool:
    """Whether a signal is to be heard: `nohup` starts a program that is to ignore SIGHUP."""
    return signal.getsignal(number) is not signal.SIG_IGN


def _bind(key: str, port: int, address: str) -> list[socket.socket]:
    try:
        sockets = bind_sockets(port, address)
    except OSError as error:
        raise SetupError(f"{key}: cannot listen on {address}:{port}: {error.strerror}") from None
    # With port 0 every address family would get a port of its own: one is enough.
    for extra in sockets[1:] if port == 0 else []:
        extra.close()
    return sockets[:1] if port == 0 else sockets


def raise_file_limit() -> None:
    """As many open files as the system lets this process have: every client and every transfer is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def split_file_limit(limit: int, asked: int) -> tuple[int, int]:
    """Shares a limit of open files out to transfers, of which so many are asked for, and to clients' connections, so
    that together they stay below it: whoever has a connection can be answered, and nobody meets EMFILE.
    Returns both numbers; no less than one each."""
    room = max(limit - RESERVED_FILES - ADMIN_CONNECTIONS, 2)
    transfers = min(asked, room // 2)
    return transfers, room - transfers


def serve(config: Config) -> None:
    """Runs an agent until it is told to stop. Raises SetupError."""

    async def main(dsn: str) -> None:
        await Server(config, dsn).run()

    raise_file_limit()
    gc.set_threshold(*GC_THRESHOLDS)
    # Signals wait until the loop hears them, and again when it has ended: the private database that is being started
    # or stopped would be left behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with database(config) as dsn, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main(dsn))


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    # libuv then tells the kernel which sockets to watch through io_uring, which cost 5 to 7 % of a chunk (uvloop 0.23).
    os.environ.setdefault("UV_USE_IO_URING", "0")
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.Loop  # a sixth less CPU than asyncio's own, measured
