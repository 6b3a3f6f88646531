"""The ledger as it is compared with OpenAI's figures, and corrections: rows of their own, never an edit."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.budgets import COUNT_AND_TELL
from chatgpt_agent.adapters.postgres.connection import AnyStore, Store
from chatgpt_agent.adapters.postgres.prices import PRICE_COLUMNS, price_of
from chatgpt_agent.adapters.postgres.usage import FRESH, ROLL_UP, in_states, token_counts, usage_of
from chatgpt_agent.core.ledger import ANSWERED, UNCERTAIN, State
from chatgpt_agent.core.money.kinds import TOKEN_COLUMNS
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.openai_usage import Counts
from chatgpt_agent.core.reconcile import MAX_CANDIDATE_ROWS, Candidates, LedgerSum
from chatgpt_agent.core.usage import Usage

# Times that bound the days from the first to the last, so that PostgreSQL reads only their partitions.
_BETWEEN = """u.started_at >= (%s::date)::timestamp AT TIME ZONE 'UTC'
          AND u.started_at < (%s::date + 1)::timestamp AT TIME ZONE 'UTC'"""
_DAY = "(u.started_at AT TIME ZONE 'UTC')::date"
_CORRECTIONS = f"""LEFT JOIN usage c ON c.corrects = u.request_id AND c.started_at = u.started_at
        AND c.user_id = u.user_id AND c.state = '{State.CORRECTION}'"""
_USER = "coalesce(n.name, 'user ' || u.user_id)"

# What OpenAI counts as a request: it answered, or it was found out later that it had.
_SUMS = f"""
    SELECT {_DAY}, coalesce(u.served_model, u.model), {_USER}, u.served_model IS NOT NULL,
           count(*) FILTER (WHERE u.state IN {in_states(ANSWERED)} OR (u.state <> '{State.CORRECTION}' AND
               coalesce(u.input_tokens, 0) + coalesce(u.output_tokens, 0)
               + coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) > 0)),
           coalesce(sum(u.input_tokens), 0)::bigint, coalesce(sum(u.cached_tokens), 0)::bigint,
           coalesce(sum(u.output_tokens), 0)::bigint, sum(u.cost)
    FROM usage u
    {_CORRECTIONS}
    LEFT JOIN users n ON n.id = u.user_id
    WHERE {_BETWEEN}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""

_SUSPECTS = f"""
    SELECT {_DAY}, coalesce(u.served_model, u.model), {_USER}, u.served_model IS NOT NULL,
           u.input_tokens IS NOT NULL, count(*), (array_agg(u.request_id::text ORDER BY u.request_id))[1:%s]
    FROM usage u
    {_CORRECTIONS}
    LEFT JOIN users n ON n.id = u.user_id
    WHERE {_BETWEEN} AND c.corrects IS NULL
      AND (u.state IN {in_states(UNCERTAIN)}
           OR (u.state = '{State.UPSTREAM_ERROR}' AND u.input_tokens IS NOT NULL))
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""

# One statement: the correction and its share of the roll-up come to be together or not at all, and of two at once only
# one does. A correction is no request, so the counts of these stay.
_CORRECT = f"""
    WITH fresh AS (
        INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, service_tier,
                           {", ".join(TOKEN_COLUMNS)}, price_id, cost, uncertain_cost, state, client_closed, streamed,
                           started_at, corrects, reason)
        SELECT %s::uuid, u.user_id, u.token_id, u.endpoint, u.model, u.served_model, u.service_tier,
               {", ".join(["%s"] * len(TOKEN_COLUMNS))}, u.price_id, %s, -u.uncertain_cost,
               '{State.CORRECTION}', false, u.streamed, u.started_at, u.request_id, %s
        FROM usage u WHERE u.request_id = %s::uuid AND u.started_at = %s AND u.state <> '{State.CORRECTION}'
        ON CONFLICT DO NOTHING
        RETURNING {FRESH}
    ), rolled AS ({ROLL_UP}
    )
    {COUNT_AND_TELL}"""


class CorrectableRow(msgspec.Struct, frozen=True):
    """A row as it is corrected. `usage` None: not known. `price` None: the row's price is not there, or is none.
    `corrected_by`: the row that corrects it already."""

    request_id: UUID
    started_at: datetime
    state: State
    usage: Usage | None
    cost: Decimal
    service_tier: str | None
    price: Price | None
    corrected_by: UUID | None


async def ledger_sums(store: Store, first: date, last: date) -> list[LedgerSum]:
    """Sums of the rows of these days (UTC, both included), with corrections, by day, model and user."""
    lines = await store.fetch(_SUMS, [first, last])
    return [
        LedgerSum(day, model, user, served, Counts(*counts), cost) for day, model, user, served, *counts, cost in lines
    ]


async def suspects(store: Store, first: date, last: date) -> list[Candidates]:
    """The rows of these days that may differ from OpenAI's count of them, and that nobody corrected."""
    return [Candidates(*line) for line in await store.fetch(_SUSPECTS, [MAX_CANDIDATE_ROWS, first, last])]


async def read_row(store: Store, request_id: UUID) -> CorrectableRow | None:
    """The row of a request, with the price that it was charged."""
    sql = f"""
        SELECT u.started_at, u.state, u.cost, u.service_tier, c.request_id::text,
               {", ".join(f"u.{name}" for name in TOKEN_COLUMNS)}, {PRICE_COLUMNS}
        FROM usage u
        {_CORRECTIONS}
        LEFT JOIN prices p ON p.id = u.price_id AND p.input IS NOT NULL
        WHERE u.request_id = %s::uuid"""
    found = await store.fetch(sql, [str(request_id)])
    if not found:
        return None
    started_at, state, cost, service_tier, corrected_by, *rest = found[0]
    counts, price = dict(zip(TOKEN_COLUMNS, rest, strict=False)), rest[len(TOKEN_COLUMNS) :]
    return CorrectableRow(
        request_id,
        started_at,
        State(state),
        None if counts["input_tokens"] is None else usage_of(counts),
        cost,
        service_tier,
        None if price[0] is None else price_of(price),
        UUID(corrected_by) if corrected_by else None,
    )


async def add_correction(
    store: AnyStore, row: CorrectableRow, *, request_id: UUID, usage: Usage, cost: Decimal, reason: str
) -> bool:
    """Adds a row of differences (tokens, USD) to a row; False where another correction came first."""
    values = [str(request_id), *token_counts(usage), cost, reason, str(row.request_id), row.started_at]
    [(new, _)] = await store.fetch(_CORRECT, values)
    return bool(new)
