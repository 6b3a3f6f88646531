"""The checks of the ledger go month by month, and find what they found in one go."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.settings import set_time_zone
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from tests.support.database import allow_edits, query
from tests.support.factories import make_row, request_id, this_month_and_next

NEW_MONTH = datetime(2024, 6, 1, tzinfo=UTC)
MONTHS = [NEW_MONTH + timedelta(days=days) for days in (-31, 0, 61)]  # May, June, August
_NO_PRICE = "INSERT INTO prices VALUES (7, 'gpt-6-luna', '2024-01-01', 0.15, 0.075, 0.60, now(), 0)"


class RecordingStore(Store):
    """A connection that notes how many partitions are read by each statement about a month."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.partitions: list[int] = []

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        if "FROM usage" in sql and "BETWEEN" in sql and "request_id BETWEEN" not in sql:
            [([explained],)] = await super().fetch(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
            self.partitions.append(len(_relations(explained["Plan"])))
        return await super().fetch(sql, parameters)


def _relations(node: dict[str, Any]) -> set[str]:
    own = {name for name in [str(node.get("Relation Name"))] if name.startswith("usage_2")}
    return own.union(*map(_relations, node.get("Plans", [])))


async def _fill(store: Store, moments: Sequence[datetime]) -> None:
    await store.fetch(_NO_PRICE)
    for moment in (*moments, *this_month_and_next()):
        await ensure_partition(store, moment)
    await ship(store, [make_row(number, started_at=moment) for number, moment in enumerate(moments)])


async def _found(store: Store, limit: int = 100) -> list[tuple[str, str]]:
    return [(finding.check, finding.subject) for finding in await run_checks(store, limit)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
async def test_a_day_with_rows_of_two_months_is_checked_in_one_piece(store: Store, zone: str) -> None:
    """Around midnight at the ends of a month of UTC, both months have rows of one day of the time zone."""
    await _fill(store, [NEW_MONTH + timedelta(hours=hours) for hours in (-20, -10, -1, 0, 1, 10, 20)])
    await set_time_zone(store, zone)
    assert await _found(store) == []
    for table in ("usage_daily", "usage_latency"):
        await store.fetch(f"UPDATE {table} SET requests = requests + 1")
    [(sums, latencies)] = await store.fetch("SELECT (SELECT count(*) FROM usage_daily), count(*) FROM usage_latency")
    findings = await _found(store)
    assert [sum(check == name for check, _ in findings) for name in ("daily sums", "latencies")] == [sums, latencies]


async def test_sums_without_rows_are_found(store: Store) -> None:
    """A month may have sums and no row."""
    await _fill(store, MONTHS)
    await store.fetch(
        "INSERT INTO usage_latency VALUES ('2023-01-31', 'm', 'duration', 1, 1); "
        "INSERT INTO usage_by_model VALUES ('2023-02-01', 'm', 1, 0, 1, 1, 0); "
        "INSERT INTO archived_latency VALUES ('2023-03-01', '2023-03-01', 'm', 'duration', 1, 1)"
    )
    expected = [
        ("sums by model", "2023-02-01, m"),
        ("latencies", "2023-01-31, m, duration, bucket 1"),
        ("latencies", "2023-03-01, m, duration, bucket 1"),
    ]
    assert await _found(store) == expected


async def test_findings_of_all_months_are_in_order_and_limited(store: Store) -> None:
    """The oldest rows come first."""
    await _fill(store, MONTHS)
    await store.fetch("DELETE FROM prices")
    subjects = [subject for check, subject in await _found(store, limit=2) if check == "price"]
    assert subjects == [str(request_id(0)), str(request_id(1))]


@pytest.mark.parametrize("id_", [str(request_id(0)), "f0000000-0000-4000-8000-000000000000", "0" * 32])
async def test_one_id_in_two_months_is_found(store: Store, dsn: str, id_: str) -> None:
    """Ids that an agent has made, and others."""
    await _fill(store, MONTHS)
    allow_edits(dsn)
    query(dsn, "UPDATE usage SET request_id = %s WHERE started_at <> %s", [id_, MONTHS[0]])
    query(dsn, "UPDATE usage SET request_id = %s WHERE started_at = %s", [id_, MONTHS[0]])
    assert [check for check, _ in await _found(store)] == ["duplicate"]


async def test_rows_out_of_the_calendar_are_found(store: Store, dsn: str) -> None:
    """Before 1970, after 9999, and at no time at all."""
    await _fill(store, MONTHS)
    query(dsn, "CREATE TABLE usage_early PARTITION OF usage FOR VALUES FROM (MINVALUE) TO ('1970-01-01Z')")
    query(dsn, "CREATE TABLE usage_late PARTITION OF usage FOR VALUES FROM ('9999-01-01Z') TO (MAXVALUE)")
    query(
        dsn,
        "INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed, "
        "streamed, started_at) SELECT gen_random_uuid(), 1, 1, '', 'm', 7, 0, 'not_sent', false, false, moment "
        "FROM unnest('{-infinity,1969-12-31 23:59Z,9999-01-01Z,12000-01-01Z,infinity}'::timestamptz[]) moment",
    )
    checks = [check for check, _ in await _found(store)]
    assert (checks.count("values"), checks.count("daily sums")) == (5, 5)


async def test_a_statement_reads_one_month(store: Store, dsn: str) -> None:
    """Memory and temporary files are those of a month, however long the ledger is. The days of a month may have rows of
    the months around it."""
    await _fill(store, [NEW_MONTH + timedelta(days=31 * number) for number in range(5)])
    async with RecordingStore(dsn) as recording:
        assert await run_checks(recording, 100) == []
    assert max(recording.partitions) <= 3
    assert len(recording.partitions) > 25
