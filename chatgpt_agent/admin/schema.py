"""The schema of the configured database: its status, migration and rollback."""

from chatgpt_agent.adapters import distribution, migrate
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.distribution import Distribution
from chatgpt_agent.adapters.migrate import SchemaStatus, check_not_newer
from chatgpt_agent.adapters.rollback import Loss, Rollback, rolled_back
from chatgpt_agent.core.errors import Conflict
from chatgpt_agent.runtime.database import database
from chatgpt_agent.runtime.interruptible import interruptible

__all__ = [
    "Distribution",
    "Loss",
    "Rollback",
    "SchemaStatus",
    "apply_migrations",
    "check_not_newer",
    "distribute",
    "roll_back",
    "schema_status",
]


class NotConfirmed(Conflict):
    """A rollback was not confirmed with the database's name, so nothing was changed. `rollback`: what it would do."""

    def __init__(self, message: str, rollback: Rollback) -> None:
        super().__init__(message)
        self.rollback = rollback


def schema_status(config: Config) -> SchemaStatus:
    """Returns which migrations are applied, pending, or unknown to this program. Raises StoreUnavailable."""
    with database(config, create=False) as dsn:
        return interruptible(lambda: migrate.schema_status(dsn))


def apply_migrations(config: Config) -> list[str]:
    """Applies the pending migrations and returns their names. Raises SetupError, StoreUnavailable."""
    with database(config) as dsn:
        return interruptible(lambda: migrate.migrate(dsn))


def distribute(config: Config, shards: int | None) -> Distribution:
    """Applies the pending migrations, and distributes the ledger over the servers of a Citus cluster. Raises
    SetupError, StoreUnavailable."""

    def work() -> Distribution:
        distribution.check(dsn)
        migrate.migrate(dsn)
        return distribution.distribute(dsn, shards)

    with database(config) as dsn:
        return interruptible(work)


def roll_back(config: Config, count: int, *, confirmation: str | None) -> Rollback:
    """Rolls the last `count` migrations back, if `confirmation` is the database's name; returns what is lost. Raises
    NotConfirmed, SetupError, StoreUnavailable."""

    def work() -> Rollback:
        with rolled_back(dsn, count) as done:
            _check_confirmed(done, confirmation)
        return done

    with database(config) as dsn:
        return interruptible(work)


def _check_confirmed(rollback: Rollback, confirmation: str | None) -> None:
    name = rollback.database
    if confirmation is None:
        raise NotConfirmed(f"nothing was changed: to roll back, add `--yes {name}`", rollback)
    if confirmation != name:
        raise NotConfirmed(f"nothing was changed: --yes names {confirmation!r}, and the database is {name!r}", rollback)
