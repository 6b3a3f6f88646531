"""Writing rows and their daily sums to a real database."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.adapters.postgres.books import states_since
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship, sql_array
from chatgpt_agent.adapters.postgres.usage_rows import StateSum
from chatgpt_agent.core.errors import StoreRejected
from chatgpt_agent.core.ledger import State
from tests.support.database import query
from tests.support.factories import NOON, make_row


@given(values=st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_an_array_is_read_back_unchanged(postgres: str, values: list[str | None]) -> None:
    """PostgreSQL reads back quotes, backslashes, braces, commas and the word NULL."""
    assert query(postgres, "SELECT %s::text[]", [sql_array(values)]) == [(values,)]


def test_equal_amounts_keep_their_digits() -> None:
    """Only values with the same text are written once for all."""
    assert sql_array([Decimal(1), Decimal("1.0")]) == "{1,1.0}"
    assert [sql_array(values) for values in ([], [True, True], ['"', '"'])] == ["{}", "{True,True}", r'{"\"","\""}']


async def test_a_partition_is_created_once(store: Store) -> None:
    """A second call does nothing."""
    await ensure_partition(store, NOON)
    await ensure_partition(store, NOON)
    assert await store.fetch("SELECT 1 FROM pg_class WHERE relname = 'usage_2024_05'") == [(1,)]


async def test_concurrent_agents_create_one_partition(dsn: str) -> None:
    """All agents create the partition of a new month at the same time."""
    stores = [Store(dsn) for _ in range(4)]
    await asyncio.gather(*(ensure_partition(store, NOON) for store in stores))
    assert query(dsn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass") == [(1,)]
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize(
    ("moment", "partition"),
    [
        ("2024-05-01T00:00:00+00:00", "usage_2024_05"),
        ("2024-05-31T23:59:59.999999+00:00", "usage_2024_05"),
        ("2024-06-01T01:30:00+02:00", "usage_2024_05"),
        ("2024-04-30T23:30:00-02:00", "usage_2024_05"),
        ("2024-12-31T23:59:59+00:00", "usage_2024_12"),
    ],
)
async def test_a_partition_is_a_month_of_utc(store: Store, moment: str, partition: str) -> None:
    """The time zone of the session has no effect."""
    when = datetime.fromisoformat(moment)
    await store.fetch("SET timezone = 'Asia/Tokyo'")
    await ensure_partition(store, when)
    await ship(store, [make_row(1, started_at=when.astimezone(UTC))])
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass"
    assert (await store.fetch(sql), await store.fetch("SELECT count(*) FROM usage")) == ([(partition,)], [(1,)])


async def test_partitions_neither_overlap_nor_leave_gaps(store: Store) -> None:
    """Thirteen months in a row can be created."""
    for month in range(1, 13):
        await ensure_partition(store, NOON.replace(month=month))
    await ensure_partition(store, NOON.replace(year=2025, month=1))
    assert await store.fetch("SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass") == [(13,)]


async def test_a_row_is_written_with_all_columns(store: Store) -> None:
    """Columns of corrections are NULL."""
    await ensure_partition(store, NOON)
    row = make_row(2)
    assert await ship(store, [row]) == 1
    [(line,)] = await store.fetch("SELECT to_jsonb(usage)::text FROM usage")
    columns = json.loads(line, parse_float=Decimal)
    assert datetime.fromisoformat(columns.pop("started_at")) == row.intent.started_at
    expected = {
        "request_id": str(row.intent.request_id), "user_id": 3, "token_id": 11, "endpoint": "/v1/chat/completions",
        "model": "gpt-6-luna", "served_model": "gpt-6-luna-2026-09-15", "upstream_id": "chatcmpl-2",
        "upstream_request_id": "req_2", "input_tokens": 1002, "cached_tokens": 2, "output_tokens": 22,
        "reasoning_tokens": 2, "price_id": 7, "cost": Decimal("0.00016335"), "state": "done", "status": 200,
        "client_closed": False, "streamed": True, "error": None, "duration_ms": 1202, "first_byte_ms": 300,
        "cache_write_tokens": 0, "audio_input_tokens": 0, "image_input_tokens": 0, "audio_output_tokens": 0,
        "image_output_tokens": 0, "uncertain_cost": 0,
    }  # fmt: skip
    assert columns == expected | dict.fromkeys(columns.keys() - expected.keys())


async def test_a_duplicate_row_in_a_batch_is_written_once(store: Store) -> None:
    """The daily sums count the row once."""
    await ensure_partition(store, NOON)
    assert await ship(store, [make_row(1), make_row(1)]) == 1
    assert await store.fetch("SELECT sum(requests) FROM usage_daily") == [(1,)]


async def test_a_row_without_a_partition_rejects_the_batch(store: Store) -> None:
    """Neither rows nor daily sums of the batch are written."""
    await ensure_partition(store, NOON)
    with pytest.raises(StoreRejected):
        await ship(store, [make_row(1), make_row(2, started_at=NOON - timedelta(days=365))])
    assert await store.fetch("SELECT (SELECT count(*) FROM usage), (SELECT count(*) FROM usage_daily)") == [(0, 0)]


async def test_states_of_all_rows_tell_imported_from_done(store: Store) -> None:
    """Done rows are what the sums have beyond the rows of other states."""
    await ensure_partition(store, NOON)
    rows = [make_row(1), make_row(2, state=State.UNKNOWN), msgspec.structs.replace(make_row(3), state=State.IMPORTED)]
    await ship(store, rows)
    assert await states_since(store) == [StateSum(row.state, 1, row.cost) for row in rows]
