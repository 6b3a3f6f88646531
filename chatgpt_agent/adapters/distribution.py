"""Distributes the ledger by user over the servers of a Citus cluster: rows, and the sums that have a user.

Everything else stays on the coordinator, where the agents connect: users, tokens and prices are small and read at once,
sums by model have no user, and triggers write to the audit log there.
"""

from typing import Any

import msgspec

from chatgpt_agent.adapters.migrate import connect, locked
from chatgpt_agent.core.errors import SetupError

DISTRIBUTED = ("usage", "usage_daily", "archived_daily")
SHARDS = 8  # each batch of rows is written to most of them; see docs/operations/distributed.md for what they cost


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """What is distributed now, into how many parts; `tables`: those that were not before."""

    tables: list[str]
    shards: int


def check(dsn: str) -> None:
    """Raises SetupError if the database has no Citus, or is not its coordinator; StoreUnavailable."""
    with connect(dsn) as connection, connection.cursor() as cursor:
        _check_citus(cursor, connection.info.dbname)


def distribute(dsn: str, shards: int | None = None) -> Distribution:
    """Distributes the tables that are not distributed yet, in one transaction: agents wait with their rows meanwhile.
    `shards`: the number of parts, if none is. Raises SetupError: the tables have another number of parts;
    StoreUnavailable."""
    with locked(dsn), connect(dsn, use="distributed") as connection, connection.cursor() as cursor:
        before = _shards(cursor)
        number = _number(before, shards)
        tables = [name for name in DISTRIBUTED if name not in before]
        if tables:
            cursor.execute("BEGIN")
            # Citus checks that triggers are meant: `usage_is_final` works on every server.
            cursor.execute("SET LOCAL citus.enable_unsafe_triggers = on")
            for name in tables:
                _distribute(cursor, name, number)
            cursor.execute("COMMIT")
        _drop_local_rows(cursor)
        return Distribution(tables=tables, shards=number)


def _check_citus(cursor: Any, database: str) -> None:
    cursor.execute("SELECT to_regclass('pg_dist_node') IS NOT NULL")
    if not cursor.fetchone()[0]:
        raise SetupError(
            f"the database {database} has no extension Citus, so the ledger stays on this PostgreSQL: distributed "
            "tables need a Citus cluster"
        )
    cursor.execute("SELECT count(*) FILTER (WHERE shouldhaveshards) FROM pg_dist_node WHERE noderole = 'primary'")
    if not cursor.fetchone()[0]:
        raise SetupError(
            f"Citus in the database {database} has no server to put rows on: add one with `SELECT citus_add_node(…)`"
        )


def _shards(cursor: Any) -> dict[str, int]:
    """Returns the number of parts of each distributed table."""
    cursor.execute(
        "SELECT logicalrelid::text, (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) "
        "FROM pg_dist_partition p WHERE logicalrelid::text = ANY(%s) AND partmethod = 'h'",
        [list(DISTRIBUTED)],
    )
    return {str(name): int(count) for name, count in cursor.fetchall()}


def _number(before: dict[str, int], shards: int | None) -> int:
    if not before:
        return shards or SHARDS
    number = next(iter(before.values()))
    if shards not in (None, number):
        raise SetupError(
            f"the ledger is distributed into {number} parts already: `SELECT alter_distributed_table('usage', "
            f"shard_count := {shards}, cascade_to_colocated := true)` changes their number"
        )
    return number


def _distribute(cursor: Any, name: str, shards: int) -> None:
    if name == "usage":
        cursor.execute("DROP TRIGGER usage_audit ON usage")  # it writes to a table that only the coordinator has
        cursor.execute("SELECT create_distributed_table('usage', 'user_id', shard_count := %s)", [shards])
    else:
        cursor.execute("SELECT create_distributed_table(%s, 'user_id', colocate_with := 'usage')", [name])


def _drop_local_rows(cursor: Any) -> None:
    """Frees the disk space of the rows that were copied to the servers. Citus does so outside of a transaction, table
    by table; of one without such rows it does nothing."""
    cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass")
    months = [str(name) for (name,) in cursor.fetchall()]
    for name in (*months, *DISTRIBUTED):
        cursor.execute("SELECT truncate_local_data_after_distributing_table(%s::regclass)", [name])
