"""Corrections: rows of `usage` with the differences to another row, which itself never changes."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.prices import PRICE_COLUMNS, price_by_id, price_from
from chatgpt_agent.adapters.postgres.spending import COUNT_AND_NOTIFY
from chatgpt_agent.adapters.postgres.surcharges import surcharges_by_id
from chatgpt_agent.adapters.postgres.usage import ADD_TO_DAILY_SUMS, counts_of, usage_from
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.bill import Bill
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.money.surcharges import NO_SURCHARGES, Surcharges
from chatgpt_agent.core.usage import Usage

# The correction `c` of a row `r`, if there is one.
JOIN_CORRECTION = f"""LEFT JOIN usage c ON c.corrects = r.request_id AND c.started_at = r.started_at
        AND c.user_id = r.user_id AND c.state = '{State.CORRECTION}'"""

_AUDIT = """count(audit_write('insert', 'usage', '{}', to_jsonb(inserted))::text)
        FILTER (WHERE coalesce(current_setting('chatgpt_agent.actor', true), '') <> '')"""

# One statement, so that the correction and the daily sums are written together or not at all. A unique index admits one
# of two concurrent corrections. A correction is not a request: the counts of requests stay. Its line of the audit log
# is written here, because a trigger on a server of a cluster has none; without an actor, as in SQL by hand, a trigger
# does it.
_CORRECT = f"""
    WITH inserted AS (
        INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, service_tier,
                           {", ".join(COUNT_COLUMNS)}, price_id, cost, uncertain_cost, state, client_closed, streamed,
                           started_at, corrects, reason, image_price_id, surcharge_ids, uncertain_reason)
        SELECT %s::uuid, r.user_id, r.token_id, r.endpoint, r.model, r.served_model, r.service_tier,
               {", ".join(["%s"] * len(COUNT_COLUMNS))}, r.price_id, %s, %s - r.uncertain_cost,
               '{State.CORRECTION}', false, r.streamed, r.started_at, r.request_id, %s,
               r.image_price_id, %s::bigint[], %s
        FROM usage r WHERE r.request_id = %s::uuid AND r.started_at = %s AND r.state <> '{State.CORRECTION}'
        ON CONFLICT DO NOTHING
        RETURNING *
    ), {ADD_TO_DAILY_SUMS}
    {COUNT_AND_NOTIFY.replace("SELECT", f"SELECT {_AUDIT},", 1)}"""


class CorrectableRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row to correct. `usage` is None if unknown, `price` if the row's price does not exist.
    `corrected_by`: the request id of its correction, if there is one."""

    request_id: UUID
    started_at: datetime
    state: State
    usage: Usage | None
    cost: Decimal
    uncertain_cost: Decimal
    service_tier: str | None
    price: Price | None
    corrected_by: UUID | None
    image_price: Price | None = None
    surcharges: Surcharges = NO_SURCHARGES


async def read_correctable_row(store: AnyStore, request_id: UUID) -> CorrectableRow | None:
    """Returns the row of a request, with its price."""
    sql = f"""
        SELECT r.started_at, r.state, r.cost, r.uncertain_cost, r.service_tier, c.request_id::text,
               {", ".join(f"r.{name}" for name in COUNT_COLUMNS)}, {PRICE_COLUMNS},
               r.image_price_id, r.surcharge_ids
        FROM usage r
        {JOIN_CORRECTION}
        LEFT JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL
        WHERE r.request_id = %s::uuid"""
    rows = await store.fetch(sql, [str(request_id)])
    if not rows:
        return None
    started_at, state, cost, uncertain_cost, service_tier, corrected_by, *rest, image_price_id, surcharge_ids = rows[0]
    counts, price = dict(zip(COUNT_COLUMNS, rest, strict=False)), rest[len(COUNT_COLUMNS) :]
    return CorrectableRow(
        request_id=request_id,
        started_at=started_at,
        state=State(state),
        usage=None if counts["input_tokens"] is None else usage_from(counts),
        cost=cost,
        uncertain_cost=uncertain_cost,
        service_tier=service_tier,
        price=None if price[0] is None else price_from(price),
        image_price=None if image_price_id is None else await price_by_id(store, image_price_id),
        surcharges=await surcharges_by_id(store, surcharge_ids or []),
        corrected_by=UUID(corrected_by) if corrected_by else None,
    )


async def add_correction(
    store: AnyStore, row: CorrectableRow, *, request_id: UUID, usage: Usage, bill: Bill, reason: str
) -> bool:
    """Adds a correction of a row: the differences of its counts, and what its cost and uncertain cost lack to those of
    the bill. False if the row has a correction."""
    cost = exact_sum([bill.cost, row.cost.copy_negate()])
    surcharge_ids = list(bill.surcharge_ids) or None
    ending = [reason, surcharge_ids, bill.uncertain_reason, str(row.request_id), row.started_at]
    values = [str(request_id), *counts_of(usage), cost, bill.uncertain_cost, *ending]
    [(_, inserted, _)] = await store.fetch(_CORRECT, values)
    return bool(inserted)
