"""What was used and what it cost, from the roll-up."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.edges.store.connection import Store

# What a report can be grouped by, and the SQL for it. Deleted users keep their rows, under their number.
GROUPS = {
    "user": "coalesce(u.name, 'user ' || d.user_id)",
    "model": "d.model",
    "day": "d.day::text",
    "month": "to_char(d.day, 'YYYY-MM')",
}


class UsageLine(msgspec.Struct, frozen=True):
    """One group of a report: requests, tokens, USD. `not_done`: requests in a state other than done."""

    group: tuple[str, ...]
    requests: int
    not_done: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal


async def usage_report(
    store: Store, by: Sequence[str], *, since: date | None = None, until: date | None = None
) -> list[UsageLine]:
    """Sums by the named groups, for the days (UTC) from `since` to `until`, both included."""
    groups = ", ".join(GROUPS[name] for name in by)
    sql = f"""
        SELECT {groups}, sum(d.requests)::bigint, sum(d.not_done)::bigint, sum(d.input_tokens)::bigint,
               sum(d.cached_tokens)::bigint, sum(d.output_tokens)::bigint, sum(d.reasoning_tokens)::bigint, sum(d.cost)
        FROM usage_daily d LEFT JOIN users u ON u.id = d.user_id
        WHERE (%s::date IS NULL OR d.day >= %s) AND (%s::date IS NULL OR d.day <= %s)
        GROUP BY {groups} ORDER BY {groups}"""
    lines = await store.fetch(sql, [since, since, until, until])
    return [UsageLine(line[: len(by)], *line[len(by) :]) for line in lines]
