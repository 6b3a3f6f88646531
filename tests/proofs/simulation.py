"""Tools of the proofs: an event loop with simulated time, copies of files, and checks of rows."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.errors import LedgerUnavailable
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.postgresql import PostgreSQL, Usage, daily_sums

T = TypeVar("T")


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only in `pass_time`: timers fire then, and work of threads is waited for."""

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__()

    def time(self) -> float:
        """Simulated seconds since its creation."""
        return self._seconds

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end."""
        return self.run_until_complete(work)

    async def pass_time(self, outbox: Outbox, *, steps: int = 4, seconds: float = 6.0) -> None:
        """Lets time pass in steps, and waits after each until all work is done."""
        for _ in range(steps):
            self._seconds += seconds
            await self.calm(outbox)

    async def calm(self, outbox: Outbox) -> None:
        """Waits for work that has begun: each round lets the outbox's thread finish one more job."""
        for _ in range(6):
            with contextlib.suppress(LedgerUnavailable):  # it was in a group with a write that failed
                await outbox.depth()

    def end(self) -> None:
        """Closes it with its threads; no task may be left."""
        assert not asyncio.all_tasks(self)
        self.run(self.shutdown_default_executor())
        self.close()


@contextmanager
def still_loop() -> Iterator[StillLoop]:
    """Opens a loop for one proof."""
    loop = StillLoop()
    try:
        yield loop
    finally:
        loop.end()


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Makes a folder in memory, if possible: these proofs need the content of files and no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="agt", dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def show(*values: object) -> None:
    """Prints a line about a proof, which pytest shows with -s."""
    print(*values)  # noqa: T201


def copy_files(folder: Path, to: Path) -> None:
    """Copies what a process that dies now leaves of its outbox: the database and its write-ahead log."""
    to.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)


async def ship_everything(loop: StillLoop, ledger: Ledger, outbox: Outbox) -> None:
    """Lets time pass until the outbox is empty, and PostgreSQL was asked whether it has all rows."""
    for _ in range(20):
        await loop.pass_time(outbox)
        if await outbox.depth() == 0:
            return
    raise AssertionError("rows stay in the outbox")


def rows_by_id(server: PostgreSQL) -> dict[str, Usage]:
    """Returns the rows of the ledger. Checks I2: each request has at most one."""
    rows = {line["request_id"]: line for line in server.usage.values()}
    assert len(rows) == len(server.usage), "I2: a request has two rows"
    return rows


def check_daily_sums(server: PostgreSQL) -> None:
    """Checks that the daily sums are those of the rows."""
    assert server.daily == daily_sums(server.usage.values()), "the daily sums are not those of the rows"


def check_final(server: PostgreSQL, before: dict[tuple[str, Any], Usage]) -> None:
    """Checks I7: no earlier row has changed. Adds new rows to `before`."""
    changed = [key for key, row in before.items() if server.usage.get(key) != row]
    assert not changed, f"I7: terminal rows changed: {changed}"
    before.update({key: dict(row) for key, row in server.usage.items() if key not in before})


def check_cost(row: Usage, prices: Mapping[int, Price]) -> None:
    """Checks I6: the cost follows from the row and its price alone."""
    price = prices[row["price_id"]]
    assert price.rates.input is not None
    assert price.rates.output is not None
    cached = price.rates.input if price.rates.cached_input is None else price.rates.cached_input
    inputs, reused, outputs = row["input_tokens"] or 0, row["cached_tokens"] or 0, row["output_tokens"] or 0
    due = Fraction(price.rates.input) * (inputs - reused) + Fraction(cached) * reused
    due += Fraction(price.rates.output) * outputs
    assert Fraction(row["cost"]) == due / 1_000_000, f"I6: {row}"
