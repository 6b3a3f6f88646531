"""Pages of a long ledger are found by indexes, whatever the filter: few rows are read and none of the others."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.usage_rows import list_rows
from tests.support.database import connected
from tests.support.postgres_server import temporary_database

ROWS, LIMIT = 20_000, 51
MOST = 10 * LIMIT  # rows that may be read for a page
_FILL = """
    SELECT ensure_usage_partition('2026-10-01Z'), ensure_usage_partition('2026-11-01Z');
    INSERT INTO users (id, name, upstream_key, created_at)
    SELECT n, 'user-' || n, '', now() FROM generate_series(1, 100) n;
    INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed, streamed,
                       started_at)
    SELECT gen_random_uuid(), 1 + n %% 100, 1 + n %% 100,
           CASE WHEN n = 7 THEN '/v1/images/edits' WHEN n %% 5 = 0 THEN '/v1/chat/completions'
                ELSE '/v1/responses' END,
           'model-' || n %% 5, 1, 0, CASE n %% 200 WHEN 0 THEN 'incomplete' WHEN 1 THEN 'unknown' ELSE 'done' END,
           false, false, '2026-10-01Z'::timestamptz + n * interval '4 minutes'
    FROM generate_series(1, %s) n"""

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "user": {"user": "user-7"},
    "token": {"token_id": 7},
    "model": {"model": "model-3"},
    "endpoint": {"endpoint": "/v1/responses"},
    "rare endpoint": {"endpoint": "/v1/images/edits"},
    "frequent state": {"states": ["done"]},
    "rare state": {"states": ["incomplete"]},
    "state of no row": {"states": ["not_sent"]},
    "states": {"states": ["incomplete", "unknown"]},
    "since": {"since": datetime.fromisoformat("2026-11-20T00:00Z")},
    "until": {"until": datetime.fromisoformat("2026-10-05T00:00Z")},
    "user and state": {"user": "user-7", "states": ["incomplete"]},
    "model and an endpoint of others": {"model": "model-3", "endpoint": "/v1/chat/completions"},
    "model and a state of others": {"model": "model-3", "states": ["unknown"]},
}
PLACES = {"first page": None, "late page": (datetime.fromisoformat("2026-10-20T00:00Z"), UUID(int=0))}


class ExplainingStore(Store):
    """A connection that runs statements only to count the rows of `usage` that they read."""

    rows_read = 0

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        [([explained],)] = await super().fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        self.rows_read = _rows_read(explained["Plan"])
        return []


def _rows_read(node: dict[str, Any]) -> int:
    below = sum(map(_rows_read, node.get("Plans", [])))
    if not node.get("Relation Name", "").startswith("usage_"):
        return below
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + int((node["Actual Rows"] + removed) * node["Actual Loops"])


@pytest.fixture(scope="module")
def long_ledger(postgres: str) -> Iterator[str]:
    """A database with rows of two months."""
    with temporary_database(postgres) as dsn:
        with connected(dsn) as cursor:
            cursor.execute(_FILL, [ROWS])
            cursor.execute("ANALYZE")
        yield dsn


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("chosen", FILTERS)
async def test_a_page_reads_few_rows(long_ledger: str, chosen: str, place: str) -> None:
    """Neither a sort nor a filter goes through the ledger."""
    async with ExplainingStore(long_ledger) as store:
        await list_rows(store, **FILTERS[chosen], after=PLACES[place], limit=LIMIT)
    assert store.rows_read <= MOST
