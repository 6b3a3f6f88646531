"""The ledger as it is compared with OpenAI's figures: sums by day, model and user, and rows that may explain a
difference. Days are those of UTC, as OpenAI's."""

from datetime import date

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.corrections import JOIN_CORRECTION
from chatgpt_agent.adapters.postgres.usage import in_states
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.ledger import COUNTED_BY_OPENAI, UNCERTAIN, State
from chatgpt_agent.core.openai_usage import Counts
from chatgpt_agent.core.reconcile.lines import MAX_CANDIDATE_ROWS, Candidates, LedgerSum

# Bounds of `started_at` itself, so that PostgreSQL reads only the partitions of these days.
_BETWEEN = """r.started_at >= (%s::date)::timestamp AT TIME ZONE 'UTC'
          AND r.started_at < (%s::date + 1)::timestamp AT TIME ZONE 'UTC'"""
_DAY = "(r.started_at AT TIME ZONE 'UTC')::date"
_USER = USER_NAME_SQL.format(id="r.user_id")
_FROM = f"FROM usage r {JOIN_CORRECTION} LEFT JOIN users u ON u.id = r.user_id WHERE {_BETWEEN}"

# A row counts as a request of OpenAI's if it was answered, or if a correction added tokens to it.
_FAILED_LATE = f"r.state = '{State.UPSTREAM_ERROR}' AND r.uncertain_cost > 0"  # after a part of the answer
_SUMS = f"""
    SELECT {_DAY}, coalesce(r.served_model, r.model), {_USER}, r.served_model IS NOT NULL,
           count(*) FILTER (WHERE r.state IN {in_states(COUNTED_BY_OPENAI)} OR ({_FAILED_LATE})
               OR (r.state <> '{State.CORRECTION}' AND
               coalesce(r.input_tokens, 0) + coalesce(r.output_tokens, 0)
               + coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) > 0)),
           coalesce(sum(r.input_tokens), 0)::bigint, coalesce(sum(r.cached_tokens), 0)::bigint,
           coalesce(sum(r.output_tokens), 0)::bigint, sum(r.cost), r.endpoint
    {_FROM}
    GROUP BY 1, 2, 3, 4, r.endpoint ORDER BY 1, 2, 3, 4, r.endpoint"""

_CANDIDATES = f"""
    SELECT {_DAY}, coalesce(r.served_model, r.model), {_USER}, r.served_model IS NOT NULL,
           r.input_tokens IS NOT NULL, count(*), (array_agg(r.request_id::text ORDER BY r.request_id))[1:%s],
           r.endpoint
    {_FROM} AND c.corrects IS NULL
      AND (r.state IN {in_states(UNCERTAIN)}
           OR ({_FAILED_LATE}) OR (r.state = '{State.UPSTREAM_ERROR}' AND r.input_tokens IS NOT NULL))
    GROUP BY 1, 2, 3, 4, 5, r.endpoint ORDER BY 1, 2, 3, 4, 5, r.endpoint"""


async def ledger_sums(store: Store, first: date, last: date) -> list[LedgerSum]:
    """Returns sums of the rows of these days (both included), with corrections, by day, model, user and endpoint."""
    rows = await store.fetch(_SUMS, [first, last])
    return [
        LedgerSum(day=day, model=model, user=user, served=served, counts=Counts(*counts), cost=cost, endpoint=endpoint)
        for day, model, user, served, *counts, cost, endpoint in rows
    ]


async def candidate_rows(store: Store, first: date, last: date) -> list[Candidates]:
    """Returns the uncorrected rows of these days (both included) whose token counts may differ from OpenAI's."""
    rows = await store.fetch(_CANDIDATES, [MAX_CANDIDATE_ROWS, first, last])
    return [
        Candidates(
            day=day,
            model=model,
            user=user,
            served=served,
            has_tokens=has_tokens,
            count=count,
            ids=ids,
            endpoint=endpoint,
        )
        for day, model, user, served, has_tokens, count, ids, endpoint in rows
    ]
