"""The list of users to look through, compared with the sums that it shows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.user_list import ListedUser, UserFilter, UserOrder, UserState
from chatgpt_agent.core.access.settings import NewUser, UserChanges
from chatgpt_agent.core.budget.period import Period

KEY = "sk-made-up-0000000000000000"
NAMES = ("alice", "Bob", "carol")


@pytest.fixture
def users(administration: Administration, io_loop: Any) -> None:
    """Three users, in the order in which they were added."""
    for name in NAMES:
        io_loop.run_sync(lambda name=name: administration.users.add(NewUser(name=name, openai_key=KEY)))


async def spend(administration: Administration, name: str, day: datetime, cost: str, *, requests: int = 1) -> None:
    columns = ["requests", "not_done", "cost", "uncertain_cost", "input_tokens", "output_tokens"]
    user = await administration.users.get(name)
    await administration.stores.changes.fetch(
        f"""INSERT INTO usage_daily (day, user_id, token_id, model, endpoint, {", ".join(columns)}, cached_tokens,
                cache_write_tokens, audio_input_tokens, image_input_tokens, reasoning_tokens, audio_output_tokens,
                image_output_tokens)
            VALUES (%s, %s, 1, %s, '/chat', %s, 0, %s, 0.5, 1, 1, 0, 0, 0, 0, 0, 0, 0)""",
        [day.date(), user.id, f"model of {cost}", requests, Decimal(cost)],
    )


async def listed(administration: Administration, *arguments: Any, **page: Any) -> list[ListedUser]:
    return (await administration.user_list.list(*arguments, **{"limit": 50, **page})).users


async def names(administration: Administration, *arguments: Any, **page: Any) -> list[str]:
    return [user.name for user in await listed(administration, *arguments, **page)]


@pytest.mark.usefixtures("users")
async def test_users_have_the_sums_of_this_month(administration: Administration) -> None:
    """Rows of the month count, those of the month before do not."""
    now = datetime.now(UTC)
    await spend(administration, "alice", now, "0.1", requests=2)
    await spend(administration, "alice", now.replace(day=1), "0.2", requests=3)
    await spend(administration, "alice", now.replace(day=1) - timedelta(days=1), "9")
    alice, bob, _ = await listed(administration)
    assert (alice.requests, alice.cost, alice.uncertain_cost) == (5, Decimal("0.3"), 1)
    assert (bob.requests, bob.cost, bob.uncertain_cost) == (0, 0, 0)


@pytest.mark.usefixtures("users")
async def test_search_finds_a_part_of_a_name_in_any_case(administration: Administration) -> None:
    """The text is no pattern."""
    assert await names(administration, UserFilter(search="O")) == ["Bob", "carol"]
    assert await names(administration, UserFilter(search="%")) == []


@pytest.mark.usefixtures("users")
async def test_state_chooses_users(administration: Administration) -> None:
    """A disabled user who was removed is removed."""
    await administration.users.change("alice", UserChanges(disabled=True))
    await administration.users.change("Bob", UserChanges(disabled=True))
    await administration.users.remove("Bob")
    listed_by = {state: await names(administration, UserFilter(state=state)) for state in UserState}
    assert listed_by == {UserState.ACTIVE: ["carol"], UserState.DISABLED: ["alice"], UserState.REMOVED: ["Bob"]}
    assert [user.state for user in await listed(administration)] == [
        UserState.DISABLED, UserState.REMOVED, UserState.ACTIVE,
    ]  # fmt: skip


@pytest.mark.usefixtures("users")
async def test_order_by_cost_is_the_highest_first(administration: Administration) -> None:
    """Users without usage come last, by name."""
    await spend(administration, "carol", datetime.now(UTC), "2")
    assert await names(administration, UserFilter(), UserOrder.COST) == ["carol", "alice", "Bob"]


@pytest.mark.usefixtures("users")
async def test_order_by_last_use_is_the_newest_first(administration: Administration) -> None:
    """The newest use of a user's tokens counts; users who never used one come last."""
    now = datetime.now(UTC)
    [carol] = await administration.tokens.list("carol")
    sql = "INSERT INTO token_uses VALUES (%s, %s)"
    await administration.stores.changes.fetch(sql, [carol.id, now])
    rows = await listed(administration, UserFilter(), UserOrder.LAST_USED)
    assert [(user.name, user.last_used_at) for user in rows] == [("carol", now), ("alice", None), ("Bob", None)]


@pytest.mark.usefixtures("users")
async def test_order_by_creation_is_the_newest_first(administration: Administration) -> None:
    """The user who was added last comes first."""
    assert await names(administration, UserFilter(), UserOrder.CREATED) == list(reversed(NAMES))


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("order", UserOrder)
async def test_pages_have_each_user_once(administration: Administration, order: UserOrder) -> None:
    """The pages together are the whole list, and each knows how many there are."""
    pages = [await administration.user_list.list(order=order, limit=2, offset=offset) for offset in (0, 2, 4)]
    joined = [user.name for page in pages for user in page.users]
    assert joined == await names(administration, UserFilter(), order)
    assert [page.total for page in pages] == [3, 3, 3]


@pytest.mark.usefixtures("users")
async def test_budget_of_the_month_is_the_one_in_force(administration: Administration) -> None:
    """A budget of the day does not count, and a raise counts until its end."""
    budgets = administration.budgets
    await budgets.set(user="alice", period=Period.MONTH, amount=Decimal(10))
    await budgets.set(user="alice", period=Period.DAY, amount=Decimal(1))
    await budgets.set(user="Bob", period=Period.DAY, amount=Decimal(1))
    amounts = [user.budget for user in await listed(administration)]
    sql = "UPDATE budgets SET raised_amount = 20, raised_until = now() + %s::interval WHERE period = 'month'"
    for until in ("1 hour", "-1 hour"):
        await administration.stores.changes.fetch(sql, [until])
        amounts.append((await listed(administration))[0].budget)
    assert amounts == [10, None, None, 20, 10]


@pytest.mark.usefixtures("users")
async def test_active_tokens_are_counted(administration: Administration) -> None:
    """A revoked token is not."""
    [token] = await administration.tokens.list("alice")
    await administration.tokens.revoke(token.id)
    assert [user.tokens for user in await listed(administration)] == [0, 1, 1]
