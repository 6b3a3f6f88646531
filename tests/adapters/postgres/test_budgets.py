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
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.ledger import State
from tests.support.factories import NOON, make_row

BOSS = Actor("boss", Via.COMMAND, "here")


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A database with the user alice (1), who has a token (1) and a second one (2)."""
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
    """The changes."""
    return BudgetAdmin(store.with_actor(BOSS))


async def test_a_user_has_one_budget_for_each_period(budgets: BudgetAdmin) -> None:
    """Setting it again changes it."""
    first = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    again = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal("20.5"))
    assert again.id == first.id
    found = [(line.period, line.amount, line.token_id) for line in await budgets.list()]
    assert found == [(Period.MONTH, Decimal("20.5"), None), (Period.DAY, Decimal(1), None)]


async def test_a_token_has_budgets_of_its_own(budgets: BudgetAdmin) -> None:
    """Shown with its user's name."""
    line = await budgets.set(token_id=2, period=Period.TOTAL, amount=Decimal(3))
    assert (line.user, line.token_id, line.resets_at) == ("alice", 2, None)
    assert await budgets.list(token_id=1) == []
    assert await budgets.list(user="alice") == [line]


async def test_a_removed_budget_is_none(budgets: BudgetAdmin) -> None:
    """And can be set anew."""
    line = await budgets.set(user="alice", period=Period.WEEK, amount=Decimal(1))
    await budgets.remove(line.id)
    assert await budgets.list() == []
    with pytest.raises(NotFound):
        await budgets.get(line.id)
    assert (await budgets.set(user="alice", period=Period.WEEK, amount=Decimal(2))).id == line.id


async def test_nobody_has_no_budget(budgets: BudgetAdmin) -> None:
    """Neither a user nor a token that is not there."""
    with pytest.raises(NotFound, match="no user 'bob'"):
        await budgets.set(user="bob", period=Period.DAY, amount=Decimal(1))
    with pytest.raises(NotFound, match="no token 9"):
        await budgets.set(token_id=9, period=Period.DAY, amount=Decimal(1))


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e10", "0.00000000001"])
async def test_what_is_no_amount_is_refused(budgets: BudgetAdmin, amount: str) -> None:
    """Before it is asked of the database."""
    with pytest.raises(InvalidValue):
        await budgets.set(user="alice", period=Period.DAY, amount=Decimal(amount))


async def test_an_old_version_changes_nothing(budgets: BudgetAdmin) -> None:
    """Of two who have read the same, the second is told."""
    read = await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(2), version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.set(user="alice", period=Period.DAY, amount=Decimal(3), version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.remove(read.id, version=read.version)
    assert (await budgets.get(read.id)).amount == 2


async def test_every_change_is_in_the_audit_log(budgets: BudgetAdmin, store: Store) -> None:
    """With what was before."""
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(2))
    lines = await store.fetch(
        "SELECT actor, via, address, action, before ->> 'amount', after ->> 'amount' FROM audit_log"
        " WHERE object = 'budgets' ORDER BY id"
    )
    who = ("boss", "command", "here")
    assert lines == [(*who, "insert", None, "1"), (*who, "update", "1", "2")]


async def test_spent_is_what_rows_cost_and_may_have_cost(budgets: BudgetAdmin, store: Store) -> None:
    """By user, or by token alone, within the period."""
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
        await budgets.set(**owner, period=period, amount=Decimal(9))  # type: ignore[arg-type]
    month, token_day, total = [line.spent for line in await budgets.list()]
    assert (month, token_day, total) == (row.cost + 4, Decimal(4), row.cost + 4 + old.cost)
    days = (now.date(), now.date(), now.date().replace(day=1))
    asked = [(row.intent.request_id, row.intent.started_at), (UUID(int=1), row.intent.started_at)]
    spent, there = await read_spending(store, [1], days, total=True, rows=asked)
    assert there == {row.intent.request_id}
    assert {(line.token_id, line.day, line.total) for line in spent} == {
        (1, row.cost, row.cost + old.cost),
        (2, Decimal(4), Decimal(4)),
    }
