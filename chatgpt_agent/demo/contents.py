"""What the database of the demonstration holds: users, tokens, prices, budgets, usage, a correction, and the checks of
the books. Rows go in by the statement that ships those of an agent."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.tokens import save_last_used
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.overview import first_of_month
from chatgpt_agent.admin.reconcile import read_body
from chatgpt_agent.admin.starter_prices import starter_prices
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.budget.period import window
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.money.exact import ZERO, exact_sum
from chatgpt_agent.core.money.kinds import Rates, RightCounts
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.demo.team import TEAM, BudgetShare, Member
from chatgpt_agent.demo.usage import MODELS, Client, made_up_rows

SEED = 7
DAYS = 90
UNPRICED = "gpt-6.1-sol"  # which clients ask for nevertheless
REDUCED, REDUCED_AFTER = "gpt-6.1-terra", 45  # a model that was dearer in the first days
FORMER_RATES = Rates(input=Decimal("1.20"), cached_input=Decimal("0.06"), output=Decimal(6))
BATCH = 500  # rows of a statement
CENT, LEAST = Decimal("0.01"), Decimal(5)  # USD
COMPARED_DAYS = 29  # with OpenAI's figures, up to yesterday
DIFFERENT_DAY = 9  # days ago
DIFFERENCE = Decimal("0.40")  # USD that OpenAI has charged more on that day
DAY_SECONDS = 86_400


async def fill(
    administration: Administration, store: Store, *, seed: int = SEED, days: int = DAYS, busy: int = 3
) -> dict[str, str]:
    """Adds everything; returns the first token of each user, by name. `busy`: how many times as many requests as a
    working day of `TEAM` has. Raises StoreError."""
    now = datetime.now(UTC)
    begin = now - timedelta(days=days + 1)
    await _set_prices(administration, begin)
    tokens = {member.name: await _add(administration.at(begin), member) for member in TEAM}
    clients = {member.name: await _client(administration, member) for member in TEAM}
    book = PriceBook(await administration.prices.history())
    rows = list(made_up_rows(list(clients.values()), book, days=days, busy=busy, seed=seed, now=now))
    await _ship(store, rows, now)
    await save_last_used(store, {row.intent.token_id: row.intent.started_at for row in rows})
    for member in TEAM:
        await _set_budgets(
            administration, member, [row for row in rows if row.intent.user_id == clients[member.name].user_id], now
        )
        if member.leaves is not None:
            await administration.users.change(member.name, member.leaves)
    await _correct(administration, rows)
    await _compare(administration)
    await administration.ledger.verify()
    return tokens


async def _set_prices(administration: Administration, since: datetime) -> None:
    await administration.prices.set(REDUCED, FORMER_RATES, since=since)
    others = tuple(price.model for price in starter_prices().prices if price.model not in (UNPRICED, REDUCED))
    for models, begin in ((others, since), ((REDUCED,), since + timedelta(days=REDUCED_AFTER))):
        difference = await administration.price_import.compare(starter_prices(models), since=begin)
        await administration.price_import.apply(difference)
    await administration.surcharges.set("web_search", CENT, since=since)


async def _add(administration: Administration, member: Member) -> str:
    new = NewUser(name=member.name, openai_key=f"sk-made-up-key-of-{member.name}", **member.settings)
    token = (await administration.users.add(new)).token
    for settings in member.tokens:
        await administration.tokens.issue(member.name, settings)
    return token


async def _client(administration: Administration, member: Member) -> Client:
    user = await administration.users.get(member.name)
    return Client(
        user_id=user.id,
        token_ids=tuple(token.id for token in await administration.tokens.list(member.name)),
        requests=member.requests,
        models=user.allowed_models or tuple(MODELS),
    )


async def _ship(store: Store, rows: list[Row], now: datetime) -> None:
    next_month = first_of_month(now.date() + timedelta(days=31))  # its partition is there early, as with any agent
    for month in {next_month, *(first_of_month(row.intent.started_at.date()) for row in rows)}:
        await ensure_partition(store, month)
    for first in range(0, len(rows), BATCH):
        await ship(store, rows[first : first + BATCH])


async def _set_budgets(administration: Administration, member: Member, rows: list[Row], now: datetime) -> None:
    for budget in member.budgets:
        amount = budget_amount(budget, rows, now)
        await administration.budgets.set(user=member.name, period=budget.period, amount=amount)


def budget_amount(budget: BudgetShare, rows: Iterable[Row], now: datetime) -> Decimal:
    """Returns the USD of a budget, so that a user's rows have spent its share. One that begins again is not smaller
    than `LEAST`: in the first hours of a month it would refuse nearly all requests."""
    begins_at = window(budget.period, now, UTC).begins_at
    spent = exact_sum(row.budget_cost for row in rows if begins_at is None or row.intent.started_at >= begins_at)
    amount = (spent / budget.share).quantize(CENT, ROUND_DOWN)
    return max(amount, CENT if begins_at is None else LEAST)


async def _correct(administration: Administration, rows: list[Row]) -> None:
    """Adds what a client's disconnect has cost, as if it had been found in OpenAI's logs."""
    row = next((row for row in reversed(rows) if row.state is State.INCOMPLETE), None)
    if row is not None:
        reason = "Made up: the counts are those of OpenAI's log"
        await administration.corrections.correct(row.intent.request_id, RightCounts(input=1200, output=480), reason)


async def _compare(administration: Administration) -> None:
    await administration.reconciler.reconcile(await read_body(await _costs(administration)))


async def _costs(administration: Administration) -> bytes:
    """Returns made-up costs of OpenAI, which are those of the ledger, but for one model on one day."""
    overview = await administration.overview.read([])
    model = next(iter(MODELS))
    buckets = []
    for ago in range(COMPARED_DAYS, 0, -1):
        day = overview.today - timedelta(days=ago)
        costs = {each.name: each.cost for each in overview.models_by_day if each.day == day}
        if ago == DIFFERENT_DAY:
            costs[model] = costs.get(model, ZERO) + DIFFERENCE
        buckets.append(_bucket(day, costs))
    return json.dumps({"data": buckets}).encode()


def _bucket(day: date, costs: dict[str, Decimal]) -> dict[str, object]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": float(cost), "currency": "usd"},
            "line_item": f"{model}, input",
        }
        for model, cost in costs.items()
    ]
    return {"start_time": start, "end_time": start + DAY_SECONDS, "results": results}
