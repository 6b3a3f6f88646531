"""Proof 1, stateful: the real Ledger and Outbox through thousands of random steps, and the books hold after each.

    python -m pytest tests/proofs/test_stateful.py -s

PostgreSQL, the clock and the disk's refusals are the test's own. A request is dispatched when `open` has returned, and
its answer is delivered whole when `settle` has: that the relay keeps this order is what `test_crash_points.py` proves.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Coroutine
from contextlib import nullcontext
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from chatgpt_agent.core.ledger import TERMINAL, Outcome, Row, State, orphan, settle
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage
from chatgpt_agent.runtime.ledger import Ledger, OpenRequest
from tests.proofs.books import (
    StillLoop,
    check_cost,
    check_final,
    check_roll_up,
    copy_files,
    fast_folder,
    rows_by_id,
    ship_everything,
    show,
)
from tests.support.factories import NOON, PRICE, make_intent
from tests.support.full_disk import full_disk
from tests.support.observers import IgnoreRows
from tests.support.postgresql import FakeStore, PostgreSQL

T = TypeVar("T")

EXAMPLES, STEPS = 300, 50
SERVED = "gpt-4o-mini-2024-07-18"
FAULTS = [State.UPSTREAM_ERROR, State.INCOMPLETE, State.UNKNOWN, State.NOT_SENT]

happened: Counter[str] = Counter()  # in the whole run, so that it is seen that nothing was left out


class Asked(msgspec.Struct):
    """A dispatched request, as those outside the agent know it."""

    entry: OpenRequest
    price_id: int  # that its answer costs
    row: Row | None = None  # the outcome that the ledger was given
    written: bool = False  # whether the ledger said that it has it
    delivered: bool = False  # whether the client had the last byte
    billed: Usage | None = None  # what OpenAI counted, where it said so


class Reconciler(RuleBasedStateMachine):
    """An agent's books, and the world that does its worst."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = StillLoop()
        self.folders = fast_folder()
        self.root = self.folders.__enter__()
        self.names = map(str, itertools.count())
        # The world.
        self.server = PostgreSQL()
        self.now = NOON
        self.refusals = 0  # so many steps more the disk is full
        self.prices = {PRICE.id: PRICE}
        self.price, self.book = PRICE, PriceBook([PRICE])
        self.price_served: Price | None = None
        self.number = 0
        # The agent.
        self.folder = self.root / next(self.names)
        self.left_behind: list[Path] = []  # folders of processes that died, as they were then
        self.outbox: Outbox | None = None
        self.ledger: Ledger | None = None
        # What is known of the requests.
        self.asked: dict[str, Asked] = {}
        self.refused: list[Asked] = []  # whose rows this process could not write yet
        self.under_way: list[Asked] = []
        self.seen: dict[Any, Any] = {}
        self.replayed = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something to its end, on the disk as it is now."""
        with full_disk() if self.disk_refuses else nullcontext():
            return self.loop.run(work)

    @property
    def disk_refuses(self) -> bool:
        """Whether nothing can be written."""
        return self.refusals > 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.ledger is not None

    # The process.

    @initialize()
    def begin(self) -> None:
        """The first start."""
        self.start()

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        """A process starts on what is there; on a disk that refuses it may not come up."""
        outbox = Outbox(self.folder)
        ledger = Ledger(outbox, FakeStore(self.server), observer=IgnoreRows(), now=lambda: self.now)

        async def open_ledger() -> None:
            await ledger.open_outbox()
            await ledger.start_shipping()

        try:
            self.run(open_ledger())
        except (SetupError, LedgerUnavailable):
            assert self.disk_refuses
            happened["a start on a disk that refuses"] += 1
            self.run(_die(ledger, outbox))
        else:
            self.outbox, self.ledger = outbox, ledger

    @precondition(lambda self: self.running)
    @rule()
    def crash(self) -> None:
        """The process dies: what stays is what its files hold at this moment."""
        assert self.outbox is not None
        assert self.ledger is not None
        self.run(self.loop.calm(self.outbox))
        happened["a crash with requests under way"] += bool(self.under_way)
        happened["a crash with rows that PostgreSQL has"] += self._has_shipped_rows(self.outbox)
        happened["a crash with rows that the disk refused"] += not self.ledger.writable
        new = self.root / next(self.names)
        copy_files(self.folder, new)
        self.run(_die(self.ledger, self.outbox))
        self.left_behind.append(self.folder)
        self.folder = new
        self._forget_process()

    @precondition(lambda self: self.running and not self.under_way)
    @rule()
    def stop(self) -> None:
        """The process ends as a deploy ends it, after its last request."""
        assert self.ledger is not None
        self.run(self.ledger.close())
        happened["a stop"] += 1
        self._forget_process()

    def _forget_process(self) -> None:
        self.outbox = self.ledger = None
        self.under_way.clear()
        self.refused.clear()

    def _has_shipped_rows(self, outbox: Outbox) -> bool:
        _, rows = self.run(outbox.peek_batch(1))
        return any((str(row.intent.request_id), row.intent.started_at) in self.server.usage for row in rows)

    # Requests.

    @precondition(lambda self: self.running)
    @rule(count=st.integers(1, 6), streamed=st.booleans())
    def request(self, count: int, streamed: bool) -> None:
        """Requests are dispatched, unless their intents cannot be written."""
        for user in range(count):
            self.run(self._open(user, streamed))

    @precondition(lambda self: self.running)
    @rule(count=st.integers(2, 8), shipping=st.booleans())
    def rush(self, count: int, shipping: bool) -> None:
        """Many requests come and are answered at once, so that they share commits, also with the shipper's."""

        async def one(user: int) -> None:
            asked = await self._open(user, False)
            if asked is not None and user % 3 == 2:
                await self._settle(asked, FAULTS[count % len(FAULTS)])
            elif asked is not None:
                await self._answer(asked)

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                if shipping:
                    group.create_task(self.loop.pass_time(self.outbox))
                for user in range(count):
                    group.create_task(one(user))

        self.run(all_of_them())

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def answer(self, at: int) -> None:
        """OpenAI answers whole, with its counts; the client gets the last byte when the row is written."""
        self.run(self._answer(self._pick(at)))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def answer_without_usage(self, at: int) -> None:
        """OpenAI answers whole, and says nothing of tokens."""
        self.run(self._settle(self._pick(at), State.USAGE_UNKNOWN, delivered=True))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9), state=st.sampled_from(FAULTS))
    def upstream_fault(self, at: int, state: State) -> None:
        """OpenAI refuses, breaks off, or is not reached."""
        self.run(self._settle(self._pick(at), state))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def client_leave(self, at: int) -> None:
        """The client hangs up, and the answer is read to its end for nobody."""
        self.run(self._answer(self._pick(at), client_closed=True))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9), state=st.sampled_from(TERMINAL), steps=st.integers(1, 3))
    def end_on_a_full_disk(self, at: int, state: State, steps: int) -> None:
        """A request ends, and its row cannot be written."""
        self.refusals = steps + 1
        self.run(self._settle(self._pick(at), state))

    def _pick(self, at: int) -> Asked:
        return self.under_way.pop(at % len(self.under_way))

    async def _open(self, user: int, streamed: bool) -> Asked | None:
        assert self.ledger is not None
        self.number += 1
        started_at = self.now + timedelta(microseconds=self.number)
        more = {"user_id": user, "streamed": streamed, "started_at": started_at, "price_id": self.price.id}
        row_waits = bool(self.ledger._unwritten)
        try:
            entry = await self.ledger.open(make_intent(self.number, **more), self.price, self.book)
        except LedgerUnavailable:
            happened["a request without a record"] += 1
            return None
        assert not row_waits, "no record, no service"
        price = self.price_served or self.price
        asked = self.asked[str(entry.intent.request_id)] = Asked(entry, price.id)
        self.under_way.append(asked)
        return asked

    async def _answer(self, asked: Asked, *, client_closed: bool = False) -> None:
        number = int.from_bytes(asked.entry.intent.request_id.bytes[-4:], "big") % 977
        asked.billed = Usage(input=1000 + number, output=20 + number, cached=number, reasoning=number % 7)
        await self._settle(asked, State.DONE, delivered=not client_closed, client_closed=client_closed)

    async def _settle(
        self, asked: Asked, state: State, *, delivered: bool = False, client_closed: bool = False
    ) -> None:
        assert self.ledger is not None
        self.under_way = [other for other in self.under_way if other is not asked]
        outcome = Outcome(
            state=state,
            status=200,
            answer=Answer(usage=asked.billed, model=SERVED),
            upstream_request_id=None,
            client_closed=client_closed,
            error=None,
            duration_ms=1200,
            first_byte_ms=300,
        )
        entry = asked.entry
        if state is State.DONE and asked.billed is None:
            asked.billed = Usage(input=11, output=7, cached=5, reasoning=3)
            outcome = msgspec.structs.replace(outcome, answer=Answer(usage=asked.billed, model=SERVED))
        asked.row = settle(entry.intent, outcome, entry.price, entry.book)
        try:
            assert await self.ledger.settle(entry, outcome) == asked.row
        except LedgerUnavailable:
            happened["a row that the disk refused"] += 1
            self.refused.append(asked)
            return
        asked.written, asked.delivered = True, delivered
        happened[f"a row that says {state}"] += 1

    # The world.

    @precondition(lambda self: self.running)
    @rule(steps=st.integers(1, 4), seconds=st.sampled_from([0.3, 6.0]))
    def ship(self, steps: int, seconds: float) -> None:
        """Time passes, in which the shipper may work; and rows that the disk refused are written when it is well."""
        assert self.outbox is not None
        assert self.ledger is not None
        self.run(self.loop.pass_time(self.outbox, steps=steps, seconds=seconds))
        if seconds > 1 and not self.disk_refuses:
            assert self.ledger.writable, "the disk is well, and a row still waits for it"
            for asked in self.refused:
                asked.written = True
                happened["a row that was written later"] += 1
            self.refused.clear()

    @rule()
    def pg_down(self) -> None:
        """PostgreSQL is away."""
        self.server.up = False

    @rule()
    def pg_up(self) -> None:
        """PostgreSQL is back."""
        self.server.up = True

    @rule(count=st.integers(1, 3))
    def ack_lost(self, count: int) -> None:
        """The next statements run, and the connection dies before their answers."""
        self.server.lost_answers = count

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def poison(self, at: int) -> None:
        """PostgreSQL will not take the row of one request."""
        asked = self.under_way[at % len(self.under_way)]
        self.server.refused.add(str(asked.entry.intent.request_id))
        happened["a poison row"] += 1

    @rule(steps=st.integers(1, 5))
    def disk_refuses_writes(self, steps: int) -> None:
        """The disk is full, for some steps."""
        self.refusals = steps + 1

    @rule()
    def disk_recovers(self) -> None:
        """The disk has room again, before its time, and an agent finds that out by itself."""
        self.refusals = 0
        if self.running:
            self.ship(2, 6.0)

    @rule(days=st.integers(-70, 70))
    def clock_step(self, days: int) -> None:
        """Somebody sets the clock, also back."""
        self.now += timedelta(days=days)

    @rule(served=st.booleans(), cents=st.integers(0, 500))
    def reprice(self, served: bool, cents: int) -> None:
        """A new price for the model that is asked, or for the one that answers; requests under way keep theirs."""
        number = max(self.prices) + 1
        model = SERVED if served else PRICE.model
        price = Price(
            id=number,
            model=model,
            effective_at=NOON - timedelta(days=9000),
            rates=Rates(input=Decimal(cents) / 100, output=Decimal(cents), cached_input=None),
        )
        self.prices[number] = price
        self.book = PriceBook(self.prices.values())
        if served:
            self.price_served = price
        else:
            self.price = price

    # What must be true.

    @invariant()
    def holds(self) -> None:
        """I2, I7 and the roll-up, after every step."""
        happened["steps"] += 1
        self.refusals = max(0, self.refusals - 1)
        rows_by_id(self.server)
        check_final(self.server, self.seen)
        check_roll_up(self.server)
        if len(self.server.shipped) > self.replayed:
            self._check_replay()

    def _check_replay(self) -> None:
        self.replayed = len(self.server.shipped)
        before = self.server.copy()
        self.server.replay()
        assert (self.server.usage, self.server.daily) == (before.usage, before.daily), "I2: not the same again"

    def teardown(self) -> None:
        """All is well again, a last process starts and ships; then the whole of the books is looked at."""
        self.refusals, self.server.up, self.server.lost_answers = 0, True, 0
        try:
            if self.running:
                self.crash()
            self.start()
            assert self.outbox is not None
            self.run(ship_everything(self.loop, self.ledger, self.outbox))
            assert self.run(self.outbox.intents()) == [], "I3: an intent without a row"
            self.stop()
            self.holds()
            self._check_books()
            self._ship_what_was_left_behind()
        finally:
            if self.running:
                self.run(_die(self.ledger, self.outbox))
            self.loop.end()
            self.folders.__exit__(None, None, None)

    def _check_books(self) -> None:
        """I1, I3, I5, I6, and that no request has a row that was not dispatched."""
        rows = rows_by_id(self.server)
        letters = set(self.server.dead_letters)
        assert rows.keys().isdisjoint(letters)
        assert rows.keys() | letters == self.asked.keys(), "I3: each dispatched request has a row, no other has"
        assert letters == self.server.refused & self.asked.keys()
        for key, row in rows.items():
            asked = self.asked[key]
            check_cost(row, self.prices)
            possible = [asked.row] if asked.written else [asked.row, orphan(asked.entry.intent)]
            assert row["price_id"] == (asked.entry.price.id if row["error"] == "agent_died" else asked.price_id), "I6"
            assert any(_same(row, other) for other in possible if other), f"I1: {asked.row} became {row}"
            happened["a row that says unknown, of a process that died"] += row["error"] == "agent_died"
        done = {key: row for key, row in rows.items() if row["state"] == State.DONE}
        billed = [self.asked[key].billed for key in done]
        for name in ("input", "output", "cached", "reasoning"):
            told = sum(getattr(usage, name) for usage in billed)
            assert sum(row[f"{name}_tokens"] for row in done.values()) == told, "I5: not what OpenAI billed"
        delivered = {key for key, asked in self.asked.items() if asked.delivered}
        happened["answers delivered whole"] += len(delivered)
        happened["rows"] += len(rows)
        lost = {key for key in delivered if key not in letters and rows[key]["state"] == State.UNKNOWN}
        assert not lost, "I1: delivered whole, and the row does not say so"

    def _ship_what_was_left_behind(self) -> None:
        """I2 once more: the files of every process that died are shipped again, and nothing changes."""
        before = self.server.copy()
        while self.left_behind:
            self.folder = self.left_behind.pop()
            self.start()
            self.run(ship_everything(self.loop, self.ledger, self.outbox))
            self.stop()
            happened["an outbox shipped twice"] += 1
        assert (self.server.usage, self.server.daily) == (before.usage, before.daily), "I2: not the same again"


async def _die(ledger: Ledger, outbox: Outbox) -> None:
    """Ends a process without its last words: nothing more is written or shipped."""
    await ledger.background.close()
    await outbox.close()


def _same(line: dict[str, Any], row: Row) -> bool:
    """Whether a line of the table says what a row does."""
    usage = row.usage
    tokens = (usage.input, usage.cached, usage.output, usage.reasoning) if usage else (None, None, None, None)
    names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return tuple(line[name] for name in names) == tokens and all(
        line[name] == getattr(row, name) for name in ("state", "price_id", "cost", "client_closed", "error")
    )


def test_the_books_hold_after_every_step() -> None:
    """Whatever dies, in whatever order; and everything that can happen to them did."""
    happened.clear()
    logging.disable()  # tens of thousands of warnings that are what this test is for
    try:
        run_state_machine_as_test(
            Reconciler,
            settings=settings(
                derandomize=True,
                deadline=None,
                database=None,
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                phases=[Phase.generate],  # with Phase.shrink a failure becomes a short one, in minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
    for what, times in sorted(happened.items()):
        show(f"{times:7} {what}")
    assert happened["steps"] > 3000
    assert min(happened.values()) > 0
    assert len(happened) == 20, sorted(happened)
