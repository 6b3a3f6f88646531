"""Figures of a month that say how sure its books are. Done rows are counted by the daily sums; of the ledger itself
only rows that are not done, or not certain, are read, each by an index of their own."""

from datetime import date, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.settings import TIME_ZONE_SQL
from chatgpt_agent.adapters.postgres.usage_rows import StateSum, state_sums
from chatgpt_agent.core.ledger import State


class UncertainSum(msgspec.Struct, frozen=True):
    """Rows of which the cost may differ from OpenAI's, and by how much it may be higher in USD. `reason`: an
    `uncertain_reason`, or the state of rows whose usage is not known."""

    reason: str
    rows: int
    uncertain_cost: Decimal


class DeadLetter(msgspec.Struct, frozen=True):
    """A row that PostgreSQL refused, when, and why."""

    request_id: str
    rejected_at: datetime
    error: str


async def begin_of(store: AnyStore, day: date) -> datetime:
    """Returns the first moment of a day in the time zone of reports."""
    [(moment,)] = await store.fetch(f"SELECT %s::date::timestamp AT TIME ZONE {TIME_ZONE_SQL}", [day])
    return moment  # type: ignore[no-any-return]


async def states_since(store: AnyStore, day: date | None = None, moment: datetime | None = None) -> list[StateSum]:
    """Returns the sums of the rows since a day, which begins at this moment, or of all, by state, in the order of
    `State`. Archived rows are in none: no month since the day may be archived."""
    of_rows, of_days = ("", "") if moment is None or day is None else ("AND started_at >= %s", "WHERE day >= %s")
    sql = f"""
        WITH others AS (
            SELECT state, count(*) AS rows, sum(cost) AS cost FROM usage
            WHERE state <> '{State.DONE}' {of_rows} GROUP BY state
        ), known AS (
            SELECT sum(requests) AS rows, sum(cost) AS cost FROM usage_by_model {of_days}
            UNION ALL SELECT -sum(rows) FILTER (WHERE state <> '{State.CORRECTION}'), -sum(cost) FROM others
            {"UNION ALL SELECT -sum(requests), -sum(cost) FROM archived_months" if day is None else ""}
        )
        SELECT '{State.DONE}', sum(rows)::bigint, sum(cost) FROM known HAVING sum(rows) > 0
        UNION ALL SELECT state, rows, cost FROM others"""
    values = [value for value in (moment, day) if value is not None]
    return state_sums(await store.fetch(sql, values))


async def uncertain_since(store: AnyStore, moment: datetime | None) -> list[UncertainSum]:
    """Returns the rows since a moment, or all, of which the cost may differ from OpenAI's, by reason, the largest
    amount first. A row and its correction count once; one that is certain by its correction does not count."""
    sql = """
        SELECT reason, count(*), sum(uncertain_cost) FROM (
            SELECT coalesce(max(uncertain_reason) FILTER (WHERE corrects IS NOT NULL),
                            max(coalesce(uncertain_reason, state)) FILTER (WHERE corrects IS NULL)) AS reason,
                   sum(uncertain_cost) AS uncertain_cost,
                   bool_or(corrects IS NOT NULL AND uncertain_reason IS NULL) AS settled
            FROM usage
            WHERE (uncertain_cost <> 0 OR uncertain_reason IS NOT NULL)
              AND (%s::timestamptz IS NULL OR started_at >= %s)
            GROUP BY coalesce(corrects, request_id)
        ) s WHERE NOT settled OR uncertain_cost <> 0 GROUP BY reason ORDER BY 3 DESC, 1"""
    rows = await store.fetch(sql, [moment, moment])
    return [UncertainSum(str(reason), int(count), cost) for reason, count, cost in rows]


async def dead_letters(store: AnyStore, limit: int) -> list[DeadLetter]:
    """Returns the newest rows that PostgreSQL refused."""
    sql = """
        SELECT request_id::text, rejected_at, error FROM dead_letters
        ORDER BY rejected_at DESC, request_id LIMIT %s"""
    return [DeadLetter(*row) for row in await store.fetch(sql, [limit])]
