"""The configured database: its connection string, and its schema."""

import contextlib
from collections.abc import Iterator

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.migrate import check_not_newer, migrate, schema_status
from chatgpt_agent.adapters.postgres.connection import dsn_from
from chatgpt_agent.core.errors import SetupError


@contextlib.contextmanager
def database(config: Config) -> Iterator[str]:
    """The connection string of the configured database. The embedded one runs until the context ends."""
    if config.embedded:
        with EmbeddedPostgres(config.data_dir / "postgres") as dsn:
            yield dsn
    else:
        yield dsn_from(config)


def ensure_schema(config: Config, dsn: str) -> list[str]:
    """Migrates a fresh or older database, if `auto_migrate` is on; returns the names of the applied migrations.
    Raises SetupError if the schema is older or newer than this program, StoreUnavailable."""
    status = schema_status(dsn)
    check_not_newer(status)
    if status.pending and not config.auto_migrate:
        missing = ", ".join(status.pending)
        raise SetupError(f"the database is older than this program: run `chatgpt-agent migrate` for {missing}")
    return migrate(dsn) if status.pending else []
