"""The schema of the configured database: its status, migration and rollback."""

from chatgpt_agent.adapters import migrate
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.migrate import SchemaStatus, check_not_newer
from chatgpt_agent.runtime.database import database

__all__ = ["SchemaStatus", "apply_migrations", "check_not_newer", "roll_back", "schema_status"]


def schema_status(config: Config) -> SchemaStatus:
    """Returns which migrations are applied, pending, or unknown to this program. Raises StoreUnavailable."""
    with database(config) as dsn:
        return migrate.schema_status(dsn)


def apply_migrations(config: Config) -> list[str]:
    """Applies the pending migrations and returns their names. Raises SetupError, StoreUnavailable."""
    with database(config) as dsn:
        return migrate.migrate(dsn)


def roll_back(config: Config, count: int) -> list[str]:
    """Rolls the last `count` migrations back and returns their names. Raises SetupError, StoreUnavailable."""
    with database(config) as dsn:
        return migrate.rollback(dsn, count)
