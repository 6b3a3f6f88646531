"""Three months of made-up usage of a small team, for pictures of the console: users, prices, budgets and rows.

The same seed gives the same usage; only the days follow the calendar."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.starter_prices import starter_prices
from chatgpt_agent.core.access.settings import NewUser, TokenSettings, UserChanges
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import Conflict
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, settle
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.core.usage import Answer, Usage

USERS = {  # how many requests a working day has, and what they are for
    "alice": (9, "Search team"),
    "bob": (4, "Support, Berlin"),
    "chen wei": (7, "数据平台"),
    "dora": (2, ""),
    "emil": (5, "Batch jobs at night"),
    "fatima": (3, "دعم العملاء"),
    "greta": (1, "On leave until January"),
    "hiro": (6, "Code review bot 🤖"),
}
MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-6.1-terra", "gpt-6-astra")
WEIGHTS = (55, 25, 15, 5)
BUDGETS = {"alice": "60", "bob": "8", "chen wei": "40", "emil": "15", "hiro": "120"}
ENDPOINTS = ("/v1/chat/completions", "/v1/responses")
STATES = (State.DONE, State.UPSTREAM_ERROR, State.INCOMPLETE, State.UNKNOWN)
STATE_WEIGHTS = (970, 18, 9, 3)
BATCH = 500


async def fill(
    administration: Administration, store: Store, *, days: int = 90, busy: int = 1, now: datetime | None = None
) -> int:
    """Adds users, prices and budgets, and `days` of usage; returns the number of rows. `busy`: how many times as many
    requests."""
    now = now or datetime.now(UTC)
    draw = random.Random(7)
    changes = await administration.price_import.compare(starter_prices(), since=now - timedelta(days=days + 1))
    await administration.price_import.apply(changes)
    tokens: dict[int, list[int]] = {}
    weights: dict[int, int] = {}
    for name, (requests, comment) in USERS.items():
        key = f"sk-made-up-key-of-{name.split()[0]}"
        try:
            await administration.users.add(NewUser(name=name, openai_key=key, comment=comment))
        except Conflict:  # the user of every test's agent
            await administration.users.change(name, UserChanges(comment=comment))
        if requests > 4:
            await administration.tokens.issue(name, TokenSettings(label="laptop"))
        user = await administration.users.get(name)
        tokens[user.id] = [token.id for token in await administration.tokens.list(name)]
        weights[user.id] = requests
    await administration.users.change("greta", UserChanges(disabled=True))
    for name, amount in BUDGETS.items():
        await administration.budgets.set(user=name, period=Period.MONTH, amount=Decimal(amount))
    book = PriceBook(await administration.prices.history())
    rows = list(_rows(draw, book, tokens, weights, days=days, busy=busy, now=now))
    for month in {row.intent.started_at.strftime("%Y-%m") for row in rows}:
        await ensure_partition(store, datetime.fromisoformat(f"{month}-15T00:00:00+00:00"))
    for first in range(0, len(rows), BATCH):
        await ship(store, rows[first : first + BATCH])
    return len(rows)


def _rows(
    draw: random.Random,
    book: PriceBook,
    tokens: dict[int, list[int]],
    weights: dict[int, int],
    *,
    days: int,
    busy: int,
    now: datetime,
) -> Iterator[Row]:
    for day in range(days, -1, -1):
        midnight = (now - timedelta(days=day)).replace(hour=0, minute=0, second=0, microsecond=0)
        quiet = 0.15 if midnight.weekday() >= 5 else 1.0
        growth = 1 + (days - day) / days
        for user, weight in weights.items():
            for _ in range(_count(draw, weight * busy * quiet * growth)):
                started_at = midnight + timedelta(seconds=draw.triangular(6, 21, 14) * 3600)
                if started_at < now:
                    yield _row(draw, book, user, draw.choice(tokens[user]), started_at)


def _count(draw: random.Random, mean: float) -> int:
    return max(0, round(draw.gauss(mean, mean**0.5)))


def _row(draw: random.Random, book: PriceBook, user: int, token: int, started_at: datetime) -> Row:
    [model] = draw.choices(MODELS, WEIGHTS)
    [state] = draw.choices(STATES, STATE_WEIGHTS)
    price = book.at(model, started_at)
    assert price is not None
    streamed = draw.random() < 0.7
    intent = Intent(
        request_id=uuid7(int(started_at.timestamp() * 1000), draw.randbytes(10)),
        user_id=user,
        token_id=token,
        endpoint=draw.choice(ENDPOINTS),
        model=model,
        price_id=price.id,
        streamed=streamed,
        started_at=started_at,
        max_cost=Decimal("0.04"),
    )
    return settle(intent, _outcome(draw, state, model, streamed), price, book)


def _outcome(draw: random.Random, state: State, model: str, streamed: bool) -> Outcome:
    size = int(draw.lognormvariate(7.6, 1.1))
    output = int(draw.lognormvariate(6.2, 0.9))
    first_byte = int(draw.lognormvariate(6.4, 0.4))
    usage = Usage(
        input=size, cached=min(size, size * draw.choice((0, 0, 1, 2)) // 3), output=output, reasoning=output // 4
    )
    done = state is State.DONE
    return Outcome(
        state=state,
        status={State.DONE: 200, State.INCOMPLETE: 200, State.UPSTREAM_ERROR: draw.choice((429, 500))}.get(state),
        answer=Answer(
            usage=usage if done else None,
            model=model if done else None,
            id=f"resp_{draw.getrandbits(64):016x}" if done else None,
        ),
        upstream_request_id=f"req_{draw.getrandbits(64):016x}",
        client_closed=state is State.INCOMPLETE,
        error={State.INCOMPLETE: "client_closed", State.UNKNOWN: "upstream_timeout"}.get(state),
        duration_ms=first_byte + output * (9 if streamed else 6),
        first_byte_ms=first_byte if state is not State.UNKNOWN else None,
    )
