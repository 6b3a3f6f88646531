"""Rolling migrations back: in one transaction, which is committed only after its caller has seen what it loses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from chatgpt_agent.adapters.migrate import check_not_newer, connect, locked, schema_status, yoyo_backend
from chatgpt_agent.core.errors import SetupError

AGENT_SECONDS = 60  # after its last report an agent counts as running; agents report more often
LOCK_SECONDS = 10  # for the locks of a table that another connection uses
_CONSTANT = re.compile(r"[^()]*")  # a default without a function call


class Loss(msgspec.Struct, frozen=True):
    """What a table loses: rows, and the values of dropped columns (the number of rows that have one). `dropped`: the
    table itself is gone."""

    table: str
    rows: int
    columns: dict[str, int]
    dropped: bool


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """Migrations, newest first, and what their rollback in a database loses and closes: the number of tokens that it
    revokes and of users that it disables, because the older program does not know their limits, and of admins that it
    revokes, because it does not know their passwords."""

    database: str
    migrations: list[str]
    losses: list[Loss]
    revoked_tokens: int
    disabled_users: int
    revoked_admins: int


@contextmanager
def rolled_back(dsn: str, count: int) -> Iterator[Rollback]:
    """Rolls back the last `count` migrations, newest first, or none of them if the context ends with an exception.
    Raises SetupError if fewer are applied or an agent is running; StoreUnavailable."""
    with locked(dsn), connect(dsn) as guard:
        status = schema_status(dsn)
        check_not_newer(status)
        if count > len(status.applied):
            raise SetupError(f"{len(status.applied)} migrations are applied, so {count} cannot be rolled back")
        _check_no_agent(guard)
        with yoyo_backend(dsn) as (backend, migrations):
            newest = list(backend.to_rollback(migrations))[:count]
            with backend.transaction():
                backend.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                # Citus refuses to change functions after it has read a distributed table on several connections.
                backend.execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
                before = _contents(backend)
                for migration in newest:
                    migration.process_steps(backend, "rollback")
                    backend.unmark_one(migration, log=False)
                    backend.log_migration(migration, "rollback")
                after = _contents(backend)
                yield Rollback(
                    database=guard.info.dbname,
                    migrations=[migration.id for migration in newest],
                    losses=_losses(before.tables, after.tables),
                    revoked_tokens=before.open_tokens - after.open_tokens if "tokens" in after.names else 0,
                    disabled_users=before.active_users - after.active_users if "users" in after.names else 0,
                    revoked_admins=before.active_admins - after.active_admins if "admins" in after.names else 0,
                )


def _check_no_agent(connection: Any) -> None:
    """Raises SetupError if an agent has reported within the last minute, and not that it ended: it would go on without
    its tables."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('agents') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(
            "SELECT count(*), min(extract(epoch FROM now() - seen_at))::int FROM agents "
            "a WHERE seen_at > now() - make_interval(secs => %s) AND to_jsonb(a) ->> 'ended_at' IS NULL",
            [AGENT_SECONDS],
        )
        agents, age = cursor.fetchone()
    if agents:
        raise SetupError(
            f"an agent of this database reported {max(age, 0)} s ago: stop all agents, and try again; one that was "
            f"killed counts as running for {AGENT_SECONDS} s"
        )


# What the tables hold.


class _Table(msgspec.Struct, frozen=True):
    """Its name and number of rows, and by number of column the name and the rows with a value other than the
    default."""

    name: str
    rows: int
    columns: dict[int, tuple[str, int]]


class _Contents(msgspec.Struct, frozen=True):
    """Tables by their id in PostgreSQL, which a rename keeps; tokens, users and admins that are in force."""

    tables: dict[int, _Table]
    open_tokens: int
    active_users: int
    active_admins: int

    @property
    def names(self) -> dict[str, _Table]:
        return {table.name: table for table in self.tables.values()}


def _contents(backend: Any) -> _Contents:
    tables = _rows(
        backend,
        "SELECT c.oid::bigint, c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace "
        "AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname !~ '^_?yoyo_' ORDER BY c.relname",
    )
    contents = {oid: _table(backend, oid, name) for oid, name in tables}
    names = {table.name for table in contents.values()}
    return _Contents(
        contents,
        _count(backend, "tokens WHERE revoked_at IS NULL") if "tokens" in names else 0,
        _count(backend, "users WHERE disabled_at IS NULL") if "users" in names else 0,
        _count(backend, "admins WHERE revoked_at IS NULL") if "admins" in names else 0,
    )


def _table(backend: Any, oid: int, name: str) -> _Table:
    columns = _rows(
        backend,
        "SELECT a.attnum, a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        f"WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    counts = "".join(
        f", count(*) FILTER (WHERE {_is_set(backend.quote_identifier(column), default)})"
        for _, column, default in columns
    )
    [(rows, *values)] = _rows(backend, f"SELECT count(*){counts} FROM {backend.quote_identifier(name)}")
    return _Table(
        name, rows, {number: (column, value) for (number, column, _), value in zip(columns, values, strict=True)}
    )


def _is_set(column: str, default: str | None) -> str:
    """Returns a condition: a column has a value other than its default. As texts, because not all types have =."""
    is_constant = default is not None and _CONSTANT.fullmatch(default)
    return f"{column}::text IS DISTINCT FROM ({default})::text" if is_constant else f"{column} IS NOT NULL"


def _count(backend: Any, table_where: str) -> int:
    [(count,)] = _rows(backend, f"SELECT count(*) FROM {table_where}")
    return int(count)


def _rows(backend: Any, sql: str) -> list[Any]:
    with backend.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


# Their difference.


def _losses(before: dict[int, _Table], after: dict[int, _Table]) -> list[Loss]:
    names = {table.name: table for table in after.values()}
    losses = [_loss(table, after.get(oid), names.get(table.name)) for oid, table in before.items()]
    return [loss for loss in losses if loss.rows or loss.columns]


def _loss(before: _Table, same: _Table | None, successor: _Table | None) -> Loss:
    """What a table loses, which is `same` afterwards, or was replaced by another one of its name, or is gone."""
    if same is not None:
        lost = [column for number, column in before.columns.items() if number not in same.columns]
    elif successor is not None:
        remaining = {name for name, _ in successor.columns.values()}
        lost = [column for column in before.columns.values() if column[0] not in remaining]
    else:
        return Loss(before.name, before.rows, {}, dropped=True)
    rows = before.rows - (same or successor or before).rows
    return Loss(before.name, max(rows, 0), {name: count for name, count in lost if count}, dropped=False)
