"""The outbox on a disk of one megabyte: it is full sooner than SQLite would empty its log by itself."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.errors import LedgerUnavailable
from tests.support.factories import make_intent, make_row

pytestmark = pytest.mark.slow

AT_ONCE = 20  # requests


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a disk, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def record(outbox: Outbox, first: int) -> int:
    """Records requests; returns how many could begin. Each one that begins gets its row."""
    numbers = range(first, first + AT_ONCE)
    begun = await asyncio.gather(*(outbox.add_intent(make_intent(n)) for n in numbers), return_exceptions=True)
    assert {type(result) for result in begun} <= {type(None), LedgerUnavailable}
    recorded = [n for n, result in zip(numbers, begun, strict=True) if result is None]
    await asyncio.gather(*(outbox.settle(make_row(n)) for n in recorded))
    return len(recorded)


async def ship(outbox: Outbox) -> int:
    """Takes the rows out as the shipper does, with smaller batches after an error; returns their number."""
    shipped, batch = 0, 500
    while True:
        last, rows = await outbox.peek_batch(batch)
        if not rows:
            return shipped
        try:
            await outbox.ack(last)
            shipped += len(rows)
        except LedgerUnavailable:
            assert batch > 1
            batch //= 2


@pytest.mark.parametrize("keep", [0, 3600])
async def test_shipping_makes_room_on_a_small_disk(small_disk: Path, keep: int) -> None:
    """Rows fill the disk while PostgreSQL is away: no request begins that could not be recorded, and once the rows are
    shipped, requests are served again."""
    outbox = Outbox(small_disk / "data", keep=keep)
    await outbox.open()
    number = 0
    for _ in range(3):
        recorded = 0
        while (count := await record(outbox, number)) == AT_ONCE:
            number, recorded = number + AT_ONCE, recorded + count
        number, recorded = number + AT_ONCE, recorded + count
        assert not outbox.writable
        assert await ship(outbox) == recorded > 0
        await outbox.probe()
        assert outbox.writable
    await outbox.close()


async def test_a_log_larger_than_the_disk_is_emptied(small_disk: Path) -> None:
    """Thousands of requests pass whose rows are shipped at once."""
    outbox = Outbox(small_disk / "data")
    await outbox.open()
    for number in range(0, 2000, AT_ONCE):
        assert await record(outbox, number) == AT_ONCE
        await ship(outbox)
    assert outbox.writable
    await outbox.close()
