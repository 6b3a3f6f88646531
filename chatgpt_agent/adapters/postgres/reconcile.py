"""The ledger as it is compared with OpenAI's figures: sums by day, model and user, and rows that may explain a
difference. Days are those of UTC, as OpenAI's."""

from collections.abc import Iterator
from datetime import date

from msgspec.structs import replace

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.corrections import JOIN_CORRECTION
from chatgpt_agent.adapters.postgres.prices import IMAGE_TOOL_SQL
from chatgpt_agent.adapters.postgres.usage import in_states
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.http.endpoints import IMAGES
from chatgpt_agent.core.ledger import COUNTED_BY_OPENAI, UNCERTAIN, State
from chatgpt_agent.core.money.exact import EXACT, exact_sum
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, COUNT_TYPES, IMAGE_TOOL_COLUMNS, TIME_COLUMN
from chatgpt_agent.core.money.surcharges import MULTIPLIER
from chatgpt_agent.core.openai_usage import COUNT_NAMES, Counts, Kind
from chatgpt_agent.core.reconcile.lines import COUNTED_FREE, MAX_CANDIDATE_ROWS, Candidates, LedgerSum

# Bounds of `started_at` itself, so that PostgreSQL reads only the partitions of these days.
_BETWEEN = """r.started_at >= (%s::date)::timestamp AT TIME ZONE 'UTC'
          AND r.started_at < (%s::date + 1)::timestamp AT TIME ZONE 'UTC'"""
_DAY = "(r.started_at AT TIME ZONE 'UTC')::date"
_USER = USER_NAME_SQL.format(id="r.user_id")
# Rows of endpoints that are free have no price; OpenAI counts none of them but moderations.
_FREE = ", ".join(f"'{path}'" for path in COUNTED_FREE)
_COUNTED = f"(r.price_id IS NOT NULL OR r.endpoint IN ({_FREE}))"
_FROM = f"FROM usage r {JOIN_CORRECTION} LEFT JOIN users u ON u.id = r.user_id"
_WHERE = f"WHERE {_BETWEEN} AND {_COUNTED}"

# What a row `r` cost beside the tokens and seconds of its own model: calls of each tool, and the model that drew.
_CALL_COSTS = ", ".join(
    f"sum(s.amount * coalesce(r.{column}, 0)) FILTER (WHERE s.kind = '{kind}') AS {column}"
    for kind, column in CALL_COLUMNS.items()
)
_OTHER_COSTS = f"""
    LEFT JOIN LATERAL (
        SELECT sum(s.amount) FILTER (WHERE s.kind = '{MULTIPLIER}') AS multiplier, {_CALL_COSTS}
        FROM surcharges s WHERE s.id = ANY(r.surcharge_ids)
    ) extra ON r.surcharge_ids IS NOT NULL
    LEFT JOIN LATERAL ({IMAGE_TOOL_SQL}
    ) drawn ON r.image_price_id IS NOT NULL"""

# The counts of a model's tokens and seconds: names in `Counts`, and columns.
_COUNTS = {name: f"{name}_tokens" for name in COUNT_NAMES if name not in ("requests", "calls", TIME_COLUMN)}
_COUNTS[TIME_COLUMN] = TIME_COLUMN
_IMAGE_TOOL_COUNTS = {
    name: f"image_tool_{column}" for name, column in _COUNTS.items() if f"image_tool_{column}" in IMAGE_TOOL_COLUMNS
}
_SUMMED = (*_COUNTS.values(), *_IMAGE_TOOL_COUNTS.values(), *CALL_COLUMNS.values())

# A row counts as a request of OpenAI's if it was answered, or if a correction added tokens to it.
_FAILED_LATE = f"r.state = '{State.UPSTREAM_ERROR}' AND r.uncertain_cost > 0"  # after a part of the answer
# The rows are a query of their own: a cluster joins no distributed table with local ones, but its result.
_SUMS = f"""
    WITH chosen AS (
        SELECT r.*, coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) AS correction_tokens
        FROM usage r {JOIN_CORRECTION} {_WHERE}
    )
    SELECT {_DAY}, coalesce(r.served_model, r.model), {_USER}, r.served_model IS NOT NULL, r.endpoint, drawn.model,
           count(*) FILTER (WHERE r.state IN {in_states(COUNTED_BY_OPENAI)} OR ({_FAILED_LATE})
               OR (r.state <> '{State.CORRECTION}' AND
               coalesce(r.input_tokens, 0) + coalesce(r.output_tokens, 0) + r.correction_tokens > 0)),
           sum(r.cost), coalesce(sum(coalesce(extra.multiplier, 1) * drawn.cost), 0),
           {", ".join(f"coalesce(sum(extra.{column}), 0)" for column in CALL_COLUMNS.values())},
           {", ".join(f"coalesce(sum(r.{column}), 0)::{COUNT_TYPES[column]}" for column in _SUMMED)}
    FROM chosen r LEFT JOIN users u ON u.id = r.user_id {_OTHER_COSTS}
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6"""

_CANDIDATES = f"""
    SELECT {_DAY}, coalesce(r.served_model, r.model), {_USER}, r.served_model IS NOT NULL,
           r.input_tokens IS NOT NULL, count(*), (array_agg(r.request_id::text ORDER BY r.request_id))[1:%s],
           r.endpoint
    {_FROM} {_WHERE} AND c.corrects IS NULL
      AND (r.state IN {in_states(UNCERTAIN)}
           OR r.uncertain_reason IS NOT NULL
           OR ({_FAILED_LATE}) OR (r.state = '{State.UPSTREAM_ERROR}' AND r.input_tokens IS NOT NULL))
    GROUP BY 1, 2, 3, 4, 5, r.endpoint ORDER BY 1, 2, 3, 4, 5, r.endpoint"""


async def ledger_sums(store: Store, first: date, last: date) -> list[LedgerSum]:
    """Returns sums of the rows of these days (both included), with corrections, by day, model, user and endpoint; and
    those of calls of tools, and of models that drew for another one."""
    rows = await store.fetch(_SUMS, [first, last])
    return [line for row in rows for line in _sums_of(row)]


def _sums_of(row: SqlRow) -> Iterator[LedgerSum]:
    """Yields the sums in a row of `_SUMS`: of the model, of each tool, and of the model that drew."""
    day, model, user, served, endpoint, drawing, requests, cost, drawn_cost, *others = row
    call_costs = dict(zip(CALL_COLUMNS.values(), others, strict=False))
    counts = dict(zip(_SUMMED, others[len(call_costs) :], strict=True))
    own = Counts(requests=requests, **{name: counts[column] for name, column in _COUNTS.items()})
    own_cost = EXACT.subtract(cost, exact_sum([drawn_cost, *call_costs.values()]))
    line = LedgerSum(day=day, model=model, user=user, served=served, counts=own, cost=own_cost, endpoint=endpoint)
    yield line
    for column, amount in call_costs.items():
        if counts[column] or amount:
            yield replace(line, counts=Counts(calls=counts[column]), cost=amount, tool=Kind(column))
    if drawing is not None:
        # Whether OpenAI counts them as requests for images is unknown.
        tokens = Counts(requests=None, **{name: counts[column] for name, column in _IMAGE_TOOL_COUNTS.items()})
        yield replace(line, model=drawing, served=False, counts=tokens, cost=drawn_cost, endpoint=IMAGES.path)


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
