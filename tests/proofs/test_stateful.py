"""Proof 1, random steps: the invariants of the real Ledger and Outbox hold after each of thousands of random steps.

    python -m pytest tests/proofs/test_stateful.py -s

PostgreSQL, the clock and the errors of the disk are simulated. A request is sent after `open` has returned, and its
answer is delivered whole after `settle` has returned; `test_crash_points.py` proves that the relay keeps this order.
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
import pytest
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
from tests.proofs.simulation import (
    StillLoop,
    check_cost,
    check_daily_sums,
    check_final,
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

pytestmark = pytest.mark.slow

T = TypeVar("T")

EXAMPLES, STEPS = 300, 50
SERVED = "gpt-6-luna-2026-09-15"
FAULTS = [State.UPSTREAM_ERROR, State.INCOMPLETE, State.UNKNOWN, State.NOT_SENT]

counts: Counter[str] = Counter()  # of each event in the whole run, to show that each was tested


class Dispatched(msgspec.Struct):
    """A request that was sent, as seen from outside the agent."""

    open: OpenRequest
    price_id: int  # of the price of its answer
    row: Row | None = None  # the row that the ledger must have after its outcome
    written: bool = False  # whether the ledger has confirmed the row
    delivered: bool = False  # whether the client has received the last byte
    billed: Usage | None = None  # OpenAI's counts, if it sent any


class LedgerMachine(RuleBasedStateMachine):
    """The ledger of an agent, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = StillLoop()
        self.folders = fast_folder()
        self.root = self.folders.__enter__()
        self.names = map(str, itertools.count())
        # The world.
        self.server = PostgreSQL()
        self.now = NOON
        self.backup = self.server.copy()
        self.refusals = 0  # number of further steps for which the disk is full
        self.prices = {PRICE.id: PRICE}
        self.price, self.book = PRICE, PriceBook([PRICE])
        self.price_served: Price | None = None
        self.number = 0
        # The agent.
        self.folder = self.root / next(self.names)
        self.left_behind: list[Path] = []  # folders of processes that died
        self.outbox: Outbox | None = None
        self.ledger: Ledger | None = None
        # Requests.
        self.dispatched: dict[str, Dispatched] = {}
        self.refused: list[Dispatched] = []  # whose rows this process could not write so far
        self.under_way: list[Dispatched] = []
        self.rows_before: dict[Any, Any] = {}
        self.replayed = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end, with the disk in its present state."""
        with full_disk() if self.disk_refuses else nullcontext():
            return self.loop.run(work)

    @property
    def disk_refuses(self) -> bool:
        """Whether writes fail."""
        return self.refusals > 0

    @property
    def process(self) -> tuple[Ledger, Outbox]:
        """The ledger and the outbox of the running process."""
        assert self.ledger is not None
        assert self.outbox is not None
        return self.ledger, self.outbox

    @property
    def running(self) -> bool:
        """Whether the agent runs."""
        return self.ledger is not None

    # The process.

    @initialize()
    def begin(self) -> None:
        """Starts the first process."""
        self.start()

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        """Starts a process on the files of the last one; on a full disk the start may fail."""
        outbox = Outbox(self.folder)
        ledger = Ledger(outbox, FakeStore(self.server), observer=IgnoreRows(), now=lambda: self.now)

        async def open_ledger() -> None:
            await ledger.open_outbox()
            await ledger.start_shipping()

        try:
            self.run(open_ledger())
        except (SetupError, LedgerUnavailable):
            assert self.disk_refuses
            counts["a start on a disk that refuses"] += 1
            self.run(_die(ledger, outbox))
        else:
            self.outbox, self.ledger = outbox, ledger

    @precondition(lambda self: self.running)
    @rule()
    def crash(self) -> None:
        """Kills the process: only the content of its files stays."""
        assert self.outbox is not None
        assert self.ledger is not None
        self.run(self.loop.calm(self.outbox))
        counts["a crash with requests under way"] += bool(self.under_way)
        counts["a crash with rows that PostgreSQL has"] += self._has_shipped_rows(self.outbox)
        counts["a crash with rows that the disk refused"] += not self.ledger.writable
        new = self.root / next(self.names)
        copy_files(self.folder, new)
        self.run(_die(self.ledger, self.outbox))
        self.left_behind.append(self.folder)
        self.folder = new
        self._forget_process()

    @precondition(lambda self: self.running and not self.under_way)
    @rule()
    def stop(self) -> None:
        """Stops the process cleanly, after its last request."""
        assert self.ledger is not None
        self.run(self.ledger.close())
        counts["a stop"] += 1
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
        """Sends requests, unless their intents cannot be written."""
        for user in range(count):
            self.run(self._open(user, streamed))

    @precondition(lambda self: self.running)
    @rule(count=st.integers(2, 8), shipping=st.booleans())
    def rush(self, count: int, shipping: bool) -> None:
        """Handles many requests at once, so that they share commits with one another and with the shipper."""

        async def handle(user: int) -> None:
            request = await self._open(user, False)
            if request is not None and user % 3 == 2:
                await self._settle(request, FAULTS[count % len(FAULTS)])
            elif request is not None:
                await self._answer(request)

        async def handle_all() -> None:
            async with asyncio.TaskGroup() as group:
                if shipping:
                    group.create_task(self.loop.pass_time(self.process[1]))
                for user in range(count):
                    group.create_task(handle(user))

        self.run(handle_all())

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def answer(self, at: int) -> None:
        """Receives a whole answer with its counts; the client gets the last byte after the row is written."""
        self.run(self._answer(self._pick(at)))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def answer_without_usage(self, at: int) -> None:
        """Receives a whole answer without token counts."""
        self.run(self._settle(self._pick(at), State.USAGE_UNKNOWN, delivered=True))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9), state=st.sampled_from(FAULTS))
    def upstream_fault(self, at: int, state: State) -> None:
        """Ends a request with an error of the upstream or of the connection to it."""
        self.run(self._settle(self._pick(at), state))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def client_leave(self, at: int) -> None:
        """Disconnects the client; the answer is read to its end."""
        self.run(self._answer(self._pick(at), client_closed=True))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9), state=st.sampled_from(TERMINAL), steps=st.integers(1, 3))
    def end_on_a_full_disk(self, at: int, state: State, steps: int) -> None:
        """Ends a request whose row cannot be written."""
        self.refusals = steps + 1
        self.run(self._settle(self._pick(at), state))

    def _pick(self, at: int) -> Dispatched:
        return self.under_way.pop(at % len(self.under_way))

    async def _open(self, user: int, streamed: bool) -> Dispatched | None:
        assert self.ledger is not None
        self.number += 1
        started_at = self.now + timedelta(microseconds=self.number)
        more = {"user_id": user, "streamed": streamed, "started_at": started_at, "price_id": self.price.id}
        row_waits = self.ledger.unwritten > 0
        try:
            entry = await self.ledger.open_request(make_intent(self.number, **more), self.price, self.book)
        except LedgerUnavailable:
            counts["a request without a record"] += 1
            return None
        assert not row_waits, "no record, no service"
        price = self.price_served or self.price
        request = self.dispatched[str(entry.intent.request_id)] = Dispatched(entry, price.id)
        self.under_way.append(request)
        return request

    async def _answer(self, request: Dispatched, *, client_closed: bool = False) -> None:
        number = int.from_bytes(request.open.intent.request_id.bytes[-4:], "big") % 977
        request.billed = Usage(input=1000 + number, output=20 + number, cached=number, reasoning=number % 7)
        await self._settle(request, State.DONE, delivered=not client_closed, client_closed=client_closed)

    async def _settle(
        self, request: Dispatched, state: State, *, delivered: bool = False, client_closed: bool = False
    ) -> None:
        assert self.ledger is not None
        self.under_way = [other for other in self.under_way if other is not request]
        outcome = Outcome(
            state=state,
            status=200,
            answer=Answer(usage=request.billed, model=SERVED),
            upstream_request_id=None,
            client_closed=client_closed,
            error=None,
            duration_ms=1200,
            first_byte_ms=300,
        )
        entry = request.open
        if state is State.DONE and request.billed is None:
            request.billed = Usage(input=11, output=7, cached=5, reasoning=3)
            outcome = msgspec.structs.replace(outcome, answer=Answer(usage=request.billed, model=SERVED))
        request.row = settle(entry.intent, outcome, entry.price, entry.book)
        try:
            assert await self.ledger.settle(entry, outcome) == request.row
        except LedgerUnavailable:
            counts["a row that the disk refused"] += 1
            self.refused.append(request)
            return
        request.written, request.delivered = True, delivered
        counts[f"a row that says {state}"] += 1

    # The world.

    @precondition(lambda self: self.running)
    @rule(steps=st.integers(1, 4), seconds=st.sampled_from([0.3, 6.0]))
    def ship(self, steps: int, seconds: float) -> None:
        """Lets time pass: the shipper works, and rows that the disk refused are written when it works again."""
        assert self.outbox is not None
        assert self.ledger is not None
        self.run(self.loop.pass_time(self.outbox, steps=steps, seconds=seconds))
        if seconds > 1 and not self.disk_refuses:
            assert self.ledger.writable, "the disk works, and a row still waits for it"
            for request in self.refused:
                request.written = True
                counts["a row that was written later"] += 1
            self.refused.clear()

    @rule()
    def pg_down(self) -> None:
        """Takes PostgreSQL down."""
        self.server.up = False

    @rule()
    def pg_up(self) -> None:
        """Starts PostgreSQL again."""
        self.server.up = True

    @rule()
    def back_up(self) -> None:
        """Makes a copy of PostgreSQL, as a replica is that falls behind from now on."""
        self.backup = self.server.copy()

    @rule()
    def fail_over(self) -> None:
        """Lets the copy take over, without the rows that PostgreSQL has got since."""
        lost = len(self.server.usage) - len(self.backup.usage)
        self.server.become(self.backup)
        self.rows_before = {key: row for key, row in self.rows_before.items() if key in self.server.usage}
        self.replayed = 0
        counts["a fail-over that loses rows"] += lost > 0

    @rule(count=st.integers(1, 3))
    def ack_lost(self, count: int) -> None:
        """Lets the connection break after the next statements and before their answers."""
        self.server.lost_answers = count

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 9))
    def poison(self, at: int) -> None:
        """Lets PostgreSQL refuse the row of one request."""
        request = self.under_way[at % len(self.under_way)]
        self.server.refused.add(str(request.open.intent.request_id))
        counts["a poison row"] += 1

    @rule(steps=st.integers(1, 5))
    def disk_refuses_writes(self, steps: int) -> None:
        """Makes the disk full for some steps."""
        self.refusals = steps + 1

    @rule()
    def disk_recovers(self) -> None:
        """Frees the disk early; the agent notices by itself."""
        self.refusals = 0
        if self.running:
            self.ship(2, 6.0)

    @rule(days=st.integers(-70, 70))
    def clock_step(self, days: int) -> None:
        """Sets the clock forward or back."""
        self.now += timedelta(days=days)

    @rule(served=st.booleans(), cents=st.integers(0, 500))
    def reprice(self, served: bool, cents: int) -> None:
        """Sets a price of the requested model or of the serving one; open requests keep their prices."""
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

    # Invariants.

    @invariant()
    def holds(self) -> None:
        """Checks I2, I7 and the daily sums after every step."""
        counts["steps"] += 1
        self.refusals = max(0, self.refusals - 1)
        rows_by_id(self.server)
        check_final(self.server, self.rows_before)
        check_daily_sums(self.server)
        if len(self.server.shipped) > self.replayed:
            self._check_replay()

    def _check_replay(self) -> None:
        self.replayed = len(self.server.shipped)
        before = self.server.copy()
        self.server.replay()
        assert (self.server.usage, self.server.daily) == (before.usage, before.daily), "I2: not the same again"

    def teardown(self) -> None:
        """Ends all faults, lets a last process ship, and checks the whole ledger."""
        self.refusals, self.server.up, self.server.lost_answers = 0, True, 0
        try:
            if self.running:
                self.crash()
            self.start()
            ledger, outbox = self.process
            self.run(ship_everything(self.loop, ledger, outbox))
            assert self.run(outbox.intents()) == [], "I3: an intent without a row"
            self.stop()
            self.holds()
            self._check_ledger()
            self._ship_what_was_left_behind()
        finally:
            if self.running:
                self.run(_die(*self.process))
            self.loop.end()
            self.folders.__exit__(None, None, None)

    def _check_ledger(self) -> None:
        """Checks I1, I3, I5, I6, and that only requests that were sent have rows."""
        rows = rows_by_id(self.server)
        letters = set(self.server.dead_letters)
        assert rows.keys().isdisjoint(letters)
        assert rows.keys() | letters == self.dispatched.keys(), "I3: each dispatched request has a row, no other has"
        assert letters == self.server.refused & self.dispatched.keys()
        for key, row in rows.items():
            request = self.dispatched[key]
            check_cost(row, self.prices)
            possible = [request.row] if request.written else [request.row, orphan(request.open.intent)]
            died = row["error"] == "agent_died"
            assert row["price_id"] == (request.open.intent.price_id if died else request.price_id), "I6"
            assert any(_same(row, other) for other in possible if other), f"I1: {request.row} became {row}"
            counts["a row that says unknown, of a process that died"] += died
        done = {key: row for key, row in rows.items() if row["state"] == State.DONE}
        billed = [self.dispatched[key].billed for key in done]
        for name in ("input", "output", "cached", "reasoning"):
            expected = sum(getattr(usage, name) for usage in billed)
            assert sum(row[f"{name}_tokens"] for row in done.values()) == expected, "I5: not what OpenAI billed"
        delivered = {key for key, request in self.dispatched.items() if request.delivered}
        counts["answers delivered whole"] += len(delivered)
        counts["rows"] += len(rows)
        lost = {key for key in delivered if key not in letters and rows[key]["state"] == State.UNKNOWN}
        assert not lost, "I1: delivered whole, and the row does not say so"

    def _ship_what_was_left_behind(self) -> None:
        """Checks I2 again: the files of every process that died are shipped again, and nothing changes."""
        before = self.server.copy()
        while self.left_behind:
            self.folder = self.left_behind.pop()
            self.start()
            self.run(ship_everything(self.loop, *self.process))
            self.stop()
            counts["an outbox shipped twice"] += 1
        assert (self.server.usage, self.server.daily) == (before.usage, before.daily), "I2: not the same again"


async def _die(ledger: Ledger, outbox: Outbox) -> None:
    """Ends a process at once: nothing more is written or shipped."""
    await ledger.background.close()
    await outbox.close()


def _same(columns: dict[str, Any], row: Row) -> bool:
    """Whether the columns in the table are those of a row."""
    usage = row.usage
    tokens = (usage.input, usage.cached, usage.output, usage.reasoning) if usage else (None, None, None, None)
    names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return tuple(columns[name] for name in names) == tokens and all(
        columns[name] == getattr(row, name) for name in ("state", "price_id", "cost", "client_closed", "error")
    )


def test_the_invariants_hold_after_every_step() -> None:
    """The invariants hold in 300 random sequences of events, in which every kind of event occurs."""
    counts.clear()
    logging.disable()  # tens of thousands of expected warnings
    try:
        run_state_machine_as_test(
            LedgerMachine,
            settings=settings(
                derandomize=True,
                database=None,
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                phases=[Phase.generate],  # with Phase.shrink a failure becomes a short one, in minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
    for event, times in sorted(counts.items()):
        show(f"{times:7} {event}")
    assert counts["steps"] > 3000
    assert min(counts.values()) > 0
    assert len(counts) == 21, sorted(counts)
