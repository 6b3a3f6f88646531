"""The schema of the database: SQL files with rollbacks, applied by yoyo-migrations under an advisory lock."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import psycopg2
from psycopg2.extensions import parse_dsn

from chatgpt_agent.core.errors import SetupError, StoreUnavailable

if TYPE_CHECKING:
    from yoyo.backends import DatabaseBackend
    from yoyo.migrations import MigrationList

LOCK = 0x63676100  # any number, the same in every agent: `cga`

# yoyo logs every step with its whole SQL at INFO.
logging.getLogger("yoyo").setLevel(logging.WARNING)


class SchemaStatus(msgspec.Struct, frozen=True):
    """Migrations by their names, in order. `unknown` are in the database and not in this code."""

    applied: list[str]
    pending: list[str]
    unknown: list[str]


def migrations_folder() -> Path:
    """Where the SQL files are installed."""
    return Path(str(files("chatgpt_agent.migrations")))


def known_migrations(folder: Path | None = None) -> list[str]:
    """The names of this code's migrations, in order."""
    found = (folder or migrations_folder()).glob("*.sql")
    return sorted(path.stem for path in found if not path.stem.endswith(".rollback"))


def schema_status(dsn: str) -> SchemaStatus:
    """What is applied. Raises StoreUnavailable where the database cannot be reached."""
    with _connection(dsn) as connection:
        applied = _applied(connection)
    known = known_migrations()
    return SchemaStatus(
        [name for name in known if name in applied],
        [name for name in known if name not in applied],
        sorted(applied - set(known)),
    )


def check_not_newer(status: SchemaStatus) -> None:
    """Raises SetupError where the database was migrated by newer code than this."""
    if status.unknown:
        raise SetupError(
            f"the database is newer than this program: it has {status.unknown[-1]}, this program knows migrations "
            f"up to {known_migrations()[-1]}; install a newer chatgpt-agent, or roll back with the newer one"
        )


def migrate(dsn: str) -> list[str]:
    """Brings a fresh or older database up to this code; returns the migrations that it applied.
    Several agents may do so at once: one works, the others wait. Raises SetupError, StoreUnavailable."""
    with _connection(dsn) as guard, _locked(guard):
        status = schema_status(dsn)
        check_not_newer(status)
        if status.pending:
            _check_may_create(guard)
            with _yoyo(dsn) as (backend, migrations):
                backend.apply_migrations(backend.to_apply(migrations))
        return status.pending


def rollback(dsn: str, count: int) -> list[str]:
    """Takes the last `count` migrations back, newest first, and returns them. Data in what they made is lost."""
    with _connection(dsn) as guard, _locked(guard):
        status = schema_status(dsn)
        check_not_newer(status)
        with _yoyo(dsn) as (backend, migrations):
            chosen = list(backend.to_rollback(migrations))[:count]
            backend.rollback_migrations(type(migrations)(chosen))
        return [migration.id for migration in chosen]


@contextmanager
def _connection(dsn: str) -> Iterator[Any]:
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10)
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"the database cannot be reached: {first_line(error)}") from None
    try:
        connection.autocommit = True
        yield connection
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise StoreUnavailable(f"the database was lost: {first_line(error)}") from None
    except psycopg2.Error as error:
        raise SetupError(f"the database cannot be migrated: {first_line(error)}") from None
    finally:
        connection.close()


@contextmanager
def _locked(connection: Any) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])  # let go when the connection ends
    yield


def _check_may_create(connection: Any) -> None:
    """yoyo would wait 10 s for a lock table that it could not make, and then complain of that."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_schema(), has_schema_privilege(current_schema(), 'CREATE')")
        account, schema, allowed = cursor.fetchone()
    if not allowed:
        raise SetupError(
            f"the database account {account} may not create tables: as its owner run `GRANT CREATE ON SCHEMA "
            f"{schema or 'public'} TO {account}`, or use a database that {account} owns"
        )


def _applied(connection: Any) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('_yoyo_migration') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return set()
        cursor.execute("SELECT migration_id FROM _yoyo_migration")
        return {name for (name,) in cursor.fetchall()}


@contextmanager
def _yoyo(dsn: str) -> Iterator[tuple["DatabaseBackend", "MigrationList"]]:
    import yoyo  # here, because a start that has nothing to migrate need not pay for it

    # All of it as parameters: yoyo does not decode a database's name that is the path.
    backend = yoyo.get_backend(f"postgresql:///?{urlencode(parse_dsn(dsn))}")
    try:
        known = set(known_migrations())
        found = yoyo.read_migrations(str(migrations_folder()))
        yield backend, type(found)(step for step in found if step.id in known)  # it takes __init__.py for one
    finally:
        backend.connection.close()


def first_line(error: Exception) -> str:
    """What psycopg2 says, without the statement that it may quote below."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
