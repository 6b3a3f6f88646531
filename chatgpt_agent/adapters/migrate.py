"""The database schema: SQL files with rollbacks, applied by yoyo-migrations under an advisory lock."""

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

LOCK = 0x63676100  # the advisory lock of all agents: `cga`

# At INFO yoyo logs every step with its whole SQL.
logging.getLogger("yoyo").setLevel(logging.WARNING)


class SchemaStatus(msgspec.Struct, frozen=True):
    """Names of migrations, in order. `unknown` ones are applied, but not part of this program."""

    applied: list[str]
    pending: list[str]
    unknown: list[str]


def migrations_folder() -> Path:
    """Returns the folder of the installed SQL files."""
    return Path(str(files("chatgpt_agent.migrations")))


def known_migrations(folder: Path | None = None) -> list[str]:
    """Returns the names of this program's migrations, in order."""
    paths = (folder or migrations_folder()).glob("*.sql")
    return sorted(path.stem for path in paths if not path.stem.endswith(".rollback"))


def schema_status(dsn: str) -> SchemaStatus:
    """Returns which migrations are applied. Raises StoreUnavailable."""
    with _connection(dsn) as connection:
        applied = _applied(connection)
    names = known_migrations()
    return SchemaStatus(
        applied=[name for name in names if name in applied],
        pending=[name for name in names if name not in applied],
        unknown=sorted(applied - set(names)),
    )


def check_not_newer(status: SchemaStatus) -> None:
    """Raises SetupError if a newer version of this program has migrated the database."""
    if status.unknown:
        raise SetupError(
            f"the database is newer than this program: it has {status.unknown[-1]}, this program knows migrations "
            f"up to {known_migrations()[-1]}; install a newer chatgpt-agent, or roll back with the newer one"
        )


def migrate(dsn: str) -> list[str]:
    """Applies pending migrations and returns their names. Several agents may call it at the same time: one migrates,
    the others wait. Raises SetupError, StoreUnavailable."""
    with _connection(dsn) as guard, _locked(guard):
        status = schema_status(dsn)
        check_not_newer(status)
        if status.pending:
            _check_may_create(guard)
            with _yoyo(dsn) as (backend, migrations):
                backend.apply_migrations(backend.to_apply(migrations))
        return status.pending


def rollback(dsn: str, count: int) -> list[str]:
    """Rolls back the last `count` migrations, newest first, and returns their names. Data in tables and columns that
    they created is lost."""
    with _connection(dsn) as guard, _locked(guard):
        status = schema_status(dsn)
        check_not_newer(status)
        with _yoyo(dsn) as (backend, migrations):
            newest = list(backend.to_rollback(migrations))[:count]
            backend.rollback_migrations(type(migrations)(newest))
        return [migration.id for migration in newest]


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
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])  # released when the connection closes
    yield


def _check_may_create(connection: Any) -> None:
    """Raises SetupError early: yoyo would wait 10 s for a lock table that it cannot create, and report that."""
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
    import yoyo  # only needed, and slow, when there is something to migrate

    # As query parameters: yoyo does not decode a database name in the path.
    backend = yoyo.get_backend(f"postgresql:///?{urlencode(parse_dsn(dsn))}")
    try:
        names = set(known_migrations())
        migrations = yoyo.read_migrations(str(migrations_folder()))
        # yoyo reads __init__.py as a migration, too.
        yield backend, type(migrations)(migration for migration in migrations if migration.id in names)
    finally:
        backend.connection.close()


def first_line(error: Exception) -> str:
    """Returns the first line of an error: psycopg2 may quote the statement in later ones."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
