"""The versions of this program, of what it runs on, and of the database."""

import asyncio

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.health import server_version
from chatgpt_agent.adapters.versions import versions
from chatgpt_agent.core.errors import SetupError, StoreError
from chatgpt_agent.runtime.database import database

__all__ = ["Versions", "read_versions", "versions"]

SERVER = "PostgreSQL"
SECONDS = 3.0  # for the database to answer


class Versions(msgspec.Struct, frozen=True):
    """Versions by name, this program's first. `database_error`: why PostgreSQL is not among them."""

    versions: dict[str, str]
    database_error: str | None = None


def read_versions(config: Config) -> Versions:
    """Returns all versions. Waits 3 s at most for a database that does not answer. An embedded one runs meanwhile."""
    try:
        with database(config, create=False) as dsn:
            return Versions(versions() | {SERVER: asyncio.run(_ask(dsn))})
    except (SetupError, StoreError) as error:
        return Versions(versions(), " ".join(error.message.splitlines()))


async def _ask(dsn: str) -> str:
    async with Store(dsn, seconds=SECONDS) as store:
        return await server_version(store)
