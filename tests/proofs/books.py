"""What every proof of the books needs: a clock that stands still, copies of files, and what must be true of rows."""

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
    """An event loop whose time passes only when it is told to: timers fire then, and what threads do is waited for."""

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__()

    def time(self) -> float:
        """Seconds since its making."""
        return self._seconds

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something to its end."""
        return self.run_until_complete(work)

    async def pass_time(self, outbox: Outbox, *, steps: int = 4, seconds: float = 6.0) -> None:
        """Lets time pass, and waits each time until nothing moves any more."""
        for _ in range(steps):
            self._seconds += seconds
            await self.calm(outbox)

    async def calm(self, outbox: Outbox) -> None:
        """Waits for what was begun: each round is one more turn of the outbox's thread for whoever waits for it."""
        for _ in range(6):
            with contextlib.suppress(LedgerUnavailable):  # it was in a group with a write that failed
                await outbox.depth()

    def end(self) -> None:
        """Ends it with its threads; nothing may be left."""
        assert not asyncio.all_tasks(self)
        self.run(self.shutdown_default_executor())
        self.close()


@contextmanager
def still_loop() -> Iterator[StillLoop]:
    """A loop for one proof."""
    loop = StillLoop()
    try:
        yield loop
    finally:
        loop.end()


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder without a disk behind it, where there is one: these proofs are of what is written, not of how fast."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="cga", dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def show(*words: object) -> None:
    """A line of what a proof tried, for whoever runs it with -s."""
    print(*words)  # noqa: T201


def copy_files(folder: Path, to: Path) -> None:
    """What a process that dies at this moment leaves of its outbox: its file and the write-ahead log beside it."""
    to.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)


async def ship_everything(loop: StillLoop, ledger: Ledger, outbox: Outbox) -> None:
    """Lets time pass until the outbox is empty."""
    for _ in range(20):
        if await outbox.depth() == 0:
            return
        await loop.pass_time(outbox)
    raise AssertionError("rows stay in the outbox for ever")


def rows_by_id(server: PostgreSQL) -> dict[str, Usage]:
    """The rows of the ledger; I2: each request has at most one."""
    rows = {line["request_id"]: line for line in server.usage.values()}
    assert len(rows) == len(server.usage), "I2: a request has two rows"
    return rows


def check_roll_up(server: PostgreSQL) -> None:
    """The roll-up is the sum of the rows."""
    assert server.daily == daily_sums(server.usage.values()), "the roll-up is not the sum of the rows"


def check_final(server: PostgreSQL, seen: dict[tuple[str, Any], Usage]) -> None:
    """I7: a row that was there is there, as it was; `seen` learns the new ones."""
    changed = [key for key, row in seen.items() if server.usage.get(key) != row]
    assert not changed, f"I7: terminal rows changed: {changed}"
    seen.update({key: dict(row) for key, row in server.usage.items() if key not in seen})


def check_cost(row: Usage, prices: Mapping[int, Price]) -> None:
    """I6: the cost follows from the row alone and the price that it names."""
    price = prices[row["price_id"]]
    assert price.rates.input is not None
    assert price.rates.output is not None
    cached = price.rates.input if price.rates.cached_input is None else price.rates.cached_input
    given, again, made = row["input_tokens"] or 0, row["cached_tokens"] or 0, row["output_tokens"] or 0
    due = Fraction(price.rates.input) * (given - again) + Fraction(cached) * again + Fraction(price.rates.output) * made
    assert Fraction(row["cost"]) == due / 1_000_000, f"I6: {row}"
