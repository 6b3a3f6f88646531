"""A row that PostgreSQL refuses for its content blocks no other row and is not lost."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.archive_months import archive_month
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.administration import ROOT
from tests.support.database import query
from tests.support.factories import BOOK, NOON, PRICE, make_intent, make_outcome, request_id
from tests.support.observers import IgnoreRows

POISON = "gpt-\x00"  # PostgreSQL's text holds no NUL


@pytest.fixture
def ledger(io_loop: IOLoop, dsn: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger without its shipper."""
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: NOON)
    io_loop.run_sync(ledger.open_outbox)
    yield ledger
    io_loop.run_sync(ledger.close)


async def ship(ledger: Ledger, poisoned: Callable[[int], bool], count: int) -> None:
    """Writes this number of rows, of which some are poisoned, and ships them."""
    for number in range(count):
        fields = {"model": POISON} if poisoned(number) else {}
        await ledger.settle(await ledger.open_request(make_intent(number, **fields), PRICE, BOOK), make_outcome(number))
    await ledger.flush()


async def test_one_poison_row_is_found_among_many(ledger: Ledger, dsn: str) -> None:
    """All other rows are shipped, and the poisoned one is a dead letter."""
    await ship(ledger, lambda number: number == 37, 100)
    assert query(dsn, "SELECT count(*) FROM usage") == [(99,)]
    assert query(dsn, "SELECT request_id::text FROM dead_letters") == [(str(request_id(37)),)]


async def test_no_row_waits_behind_poison(ledger: Ledger) -> None:
    """The outbox is empty afterwards, and the dead letters are counted."""
    await ship(ledger, lambda number: number % 10 == 0, 50)
    assert (ledger.backlog, ledger.dead_letters, await ledger.depth()) == (0, 5, 0)


async def test_a_dead_letter_holds_the_whole_row(ledger: Ledger, dsn: str) -> None:
    """A dead letter has the counts that are not 0, so that the row can be entered by hand."""
    await ship(ledger, lambda number: True, 1)
    [(record,)] = query(dsn, "SELECT record FROM dead_letters")
    assert json.loads(record)["usage"] == {"input": 1000, "output": 20}


async def test_a_dropped_partition_makes_no_dead_letter(ledger: Ledger, dsn: str) -> None:
    """The partition is created again, and the row is shipped."""
    await ship(ledger, lambda number: False, 1)
    query(dsn, "DROP TABLE usage_2024_05")
    await ledger.settle(await ledger.open_request(make_intent(2), PRICE, BOOK), make_outcome(2))
    await ledger.flush()
    assert query(dsn, "SELECT request_id::text FROM usage") == [(str(request_id(2)),)]
    assert query(dsn, "SELECT count(*) FROM dead_letters") == [(0,)]


async def test_a_late_row_of_an_archived_month_is_a_dead_letter(ledger: Ledger, dsn: str, tmp_path: Path) -> None:
    """It is not added to the sums, although the agent has seen a partition of the month."""
    await ship(ledger, lambda number: False, 1)
    query(dsn, "SELECT rebuild_usage_by_model(), rebuild_usage_latency()")
    await asyncio.to_thread(archive_month, dsn, NOON.date().replace(day=1), tmp_path / "archive", ROOT, say=str)
    await ledger.settle(await ledger.open_request(make_intent(2), PRICE, BOOK), make_outcome(2))
    await ledger.flush()
    assert query(dsn, "SELECT request_id::text, error LIKE '%rows of 2024-05 are archived%' FROM dead_letters") == [
        (str(request_id(2)), True)
    ]
    assert query(dsn, "SELECT sum(requests) FROM usage_daily") == [(1,)]
