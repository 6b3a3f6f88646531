"""The database schema: SQL files with rollbacks, applied by yoyo-migrations under an advisory lock."""

import getpass
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import psycopg2
from psycopg2.extensions import parse_dsn

from chatgpt_agent.adapters.postgres.session import split_options
from chatgpt_agent.core.errors import SetupError, StoreUnavailable

if TYPE_CHECKING:
    from yoyo.backends import DatabaseBackend
    from yoyo.migrations import MigrationList

LOCK = 0x63676100  # the advisory lock of all agents: `cga`

# What lies in the schema where our tables would be created or, if that is `public`, in any; without yoyo's tables and
# those of extensions, such as PostGIS.
_OTHER_TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
      AND (n.nspname = current_schema()
           OR current_schema() = 'public' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%')
      AND NOT (n.nspname = current_schema() AND c.relname ~ '^_?yoyo_')
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.relkind = 'S', c.relname"""

# At INFO yoyo logs every step with its whole SQL.
logging.getLogger("yoyo").setLevel(logging.WARNING)

_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)


class SchemaStatus(msgspec.Struct, frozen=True):
    """Names of migrations, in order. `unknown` ones are applied, but not part of this program; `rolled_back` are the
    pending ones that `migrate --rollback` has undone."""

    applied: list[str]
    pending: list[str]
    unknown: list[str]
    rolled_back: list[str]


def migrations_folder() -> Path:
    """Returns the folder of the installed SQL files."""
    spec = find_spec("chatgpt_agent.migrations")
    assert spec is not None, "the package is installed with its migrations"
    return Path(str(spec.origin)).parent


def known_migrations(folder: Path | None = None) -> list[str]:
    """Returns the names of this program's migrations, in order."""
    paths = (folder or migrations_folder()).glob("*.sql")
    return sorted(path.stem for path in paths if not path.stem.endswith(".rollback"))


def schema_status(dsn: str) -> SchemaStatus:
    """Returns which migrations are applied. Raises StoreUnavailable."""
    with connect(dsn) as connection:
        return _status(connection)


def _status(connection: Any) -> SchemaStatus:
    applied, rolled_back = _applied(connection), _rolled_back(connection)
    names = known_migrations()
    return SchemaStatus(
        applied=[name for name in names if name in applied],
        pending=[name for name in names if name not in applied],
        unknown=sorted(applied - set(names)),
        rolled_back=[name for name in names if name in rolled_back - applied],
    )


def check_not_newer(status: SchemaStatus) -> None:
    """Raises SetupError if a newer version of this program has migrated the database."""
    if status.unknown:
        raise SetupError(
            f"the database is newer than this program: it has {status.unknown[-1]}, this program knows migrations "
            f"up to {known_migrations()[-1]}; install a newer chatgpt-agent, or roll back with the newer one"
        )


def checked_status(dsn: str) -> SchemaStatus:
    """Returns which migrations are applied. Raises SetupError if this program cannot use the database: it belongs to
    another application or a newer program, or has an encoding other than UTF-8. Raises StoreUnavailable."""
    with connect(dsn) as connection:
        return _checked_status(connection)


def _checked_status(connection: Any) -> SchemaStatus:
    status = _status(connection)
    if not status.applied:
        _check_no_other_tables(connection, status)
    check_not_newer(status)
    _check_encoding(connection)
    return status


def migrate(dsn: str) -> list[str]:
    """Applies pending migrations and returns their names. Several agents may call it at the same time: one migrates,
    the others wait. Raises SetupError, as `checked_status`; StoreUnavailable."""
    with locked(dsn), connect(dsn) as guard:
        status = _checked_status(guard)
        if status.pending:
            _check_may_create(guard)
            with yoyo_backend(dsn) as (backend, migrations):
                backend.apply_migrations(backend.to_apply(migrations))
        return status.pending


def rollback(dsn: str, count: int) -> list[str]:
    """Rolls back the last `count` migrations, newest first, and returns their names. Data in tables and columns that
    they created is lost. Raises as `rolled_back`."""
    from chatgpt_agent.adapters.rollback import rolled_back  # only here: it imports this module

    with rolled_back(dsn, count) as done:
        return done.migrations


@contextmanager
def connect(dsn: str, *, use: str = "migrated") -> Iterator[Any]:
    """A connection of psycopg2 that commits each statement. Raises StoreUnavailable, or SetupError for what the server
    refuses: the database cannot be `use`."""
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10, client_encoding="UTF8")
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"the database cannot be reached: {first_line(error)}") from None
    try:
        connection.autocommit = True
        _check_search_path(connection, dsn)
        yield connection
    except psycopg2.errors.LockNotAvailable:
        raise SetupError("a table is in use by another connection: stop agents and commands, and try again") from None
    except psycopg2.Error as error:
        # What a server refuses has a class of its own: `DatabaseError` itself is raised where the connection ends.
        if (
            isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            or type(error) is psycopg2.DatabaseError
        ):
            raise StoreUnavailable(f"the database was lost: {first_line(error)}") from None
        raise SetupError(f"the database cannot be {use}: {first_line(error)}") from None
    finally:
        connection.close()


@contextmanager
def locked(dsn: str) -> Iterator[None]:
    """The lock that one process at a time migrates under; the others wait for it. It is held by a transaction of its
    own: PgBouncer would keep that of a session, and may give each statement another session."""
    with connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])  # released when the connection closes
        yield


def _check_search_path(connection: Any, dsn: str) -> None:
    """Raises SetupError if a pooler drops the `search_path` of the connection string (PgBouncer's
    `ignore_startup_parameters`): the tables would be created in another schema than agents look in."""
    path = split_options(dsn)[1].get("search_path")
    if path is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), current_setting('search_path'), current_user")
        process, current, account = cursor.fetchone()
    if process != connection.info.backend_pid and re.sub('[" ]', "", path) != re.sub('[" ]', "", current):
        raise SetupError(
            f"the pooler in front of the database drops `options` of database_url, so search_path is {current}: leave "
            f"them out, and run `ALTER ROLE {account} SET search_path = {path}` as the owner of the database"
        )


def _check_no_other_tables(connection: Any, status: SchemaStatus) -> None:
    """Raises SetupError if a database without our tables holds others: those of another application. In a schema of our
    own (`search_path`), what is in other schemas does not matter."""
    with connection.cursor() as cursor:
        cursor.execute(_OTHER_TABLES)
        others = [name for (name,) in cursor.fetchall()] or status.unknown
        cursor.execute("SELECT current_database()")
        [(database,)] = cursor.fetchall()
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise SetupError(
            f"the database {database} belongs to another application: it holds {', '.join(others[:3])}{more}, and no "
            "tables of chatgpt-agent; create a database of its own, and name it in database_url"
        )


def _check_encoding(connection: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise SetupError(
            f"the database {connection.info.dbname} has the encoding {encoding}, which cannot store every name: create "
            "one with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
        )


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


def _rolled_back(connection: Any) -> set[str]:
    """Returns the migrations whose last change was a rollback."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('_yoyo_log') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return set()
        cursor.execute(
            "SELECT DISTINCT ON (migration_id) migration_id, operation FROM _yoyo_log "
            "ORDER BY migration_id, created_at_utc DESC"
        )
        return {name for name, operation in cursor.fetchall() if operation == "rollback"}


@contextmanager
def yoyo_backend(dsn: str) -> Iterator[tuple["DatabaseBackend", "MigrationList"]]:
    """A connection of yoyo with this program's migrations."""
    import yoyo  # only needed, and slow, when there is something to migrate

    _name_account()

    # As query parameters: yoyo does not decode a database name in the path.
    parameters = {**parse_dsn(dsn), "client_encoding": "UTF8"}
    backend = yoyo.get_backend(f"postgresql:///?{urlencode(parameters)}")
    try:
        names = set(known_migrations())
        migrations = yoyo.read_migrations(str(migrations_folder()))
        # yoyo reads __init__.py as a migration, too.
        yield backend, type(migrations)(migration for migration in migrations if migration.id in names)
    finally:
        backend.connection.close()


def first_line(error: Exception) -> str:
    """Returns the first line of an error: psycopg2 may quote the statement in later ones; TimeoutError has no text."""
    without_text = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return next(iter(str(error).strip().splitlines()), without_text)


def _name_account() -> None:
    """Gives the account a name if it has none, as in a container that runs under a user id of its operator's choice:
    yoyo records who migrates, and would end in the middle."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())  # where getpass looks first
