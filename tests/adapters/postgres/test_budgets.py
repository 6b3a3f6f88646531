"""Budgets in a real database, and what is spent of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.spending import read_spending
from chatgpt_agent.adapters.postgres.tokens import add_token
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.adapters.postgres.users import add_user
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.budget.period import Period, window
from chatgpt_agent.core.errors import InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.ledger import State
from tests.support.factories import NOON, make_row

BOSS = Actor("boss", Via.COMMAND, "here")


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A store with the user alice (1), who has the tokens 1 and 2."""
    store = Store(dsn)

    async def fill() -> None:
        await add_user(
            store,
            id=1,
            name="alice",
            upstream_key=b"x",
            digest=b"a" * 32,
            token_prefix="cga_abcd",
            settings={},
            now=NOON,
        )
        await add_token(store, user="alice", digest=b"b" * 32, token_prefix="cga_efgh", settings={}, now=NOON)

    io_loop.run_sync(fill)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def budgets(store: Store) -> BudgetAdmin:
    """The use cases on this database."""
    return BudgetAdmin(store.with_actor(BOSS))


async def test_a_user_has_one_budget_for_each_period(budgets: BudgetAdmin) -> None:
    """Setting a budget again changes its amount."""
    first = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    again = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal("20.5"))
    assert again.id == first.id
    listed = [(line.period, line.amount, line.token_id) for line in await budgets.list()]
    assert listed == [(Period.MONTH, Decimal("20.5"), None), (Period.DAY, Decimal(1), None)]


async def test_a_token_has_its_own_budgets(budgets: BudgetAdmin) -> None:
    """The budget of a token is listed with the name of its user."""
    line = await budgets.set(token_id=2, period=Period.TOTAL, amount=Decimal(3))
    assert (line.user, line.token_id, line.resets_at) == ("alice", 2, None)
    assert await budgets.list(token_id=1) == []
    assert await budgets.list(user="alice") == [line]


async def test_a_removed_budget_is_not_listed(budgets: BudgetAdmin) -> None:
    """A removed budget can be set again and keeps its id."""
    line = await budgets.set(user="alice", period=Period.WEEK, amount=Decimal(1))
    await budgets.remove(line.id)
    assert await budgets.list() == []
    with pytest.raises(NotFound):
        await budgets.get(line.id)
    assert (await budgets.set(user="alice", period=Period.WEEK, amount=Decimal(2))).id == line.id


async def test_a_budget_needs_an_existing_owner(budgets: BudgetAdmin) -> None:
    """A missing user or token is NotFound."""
    with pytest.raises(NotFound, match="no user 'bob'"):
        await budgets.set(user="bob", period=Period.DAY, amount=Decimal(1))
    with pytest.raises(NotFound, match="no token 9"):
        await budgets.set(token_id=9, period=Period.DAY, amount=Decimal(1))


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e10", "0.00000000001"])
async def test_an_invalid_amount_is_refused(budgets: BudgetAdmin, amount: str) -> None:
    """The amount is checked before the database is used."""
    with pytest.raises(InvalidValue):
        await budgets.set(user="alice", period=Period.DAY, amount=Decimal(amount))


async def test_an_old_version_changes_nothing(budgets: BudgetAdmin) -> None:
    """The second of two admins who have read the same version gets an error."""
    read = await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(2), version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.set(user="alice", period=Period.DAY, amount=Decimal(3), version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.remove(read.id, version=read.version)
    assert (await budgets.get(read.id)).amount == 2


async def test_every_change_is_in_the_audit_log(budgets: BudgetAdmin, store: Store) -> None:
    """The log has the amount before and after a change."""
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(2))
    lines = await store.fetch(
        "SELECT actor, via, address, action, before ->> 'amount', after ->> 'amount' FROM audit_log"
        " WHERE object = 'budgets' ORDER BY id"
    )
    actor = ("boss", "command", "here")
    assert lines == [(*actor, "insert", None, "1"), (*actor, "update", "1", "2")]


@pytest.mark.parametrize("period", [Period.DAY, Period.WEEK, Period.MONTH])
async def test_a_row_of_a_later_window_does_not_count(budgets: BudgetAdmin, store: Store, period: Period) -> None:
    """An agent whose clock is 40 days ahead spends nothing of today's budgets."""
    later = datetime.now(UTC) + timedelta(days=40)
    await ensure_partition(store, later)
    row = make_row(3, user_id=1, token_id=1, started_at=later)
    await ship(store, [row])
    await budgets.set(user="alice", period=period, amount=Decimal(9))
    assert [line.spent for line in await budgets.list()] == [0]
    bounds = window(period, datetime.now(UTC), UTC)
    assert bounds.first_day is not None
    assert bounds.last_day is not None
    spending, _ = await read_spending(store, [1], [(bounds.first_day, bounds.last_day)] * 3, total=True)
    assert [(line.day, line.month, line.total) for line in spending] == [(0, 0, row.cost)]


async def test_spending_contains_cost_and_uncertain_cost(budgets: BudgetAdmin, store: Store) -> None:
    """Spending is summed by user or by token, within the period."""
    now = datetime.now(UTC)
    await ensure_partition(store, now)
    row = make_row(3, user_id=1, token_id=1, started_at=now)
    lost = make_row(6, state=State.UNKNOWN, user_id=1, token_id=2, started_at=now, max_cost=Decimal(4))
    [old] = [make_row(9, user_id=1, token_id=1, started_at=now - timedelta(days=800))]
    await ensure_partition(store, old.intent.started_at)
    lost = msgspec.structs.replace(lost, price_id=7, cost=Decimal(0), uncertain_cost=Decimal(4))
    await ship(store, [row, lost, old])
    for token, period in ((None, Period.MONTH), (2, Period.DAY), (None, Period.TOTAL)):
        owner = {"user": "alice"} if token is None else {"token_id": token}
        await budgets.set(**owner, period=period, amount=Decimal(9))
    month, token_day, total = [line.spent for line in await budgets.list()]
    assert (month, token_day, total) == (row.cost + 4, Decimal(4), row.cost + 4 + old.cost)
    today = now.date()
    days = [(today, today), (today, today), (today.replace(day=1), today)]
    rows = [(row.intent.request_id, row.intent.started_at), (UUID(int=1), row.intent.started_at)]
    spending, contained = await read_spending(store, [1], days, total=True, rows=rows)
    assert contained == {row.intent.request_id}
    assert {(line.token_id, line.day, line.total) for line in spending} == {
        (1, row.cost, row.cost + old.cost),
        (2, Decimal(4), Decimal(4)),
    }
