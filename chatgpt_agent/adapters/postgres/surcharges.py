"""The table `surcharges`: what is charged beside tokens and time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.prices import check_amount
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.surcharges import NewSurcharge, Surcharge, Surcharges

SURCHARGE_COLUMNS = "s.id, s.kind, s.host, s.model, s.amount, s.effective_at, s.created_at, s.cancelled_at"

# The amounts that were applied to a row `r` of `usage`, by kind, as JSON.
SURCHARGES_SQL = """(
    SELECT coalesce(jsonb_object_agg(s.kind, trim_scale(s.amount)::text), '{}')
    FROM surcharges s WHERE s.id = ANY(r.surcharge_ids) AND s.amount IS NOT NULL
)"""


def surcharge_from(row: Sequence[Any]) -> Surcharge:
    """Returns the surcharge of a row with `SURCHARGE_COLUMNS`. Raises InvalidValue or ValueError for one that cannot be
    charged, which only an edit in SQL can store."""
    id_, kind, host, model, amount, effective_at, created_at, cancelled_at = row
    check_moment("effective_at", effective_at)
    if amount is not None:
        check_amount("amount", amount)
    return Surcharge(
        id=id_,
        kind=kind,
        host=host,
        model=model,
        amount=amount,
        effective_at=effective_at,
        created_at=created_at,
        cancelled_at=cancelled_at,
    )


async def add_surcharges(store: AnyStore, new: Sequence[NewSurcharge], *, now: datetime) -> list[Surcharge]:
    """Adds surcharges, all or none, and returns them as stored. Each replaces those of its kind, host and model from
    its date on, or from now on if it has none."""
    return [surcharge_from(row) for row in await store.fetch(*add_surcharges_sql(new, now=now))]


def add_surcharges_sql(new: Sequence[NewSurcharge], *, now: datetime) -> tuple[str, list[Any]]:
    """Returns the statement of `add_surcharges`, and its parameters."""
    sql = f"""
        INSERT INTO surcharges AS s (kind, host, model, amount, effective_at, created_at)
        SELECT new.*, %s
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::timestamptz[]) AS new
        RETURNING {SURCHARGE_COLUMNS}"""
    columns = [
        [each.kind for each in new],
        [each.host for each in new],
        [each.model for each in new],
        [each.amount for each in new],
        [each.effective_at or now for each in new],
    ]
    return sql, [now, *columns]


async def list_surcharges(store: AnyStore) -> list[Surcharge]:
    """Returns every surcharge that was ever set, by kind, host, model and date."""
    sql = f"SELECT {SURCHARGE_COLUMNS} FROM surcharges s ORDER BY s.kind, s.host, s.model, s.effective_at, s.id"
    return [surcharge_from(row) for row in await store.fetch(sql)]


async def cancel_surcharge(store: AnyStore, id: int, now: datetime) -> Surcharge | None:
    """Cancels a surcharge of a later date, and returns it; None: there is none with this id."""
    sql = f"""
        UPDATE surcharges s SET cancelled_at = %s WHERE s.id = %s AND s.effective_at > %s AND s.cancelled_at IS NULL
        RETURNING {SURCHARGE_COLUMNS}"""
    rows = await store.fetch(sql, [now, id, now])
    return surcharge_from(rows[0]) if rows else None


async def surcharges_by_id(store: AnyStore, ids: Sequence[int]) -> Surcharges:
    """Returns these surcharges, as they apply to one request."""
    if not ids:
        return Surcharges()
    rows = await store.fetch("SELECT id, kind, amount FROM surcharges WHERE id = ANY(%s::bigint[])", [list(ids)])
    return Surcharges(
        ids={kind: id_ for id_, kind, _ in rows},
        amounts={kind: amount for _, kind, amount in rows if amount is not None},
    )
