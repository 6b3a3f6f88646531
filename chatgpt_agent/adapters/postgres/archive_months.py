"""Archives a month of `usage` in one transaction: rows to a file, sums to tables, and the partition is dropped.

Until the transaction commits nothing has changed but the file, which the next attempt writes again; when it commits,
the file is on the disk and was read back. COPY needs psycopg2 itself, so this runs in a thread, on a connection of its
own.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import psycopg2

from chatgpt_agent.adapters.archive_files import manifest_path, new_archive, read_archive, write_manifest
from chatgpt_agent.adapters.migrate import first_line
from chatgpt_agent.adapters.postgres.checks import daily_sums
from chatgpt_agent.adapters.postgres.settings import DAY_SQL, TIME_ZONE_SQL
from chatgpt_agent.adapters.postgres.usage import BUCKET_SQL, COUNT_NOT_DONE, COUNT_REQUESTS
from chatgpt_agent.core.archive import Archive, ArchiveSums, archive_name, differences, next_month, show_month
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import Conflict, SetupError, StoreUnavailable
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS

LOCK_SECONDS = 2  # that requests of other connections may wait behind ours for the lock of the ledger
LOCK_ATTEMPTS = 10
LOCK_PAUSE = 1.0  # seconds between two attempts
_BUSY = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)

_COUNTS = ", ".join(COUNT_COLUMNS)
_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in COUNT_COLUMNS)

_INSERT_DAILY = f"""
    INSERT INTO archived_daily (month, day, user_id, token_id, model, endpoint, requests, not_done, {_COUNTS}, cost,
                                uncertain_cost)
    SELECT %s, {DAY_SQL}, user_id, token_id, model, endpoint, {COUNT_REQUESTS}, {COUNT_NOT_DONE}, {_SUMS}, sum(cost),
           sum(uncertain_cost)
    FROM {{partition}} GROUP BY 2, 3, 4, 5, 6"""
_INSERT_LATENCY = f"""
    INSERT INTO archived_latency (month, day, model, measure, bucket, requests)
    SELECT %s, {DAY_SQL}, model, measure, {BUCKET_SQL.format(ms="milliseconds")}, count(*)
    FROM {{partition}},
         LATERAL (VALUES ('duration', duration_ms), ('first_byte', first_byte_ms)) AS m (measure, milliseconds)
    WHERE state = '{State.DONE}' AND milliseconds IS NOT NULL GROUP BY 2, 3, 4, 5"""
_READ_SUMS = f"""
    SELECT count(*), {COUNT_REQUESTS}, coalesce(sum(cost), 0), coalesce(sum(uncertain_cost), 0), {_SUMS}
    FROM {{partition}}"""
# Around midnight at the ends of the month, a day of the time zone has rows of two months: those of the other months are
# still there. Their table is not asked for by its id, which on each server of a cluster is another one.
_DAYS = "IN (SELECT day FROM archived_daily WHERE month = %s)"
_DAYS_OF_MONTH = daily_sums(
    rows=f"""(started_at >= %s AND started_at < %s OR started_at >= %s AND started_at < %s) AND {DAY_SQL} {_DAYS}""",
    days=f"day {_DAYS}",
)
_EDGE = timedelta(days=2)
_ADD_MONTH = """
    INSERT INTO archived_months (month, file, sha256, bytes, rows, requests, cost, uncertain_cost, counts, time_zone,
                                 archived_at, archived_by)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_BOUNDS = """
    SELECT pg_get_expr(c.relpartbound, c.oid)
           = format('FOR VALUES FROM (%%L) TO (%%L)', %s::timestamp AT TIME ZONE 'UTC',
                    (%s::timestamp + interval '1 month') AT TIME ZONE 'UTC')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage'::regclass AND c.relname = %s"""


def archive_month(dsn: str, month: date, folder: Path, actor: Actor, *, say: Callable[[str], object]) -> Archive:
    """Archives a month, given by its first day (UTC), into a folder, and drops its rows. `say` gets a sentence about
    each step. Raises SetupError: the file cannot be written, another connection uses the ledger; Conflict: the month is
    archived already, or its books are not right; StoreUnavailable."""
    with _transaction(dsn) as cursor:
        partition = _locked_partition(cursor, month)
        ledger_id, time_zone = _fetch(cursor, f"SELECT (SELECT id FROM ledger), {TIME_ZONE_SQL}")
        sums = _sums(cursor, partition)
        path = folder / archive_name(month, str(ledger_id))
        with new_archive(path) as file:
            _copy(cursor, partition, file)
        say(f"{show_month(month)}: {sums.rows} rows have been written to {path}.")
        stored = read_archive(path)
        if wrong := differences(sums, stored.sums):
            raise SetupError(f"{path} does not have what was written: {wrong[0]}; nothing was deleted")
        archive = Archive(
            month=month,
            file=path.name,
            sha256=stored.sha256,
            bytes=stored.bytes,
            sums=sums,
            time_zone=str(time_zone),
            archived_at=datetime.now(UTC),
            archived_by=f"{actor.name} ({actor.via})",
        )
        write_manifest(manifest_path(path), archive, ledger_id=ledger_id, format=1)
        _record(cursor, partition, archive, actor)
        _check_daily_sums(cursor, month)
        _drop(cursor, partition)
    say(f"{show_month(month)}: the file was read back, and the rows have been deleted from the database.")
    return archive


@contextlib.contextmanager
def _transaction(dsn: str) -> Iterator[Any]:
    """A transaction that commits when the context ends without an exception. One at a time."""
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10, client_encoding="UTF8", application_name="chatgpt-agent")
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"the database cannot be reached: {first_line(error)}") from None
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL timezone = 'UTC'; SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = 'on'; "
                "SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            if not _fetch(cursor, "SELECT pg_try_advisory_xact_lock(hashtext('archive_month'))")[0]:
                raise SetupError("another command archives months of this ledger: wait until it has ended")
            yield cursor
    except psycopg2.Error as error:
        raise StoreUnavailable(f"the month was not archived: {first_line(error)}") from None
    finally:
        connection.close()


def _locked_partition(cursor: Any, month: date) -> str:
    """Returns the name of a month's partition, which gets no more rows from now on. Raises Conflict."""
    name = f"usage_{month:%Y_%m}"
    cursor.execute(_BOUNDS, [month, month, name])
    rows = cursor.fetchall()
    if not rows:
        raise Conflict(f"the ledger has no rows of {show_month(month)}")
    if rows != [(True,)]:
        raise Conflict(f"the table {name} does not cover the month {show_month(month)} of UTC: run `ledger verify`")
    _with_lock(cursor, f"LOCK TABLE {name} IN SHARE MODE")
    return name


def _copy(cursor: Any, partition: str, file: BinaryIO) -> None:
    rows = f"SELECT * FROM {partition} ORDER BY started_at, request_id"
    cursor.copy_expert(f"COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)", file)


def _sums(cursor: Any, partition: str) -> ArchiveSums:
    rows, requests, cost, uncertain_cost, *counts = _fetch(cursor, _READ_SUMS.format(partition=partition))
    return ArchiveSums(
        rows=rows,
        requests=requests,
        cost=cost,
        uncertain_cost=uncertain_cost,
        counts={name: Decimal(count) for name, count in zip(COUNT_COLUMNS, counts, strict=True)},
    )


def _record(cursor: Any, partition: str, archive: Archive, actor: Actor) -> None:
    for name, value in (("actor", actor.name), ("via", actor.via.value), ("address", actor.address),
                        ("at", archive.archived_at.isoformat())):  # fmt: skip
        cursor.execute("SELECT set_config(%s, %s, true)", [f"chatgpt_agent.{name}", value])
    sums = archive.sums
    counts = json.dumps({name: str(count) for name, count in sums.counts.items()})
    values = [archive.month, archive.file, archive.sha256, archive.bytes, sums.rows, sums.requests, sums.cost]
    values += [sums.uncertain_cost, counts, archive.time_zone, archive.archived_at, archive.archived_by]
    cursor.execute(_ADD_MONTH, values)
    for sql in (_INSERT_DAILY, _INSERT_LATENCY):
        cursor.execute(sql.format(partition=partition), [archive.month])


def _check_daily_sums(cursor: Any, month: date) -> None:
    """Raises Conflict if the daily sums of the month are not those of its rows: the rows would show why."""
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (month, next_month(month)))
    values = [begin - _EDGE, begin, end, end + _EDGE, month, month, month, 1]
    cursor.execute(_DAYS_OF_MONTH, values)
    for day, text in cursor.fetchall():
        raise Conflict(f"the books of {show_month(month)} are not right ({day}: {text}): run `ledger verify`")


def _drop(cursor: Any, partition: str) -> None:
    """Detaches and drops a partition. The ledger cannot be read meanwhile, which takes milliseconds; the wait for the
    lock is bounded, because all others wait behind it."""
    _with_lock(cursor, "LOCK TABLE usage IN ACCESS EXCLUSIVE MODE")
    cursor.execute(f"ALTER TABLE usage DETACH PARTITION {partition}")
    cursor.execute(f"DROP TABLE {partition}")


def _with_lock(cursor: Any, sql: str) -> None:
    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        cursor.execute("SAVEPOINT before_lock")
        try:
            cursor.execute(sql)
        except _BUSY:
            cursor.execute("ROLLBACK TO before_lock")
            if attempt == LOCK_ATTEMPTS:
                raise SetupError(
                    "other connections read the ledger all the time, such as a report or a backup: try again later"
                ) from None
            time.sleep(LOCK_PAUSE)
        else:
            return


def _fetch(cursor: Any, sql: str) -> tuple[Any, ...]:
    cursor.execute(sql)
    [row] = cursor.fetchall()
    return tuple(row)
