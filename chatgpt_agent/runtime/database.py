"""The configured database: where it is, its schema, and the wait until it can be reached."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.migrate import SchemaStatus, check_not_newer, checked_status, migrate, schema_status
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.dsn import dsn_from
from chatgpt_agent.adapters.restore_marker import check_finished
from chatgpt_agent.core.errors import SetupError, StoreUnavailable
from chatgpt_agent.runtime.background import Throttle
from chatgpt_agent.runtime.master_key import open_keyring
from chatgpt_agent.runtime.time_zone import REBUILD_SECONDS, sync_time_zone

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # between two tries to reach the database
_CREATE = "start the agent or run `chatgpt-agent migrate` first"


def embedded_postgres(config: Config) -> EmbeddedPostgres:
    """The private server under `data_dir`, which a context starts and stops."""
    return EmbeddedPostgres(config.data_dir / "postgres")


@contextlib.contextmanager
def database(config: Config, *, create: bool = True, restoring: bool = False) -> Iterator[str]:
    """The connection string of the configured database. The embedded one runs until the context ends, and is created if
    `create` is true. `restoring`: for a restore, which may have begun earlier. Raises SetupError."""
    if not restoring:
        check_finished(config.data_dir)
    if config.embedded:
        postgres = embedded_postgres(config)
        if not create and not postgres.exists():
            raise SetupError(f"there is no database in {config.data_dir} yet: {_CREATE}")
        with postgres as dsn:
            yield dsn
    else:
        yield dsn_from(config)


def ensure_schema(config: Config, dsn: str) -> list[str]:
    """Migrates a fresh or older database, if `auto_migrate` is on; returns the names of the applied migrations.
    Raises SetupError if the database is not ours, or its schema older or newer than this program; StoreUnavailable."""
    status = checked_status(dsn)
    if status.rolled_back:
        names = ", ".join(status.rolled_back)
        raise SetupError(
            f"{names} {'was' if len(status.rolled_back) == 1 else 'were'} rolled back: install the older program, or "
            "run `chatgpt-agent migrate` to go forward again"
        )
    if status.pending and not config.auto_migrate:
        raise _older(status)
    return migrate(dsn) if status.pending else []


def check_schema(dsn: str) -> None:
    """Checks that the database has this program's schema, and changes nothing. Raises SetupError, StoreUnavailable."""
    status = schema_status(dsn)
    if not status.applied:
        raise SetupError(f"the database has no tables of chatgpt-agent: {_CREATE}, or check database_url")
    check_not_newer(status)
    if status.pending:
        raise _older(status)


def _older(status: SchemaStatus) -> SetupError:
    missing = ", ".join(status.pending)
    return SetupError(f"the database is older than this program: run `chatgpt-agent migrate` for {missing}")


async def prepare_database(config: Config, dsn: str) -> Keyring:
    """Brings schema and time zone up to date, and returns the keyring that belongs to the database. Raises SetupError,
    StoreError."""
    for name in await in_own_thread(lambda: ensure_schema(config, dsn)):  # its connection resolves a name, too
        log.info("migrated the database: %s", name)
    async with Store(dsn) as store:
        keyring = await open_keyring(config, store)
    async with Store(dsn, seconds=REBUILD_SECONDS) as store:
        await sync_time_zone(store, config.time_zone)
    return keyring


async def retry_until_reachable(start: Callable[[], Awaitable[None]]) -> None:
    """Calls `start` again and again, until it does not raise StoreUnavailable."""
    warning = Throttle(log, by_reason=True)
    while True:
        try:
            await start()
        except StoreUnavailable as error:
            warning.warning("not ready: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            log.info("ready")
            return
