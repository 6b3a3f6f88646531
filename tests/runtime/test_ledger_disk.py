"""The ledger while the disk refuses writes."""

from pathlib import Path

import pytest

from chatgpt_agent.core.errors import LedgerUnavailable
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.factories import make_outcome, request_id
from tests.support.full_disk import full_disk
from tests.support.ledgers import OpenLedger, begin, record, states, until_shipped
from tests.support.waiting import until


async def test_without_a_record_there_is_no_service(ledger: Ledger, dsn: str) -> None:
    """A request whose intent cannot be written is refused, and leaves no row."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await begin(ledger, 1)
    assert not ledger.writable
    await record(ledger, 2)
    await until_shipped(dsn, 1)
    assert list(states(dsn)) == [str(request_id(2))]


async def test_a_row_that_the_disk_refused_is_written_later(ledger: Ledger, dsn: str) -> None:
    """The ledger writes it once the disk accepts writes again."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    await until_shipped(dsn, 1)
    assert states(dsn) == {str(request_id(1)): "done"}
    assert ledger.writable


async def test_while_a_row_waits_for_the_disk_no_request_is_opened(ledger: Ledger) -> None:
    """Requests are refused until that row is written, even if the disk accepts writes again."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    with pytest.raises(LedgerUnavailable):
        await begin(ledger, 2)
    assert not ledger.writable
    await until(lambda: ledger.writable)
    await begin(ledger, 2)


async def test_the_disk_is_probed_without_requests(ledger: Ledger) -> None:
    """A load balancer sends no requests to an agent that is not ready, so the ledger must find out by itself."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await begin(ledger)
    await until(lambda: ledger.writable)


async def test_a_refused_row_is_written_before_postgresql_is_reached(open_ledger: OpenLedger, tmp_path: Path) -> None:
    """The agent serves requests by then, and writing to the outbox does not need the database."""
    ledger = await open_ledger(tmp_path)
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    await until(lambda: ledger.writable)
    assert await ledger.depth() == 1


async def test_a_row_that_cannot_be_written_is_in_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """The log line has the row's figures: if the disk never recovers, it is the record."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert line.startswith(f"a row could not be written: request {request_id(1)} user 2 token 11 model gpt-6-sol at ")
    assert line.endswith("done, 1001 in, 1 cached, 21 out, 0.000162675 USD")


async def test_closing_writes_a_row_that_the_disk_refused(open_ledger: OpenLedger, tmp_path: Path, dsn: str) -> None:
    """The last try to write it is made when the ledger closes, and then it is shipped."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    await ledger.close()
    assert states(dsn) == {str(request_id(1)): "done"}
