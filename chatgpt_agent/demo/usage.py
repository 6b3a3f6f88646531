"""Made-up requests of a small team up to now: working days, growth, a few errors, rows of unknown cost.

The same seed gives the same requests; only the days follow the calendar.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec

from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, settle
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.core.usage import Answer, Usage

T = TypeVar("T")

# Each with its share of all requests, in percent.
MODELS = {"gpt-6-luna": 55, "gpt-6-sol": 25, "gpt-6.1-terra": 15, "gpt-6-astra": 5}
ENDPOINTS = {"/v1/chat/completions": "chatcmpl-", "/v1/responses": "resp_"}  # each with the start of its answers' ids
STATES = {  # of 1,000 requests
    State.DONE: 969,
    State.UPSTREAM_ERROR: 16,
    State.INCOMPLETE: 9,
    State.UNKNOWN: 3,
    State.USAGE_UNKNOWN: 2,
    State.NOT_SENT: 1,
}
ERRORS = {
    State.INCOMPLETE: "client_closed",
    State.UNKNOWN: "upstream_timeout",
    State.NOT_SENT: "upstream_unreachable",
}
WEEKEND = 0.15  # of the requests of a working day
MAX_COST = Decimal("0.04")  # USD that a request of unknown usage may have cost


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A user that sends requests: its id, those of its tokens, how many requests a working day has, and the models that
    it may use."""

    user_id: int
    token_ids: tuple[int, ...]
    requests: int
    models: tuple[str, ...]


def made_up_rows(
    clients: list[Client], book: PriceBook, *, days: int, busy: int, seed: int, now: datetime
) -> Iterator[Row]:
    """Yields the rows of the last `days` days, user by user in each of them. `busy`: how many times as many requests a
    day has."""
    draw = random.Random(seed)  # noqa: S311 - figures, not secrets
    for day in range(days, -1, -1):
        midnight = (now - timedelta(days=day)).replace(hour=0, minute=0, second=0, microsecond=0)
        weekend = WEEKEND if midnight.weekday() >= 5 else 1.0
        growth = 1 + (days - day) / days
        for client in clients:
            for _ in range(_count(draw, client.requests * busy * weekend * growth)):
                started_at = midnight + timedelta(seconds=draw.triangular(6, 21, 14) * 3600)
                if started_at < now:
                    yield _row(draw, book, client, started_at)


def _count(draw: random.Random, mean: float) -> int:
    return max(0, round(draw.gauss(mean, mean**0.5)))


def _row(draw: random.Random, book: PriceBook, client: Client, started_at: datetime) -> Row:
    model = _chosen(draw, {model: MODELS[model] for model in client.models})
    price = book.at(model, started_at)
    assert price is not None
    intent = Intent(
        request_id=uuid7(int(started_at.timestamp() * 1000), draw.randbytes(10)),
        user_id=client.user_id,
        token_id=draw.choice(client.token_ids),
        endpoint=draw.choice(list(ENDPOINTS)),
        model=model,
        price_id=price.id,
        streamed=draw.random() < 0.7,
        started_at=started_at,
        max_cost=MAX_COST,
    )
    return settle(intent, _outcome(draw, intent), price, book)


def _outcome(draw: random.Random, intent: Intent) -> Outcome:
    state = _chosen(draw, STATES)
    output = int(draw.lognormvariate(6.2, 0.9))
    first_byte = int(draw.lognormvariate(6.4, 0.4))
    usage, has_answer = _usage(draw, output), state in (State.DONE, State.USAGE_UNKNOWN)
    statuses = {State.DONE: 200, State.INCOMPLETE: 200, State.USAGE_UNKNOWN: 200}
    return Outcome(
        state=state,
        status=draw.choice((429, 500)) if state is State.UPSTREAM_ERROR else statuses.get(state),
        answer=Answer(
            usage=usage if state is State.DONE else None,
            model=intent.model if has_answer else None,
            id=f"{ENDPOINTS[intent.endpoint]}{draw.getrandbits(64):016x}" if has_answer else None,
        ),
        upstream_request_id=None if state is State.NOT_SENT else f"req_{draw.getrandbits(64):016x}",
        client_closed=state is State.INCOMPLETE,
        error=ERRORS.get(state),
        duration_ms=first_byte + output * (9 if intent.streamed else 6),
        first_byte_ms=None if state in (State.UNKNOWN, State.NOT_SENT) else first_byte,
    )


def _usage(draw: random.Random, output: int) -> Usage:
    size = int(draw.lognormvariate(7.6, 1.1))
    cached = min(size, size * draw.choice((0, 0, 1, 2)) // 3)
    return Usage(input=size, cached=cached, output=output, reasoning=output // 4)


def _chosen(draw: random.Random, weights: Mapping[T, int]) -> T:
    [value] = draw.choices(list(weights), list(weights.values()))
    return value
