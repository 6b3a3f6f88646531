"""Budgets in a real database, and what is spent of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.spending import ReservedAmount, publish_reservations, read_spending
from chatgpt_agent.adapters.postgres.tokens import add_token, rotate_token
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.adapters.postgres.users import add_user
from chatgpt_agent.admin.budgets import BudgetAdmin, BudgetRow
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


# Raised budgets.

SOON = datetime.now(UTC) + timedelta(days=2)  # this run may take hours


async def test_raised_budget_shows_both_amounts(budgets: BudgetAdmin) -> None:
    """`amount` stays the plain one; `left` is what is left of the raised one."""
    line = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    raised = await budgets.raise_until(line.id, amount=Decimal(15), until=SOON)
    assert (raised.amount, raised.raised_amount, raised.raised_until, raised.left) == (10, 15, SOON, 15)
    assert raised.version > line.version
    assert await budgets.list() == [raised]


async def test_raise_can_be_replaced_and_ended(budgets: BudgetAdmin) -> None:
    """A second raise replaces the first one; without a raise there is none to end."""
    line = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.raise_until(line.id, amount=Decimal(15), until=SOON)
    assert (await budgets.raise_until(line.id, amount=Decimal(12), until=SOON)).raised_amount == 12
    ended = await budgets.end_raise(line.id)
    assert (ended.amount, ended.raised_amount, ended.raised_until, ended.left) == (10, None, None, 10)
    with pytest.raises(NotFound, match=f"budget {line.id} is not raised"):
        await budgets.end_raise(line.id)


async def test_setting_or_removing_a_budget_ends_its_raise(store: Store) -> None:
    """A warning says so; a budget that is set again is not raised."""
    warnings: list[str] = []
    budgets = BudgetAdmin(store.with_actor(BOSS), warnings.append)
    line = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.raise_until(line.id, amount=Decimal(15), until=SOON)
    assert (await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(11))).raised_amount is None
    await budgets.raise_until(line.id, amount=Decimal(16), until=SOON)
    await budgets.remove(line.id)
    assert (await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))).raised_amount is None
    end = f"{SOON:%Y-%m-%dT%H:%M:%SZ}"
    assert warnings == [f"this ended the raise of the budget to {usd} USD until {end}" for usd in (15, 16)]


async def test_ended_raise_is_not_shown(budgets: BudgetAdmin, store: Store) -> None:
    """After its end a raise is in force nowhere, although its row is as it was."""
    line = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.raise_until(line.id, amount=Decimal(15), until=SOON)
    await store.fetch("UPDATE budgets SET raised_until = now() - interval '1 s'")
    [listed] = await budgets.list()
    assert (listed.raised_amount, listed.raised_until, listed.left) == (None, None, 10)


async def test_invalid_raise_of_a_budget_is_refused(budgets: BudgetAdmin) -> None:
    """The rules are those of core; a budget that does not exist has no raise."""
    line = await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    for amount, until in (("10", SOON), ("15", SOON - timedelta(days=3)), ("15", SOON + timedelta(days=367))):
        with pytest.raises(InvalidValue):
            await budgets.raise_until(line.id, amount=Decimal(amount), until=until)
    with pytest.raises(NotFound, match="there is no budget 77"):
        await budgets.raise_until(77, amount=Decimal(15), until=SOON)
    assert (await budgets.get(line.id)).raised_amount is None


async def test_raise_of_an_old_version_changes_nothing(budgets: BudgetAdmin) -> None:
    """The second of two admins who have read the same version gets an error."""
    read = await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    raised = await budgets.raise_until(read.id, amount=Decimal(2), until=SOON, version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.raise_until(read.id, amount=Decimal(3), until=SOON, version=read.version)
    with pytest.raises(VersionMismatch):
        await budgets.end_raise(read.id, version=read.version)
    assert await budgets.get(read.id) == raised


async def test_raise_is_in_the_audit_log(budgets: BudgetAdmin, store: Store) -> None:
    """The log has both values of a raise, and that its end removed them."""
    line = await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.raise_until(line.id, amount=Decimal(2), until=SOON)
    await budgets.end_raise(line.id)
    changes = await store.fetch(
        "SELECT before, after FROM audit_log WHERE object = 'budgets' AND action = 'update' ORDER BY id"
    )
    nothing = {"raised_amount": None, "raised_until": None}
    [(before, raised), (raised_before, ended)] = changes
    assert (before, raised_before, ended) == (nothing, raised, nothing)
    assert (raised["raised_amount"], datetime.fromisoformat(raised["raised_until"])) == (2, SOON)


async def test_rotated_token_keeps_the_raise_of_its_budget(budgets: BudgetAdmin, store: Store) -> None:
    """The new token may spend as much as the old one."""
    line = await budgets.set(token_id=2, period=Period.DAY, amount=Decimal(1))
    await budgets.raise_until(line.id, amount=Decimal(2), until=SOON)
    now = datetime.now(UTC)
    rotated = await rotate_token(store, 2, digest=b"c" * 32, token_prefix="cga_ijkl", until=now, now=now)
    assert rotated is not None
    [copied] = await budgets.list(token_id=rotated[0])
    assert (copied.amount, copied.raised_amount, copied.raised_until) == (1, 2, SOON)


# What is left, and for how long.


async def spend(store: Store, number: int, cost: str, days_ago: int = 0, token_id: int = 1) -> None:
    """Ships a row of alice that cost an amount."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    await ensure_partition(store, at)
    row = make_row(number, user_id=1, token_id=token_id, started_at=at)
    await ship(store, [msgspec.structs.replace(row, cost=Decimal(cost), uncertain_cost=Decimal(0))])


async def test_week_spent_is_that_of_the_last_seven_days(budgets: BudgetAdmin, store: Store) -> None:
    """Today and the six days before it count, whatever the period; of a token's budget only the token's rows."""
    for number, (cost, days_ago, token) in enumerate([("1", 0, 1), ("2", 6, 2), ("4", 7, 1)], 1):
        await spend(store, number, cost, days_ago, token)
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(100))
    await budgets.set(user="alice", period=Period.TOTAL, amount=Decimal(100))
    await budgets.set(token_id=2, period=Period.TOTAL, amount=Decimal(100))
    listed = await budgets.list()
    assert [line.week_spent for line in listed] == [3, 3, 2]
    assert [line.spent for line in listed] == [1, 7, 2]


async def test_empty_at_is_shown_if_it_comes_before_the_reset(budgets: BudgetAdmin, store: Store) -> None:
    """12 USD in seven days empty a total of 13 within a day, and one of 13,000 not within a year."""
    await spend(store, 1, "12")
    line = await budgets.set(user="alice", period=Period.TOTAL, amount=Decimal(13))
    now = datetime.now(UTC)
    assert line.empty_at is not None
    assert now < line.empty_at < now + timedelta(days=1)
    assert (await budgets.set(user="alice", period=Period.TOTAL, amount=Decimal(13_000))).empty_at is None


async def test_reservations_of_all_agents_are_left_out_of_what_is_left(budgets: BudgetAdmin, store: Store) -> None:
    """Both agents' reservations count in a user's budget, in a token's only those of the token; of an agent that has
    stopped, none."""
    await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.set(token_id=2, period=Period.MONTH, amount=Decimal(10))
    for number, amounts in ((1, {1: 1, 2: 2}), (2, {2: 4}), (3, {1: 8})):
        reserved = [ReservedAmount(1, token, Decimal(amount)) for token, amount in amounts.items()]
        await report_agent(
            store, UUID(int=number), AgentReport(backlog=0, oldest_age=None, lost_rows=0, ended=number == 3)
        )
        await publish_reservations(store, UUID(int=number), [1], reserved)
    user, token = await budgets.list()
    assert [(user.reserved, user.left), (token.reserved, token.left)] == [(7, 3), (6, 4)]


async def test_lists_of_all_and_of_some_budgets_are_equal(budgets: BudgetAdmin, store: Store) -> None:
    """All budgets are read in another order of steps than those of a user, of a token, or of one page."""
    await spend(store, 1, "1", 0)
    await spend(store, 2, "2", 3, 2)
    for period in Period:
        await budgets.set(user="alice", period=period, amount=Decimal(100))
        await budgets.set(token_id=2, period=period, amount=Decimal(100))
    every = [without_time(line) for line in await budgets.list()]
    assert [without_time(line) for line in await budgets.list(user="alice")] == every
    assert [without_time(line) for line in await budgets.list(limit=8)] == every
    assert [without_time(line) for line in await budgets.list(token_id=2)] == every[1::2]
    assert [without_time(await budgets.get(line.id)) for line in every] == every


def without_time(line: BudgetRow) -> BudgetRow:
    """A row without the forecast, which depends on the moment."""
    return msgspec.structs.replace(line, empty_at=None)


async def test_sum_that_is_no_number_leaves_nothing(budgets: BudgetAdmin, store: Store) -> None:
    """NaN, which only an edit in SQL can store, stops no list."""
    await spend(store, 1, "1")
    await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await store.fetch("UPDATE usage_daily SET cost = 'NaN'")
    [line] = await budgets.list()
    assert line.left == 0
