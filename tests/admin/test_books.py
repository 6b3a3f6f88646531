"""How sure the books are, compared with the rows."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.settings import set_time_zone
from chatgpt_agent.adapters.postgres.usage import add_dead_letter, ensure_partition, ship
from chatgpt_agent.adapters.postgres.usage_rows import rows_by_state
from chatgpt_agent.admin.books import Books
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.money.kinds import RightCounts
from chatgpt_agent.core.usage import Usage
from tests.support.agent import MODEL, Agent

pytestmark = pytest.mark.shared_agent

Add = Callable[..., Awaitable[UUID]]


@pytest.fixture
def add(agent: Agent) -> Add:
    """Adds a row of alice; returns its id."""

    async def add_row(state: State, when: datetime | None = None, **changes: Any) -> UUID:
        when = when or datetime.now(UTC)
        await agent.store.fetch("UPDATE prices SET effective_at = '2026-01-01Z' WHERE effective_at > '2026-01-01Z'")
        [(price,)] = await agent.store.fetch("SELECT max(id) FROM prices WHERE model = %s", [MODEL])
        intent = Intent(
            request_id=uuid7(int(when.timestamp() * 1000), bytes(9) + bytes([len(ids)])),
            user_id=1,
            token_id=1,
            endpoint="/v1/chat/completions",
            model=MODEL,
            price_id=price,
            streamed=False,
            started_at=when,
        )
        ids.append(intent.request_id)
        row = Row(intent=intent, state=state, price_id=price, **{"cost": Decimal(0), **changes})
        await ensure_partition(agent.store, when)
        await ship(agent.store, [row])
        return intent.request_id

    ids: list[UUID] = []
    return add_row


DONE: dict[str, Any] = {"usage": Usage(input=1_000_000, output=0), "cost": Decimal("0.15")}


async def read(agent: Agent) -> Books:
    return await agent.administration.books.read()


async def test_empty_ledger_is_certain(agent: Agent) -> None:
    """There is nothing to say of it."""
    books = await read(agent)
    assert (books.states, books.uncertain, books.uncertain_cost, books.corrections) == ([], [], 0, [])
    assert (books.last_verify, books.days, books.dead_letters) == (None, [], [])


async def test_states_of_the_month_are_those_of_its_rows(agent: Agent, add: Add) -> None:
    """Done rows are counted by the daily sums, to the same result."""
    for _ in range(3):
        row = await add(State.DONE, **DONE)
    await add(State.UNKNOWN, uncertain_cost=Decimal("0.5"))
    await add(State.INCOMPLETE)
    await agent.administration.corrections.correct(row, RightCounts(input=2_000_000, output=0), "made up")
    await add(State.DONE, datetime.now(UTC) - timedelta(days=40), **DONE)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    states = (await read(agent)).states
    assert states == await rows_by_state(agent.store, month)
    assert [each.state for each in states] == ["done", "incomplete", "unknown", "correction"]


async def test_states_of_all_are_those_of_the_rows(agent: Agent, add: Add) -> None:
    """The status counts no done row, to the same result."""
    row = await add(State.DONE, **DONE)
    await agent.administration.corrections.correct(row, RightCounts(input=2_000_000, output=0), "made up")
    await add(State.DONE, datetime.now(UTC) - timedelta(days=40), **DONE)
    await add(State.INCOMPLETE)
    rows = (await agent.administration.ledger.status()).rows
    expected = await rows_by_state(agent.store, datetime(2000, 1, 1, tzinfo=UTC))
    assert rows == expected
    assert [each.state for each in rows] == ["done", "incomplete", "correction"]


async def test_uncertain_cost_is_apart_by_reason(agent: Agent, add: Add) -> None:
    """A row without a reason counts by its state; the largest amount is first."""
    await add(State.UNKNOWN, uncertain_cost=Decimal("0.5"))
    await add(State.DONE, **DONE, uncertain_cost=Decimal("2"), uncertain_reason="image_cache")
    await add(State.DONE, **DONE, uncertain_cost=Decimal("1"), uncertain_reason="image_cache")
    await add(State.DONE, **DONE, uncertain_reason="session_time")
    await add(State.UNKNOWN, datetime.now(UTC) - timedelta(days=40), uncertain_cost=Decimal("9"))
    books = await read(agent)
    assert [(each.reason, each.rows, each.uncertain_cost) for each in books.uncertain] == [
        ("image_cache", 2, 3), ("unknown", 1, Decimal("0.5")), ("session_time", 1, 0),
    ]  # fmt: skip
    assert books.uncertain_cost == Decimal("3.5")


async def test_corrected_row_is_certain(agent: Agent, add: Add) -> None:
    """Its correction takes the uncertain cost away."""
    row = await add(State.UNKNOWN, uncertain_cost=Decimal("0.5"))
    await agent.administration.corrections.correct(row, RightCounts(input=7, output=0), "OpenAI says so")
    books = await read(agent)
    assert (books.uncertain, books.uncertain_cost) == ([], 0)
    [correction] = books.corrections
    assert (correction.corrects, correction.reason) == (row, "OpenAI says so")


async def test_waiting_rows_are_those_that_agents_report(agent: Agent) -> None:
    """In all outboxes together."""
    for number, backlog in ((7, 3), (8, 4)):
        report = AgentReport(backlog=backlog, oldest_age=5.0, lost_rows=0, unknown_usage_fields={"x": number})
        await report_agent(agent.store, UUID(int=number), report)
    books = await read(agent)
    assert (books.waiting, books.unknown_usage_fields) == (7, {"x": 15})


async def test_dead_letter_says_why(agent: Agent, add: Add) -> None:
    """Its error, and the id of its request."""
    intent = Intent(
        request_id=UUID(int=5), user_id=1, token_id=1, endpoint="/v1/responses", model=MODEL, price_id=None,
        streamed=False, started_at=datetime.now(UTC),
    )  # fmt: skip
    row = Row(intent=intent, state=State.UNKNOWN, price_id=None, cost=Decimal(0))
    await add_dead_letter(agent.store, row, "made-up refusal", datetime.now(UTC))
    books = await read(agent)
    assert books.dead_letter_count == 1
    assert [(each.request_id, each.error) for each in books.dead_letters] == [(str(UUID(int=5)), "made-up refusal")]


async def test_month_begins_in_the_time_zone_of_reports(agent: Agent, add: Add) -> None:
    """A row of its first hours counts, one of the hours before does not."""
    await set_time_zone(agent.store, "Pacific/Kiritimati")
    try:
        month = (await read(agent)).month
        begin = datetime(month.year, month.month, 1, tzinfo=UTC) - timedelta(hours=14)
        await add(State.UNKNOWN, begin, uncertain_cost=Decimal(1))
        await add(State.UNKNOWN, begin - timedelta(seconds=1), uncertain_cost=Decimal(2))
        books = await read(agent)
    finally:
        await set_time_zone(agent.store, "UTC")
    assert (books.uncertain_cost, [each.rows for each in books.states]) == (1, [1])
