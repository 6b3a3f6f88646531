"""What the checks of one run share: the configuration, the database, and what earlier checks have learned."""

import asyncio
import contextlib
import os
from contextlib import AbstractContextManager
from pathlib import Path

from chatgpt_agent.adapters.agent_process import running_agent
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.database import database

STATEMENT_SECONDS = 4.0
CLOSE_SECONDS = 5.0  # for an embedded database to stop


class Examination:
    """One run. `config_file`: None where the environment alone configures the agent. Close it at the end."""

    def __init__(self, config: Config, config_file: Path | None) -> None:
        self.config = config
        self.config_file = config_file
        self.dsn = ""
        self.public_url_answers = False  # with an agent
        self.clocks: dict[str, float] = {}  # seconds by which this machine's clock is ahead of others
        self._database: AbstractContextManager[str] | None = None
        self._stores: list[Store] = []

    @property
    def data_dir(self) -> Path:
        """The folder of the agent, as messages name it."""
        return self.config.data_dir.absolute()

    @property
    def account(self) -> int:
        """The user id of this process."""
        return os.geteuid()

    @property
    def key_name(self) -> str:
        """The key of the configuration that names the database."""
        return "database_address" if self.config.database_url is None else "database_url"

    async def agent_process(self) -> int | None:
        """Returns the id of the process of the agent on this data_dir, if one runs."""
        with contextlib.suppress(OSError):  # which the check of the folder reports
            return await in_own_thread(lambda: running_agent(self.data_dir))
        return None

    async def open_database(self) -> Store:
        """Finds the database, starts an embedded one that does not run, and returns a connection. Raises SetupError,
        ConfigError."""
        context = database(self.config, create=False)
        self.dsn = await in_own_thread(context.__enter__)
        self._database = context
        return self.new_store()

    def new_store(self) -> Store:
        """Returns a connection of the caller's own, which `close` closes."""
        self._stores.append(Store(self.dsn, seconds=STATEMENT_SECONDS))
        return self._stores[-1]

    @property
    def store(self) -> Store:
        """The connection that checks share; `database` has opened it."""
        return self._stores[0]

    async def close(self) -> None:
        """Ends connections, and stops an embedded database that nothing else uses."""
        for store in self._stores:
            await store.close()
        context, self._database = self._database, None
        if context is not None:
            with contextlib.suppress(TimeoutError):  # it stops at its next use
                await asyncio.wait_for(in_own_thread(lambda: context.__exit__(None, None, None)), CLOSE_SECONDS)
