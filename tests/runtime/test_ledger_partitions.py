"""The ledger makes a partition for each month."""

from datetime import datetime
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.database import query
from tests.support.factories import NOON, request_id
from tests.support.ledgers import record, states, until_shipped
from tests.support.observers import IgnoreRows
from tests.support.waiting import until


@pytest.mark.parametrize("years", [-2, 1])
async def test_a_month_without_a_partition_gets_one(ledger: Ledger, dsn: str, years: int) -> None:
    """The partition is made for a row that waited for two years, and for one from a clock that was ahead."""
    await record(ledger, 1, started_at=NOON.replace(year=2024 + years))
    await until_shipped(dsn, 1)
    assert query(dsn, f"SELECT count(*) FROM usage_{2024 + years}_05") == [(1,)]


async def test_the_next_months_have_partitions_before_they_begin(ledger: Ledger, dsn: str) -> None:
    """The current month and the next two have partitions, so no row of a new month waits for one."""
    await until(lambda: partitions(dsn) == ["usage_2024_05", "usage_2024_06", "usage_2024_07"])


@pytest.mark.parametrize("day", ["2024-01-01", "2024-01-31", "2024-02-29", "2024-07-01", "2024-10-31", "2024-12-31"])
async def test_no_month_is_skipped(dsn: str, tmp_path: Path, day: str) -> None:
    """The partitions of three months in a row are made, however long the months are."""
    now = datetime.fromisoformat(f"{day}T23:59:59+00:00")
    months = [(now.year + (now.month + ahead - 1) // 12, (now.month + ahead - 1) % 12 + 1) for ahead in range(3)]
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: now)
    await ledger.open_outbox()
    await ledger.start_shipping()
    await until(lambda: partitions(dsn) == [f"usage_{year}_{month:02}" for year, month in months])
    await ledger.close()


async def test_a_partition_that_was_dropped_is_made_again(ledger: Ledger, dsn: str) -> None:
    """An operator or a restored backup may have removed the partition."""
    await record(ledger, 1)
    await until_shipped(dsn, 1)
    query(dsn, "DROP TABLE usage_2024_05")
    await record(ledger, 2)
    await until_shipped(dsn, 1)
    assert states(dsn) == {str(request_id(2)): "done"}


def partitions(dsn: str) -> list[str]:
    """The partitions of the table, by name."""
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass ORDER BY 1"
    return [name for (name,) in query(dsn, sql)]
