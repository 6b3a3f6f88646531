"""Reads rows of `usage`: lists, sums by state, and the newest rows of a token."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow, Store
from chatgpt_agent.adapters.postgres.surcharges import SURCHARGES_SQL
from chatgpt_agent.adapters.postgres.tokens import TOKEN_LABEL_SQL
from chatgpt_agent.adapters.postgres.usage import IMAGE_MODEL_SQL, known_count
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, FORMER_COLUMNS, LATER_COLUMNS, UsageCounts


class StateSum(msgspec.Struct, frozen=True):
    """The number of rows in a state and their cost in USD."""

    state: State
    rows: int
    cost: Decimal


class UsageRow(UsageCounts[int | None], frozen=True, kw_only=True):
    """A row of the ledger in a list. Counts None: unknown. Costs in USD; `uncertain_cost` is the maximum that a row may
    have cost beyond its cost, `uncertain_reason` why its cost may differ from OpenAI's. `charged_model`: the model
    whose price was charged, None for an imported row and for one of a free endpoint; `image_model`: the same for the
    tokens of the tool image_generation. `surcharges`: the amounts that were applied, by kind."""

    request_id: UUID
    started_at: datetime
    user: str
    token_id: int
    token: str
    endpoint: str
    model: str
    served_model: str | None
    charged_model: str | None
    service_tier: str | None
    state: State
    status: int | None
    error: str | None
    client_closed: bool
    streamed: bool
    cost: Usd
    uncertain_cost: Usd
    upstream_id: str | None
    corrects: UUID | None
    reason: str | None
    uncertain_reason: str | None
    image_model: str | None
    surcharges: dict[str, Usd]


# The fields of a `UsageRow` in the order of lists: columns of former versions keep their places.
ROW_FIELDS = (
    "request_id", "started_at", "user", "token_id", "token", "endpoint", "model", "served_model", "charged_model",
    "service_tier", "state", "status", "error", "client_closed", "streamed", *FORMER_COLUMNS, "cost", "uncertain_cost",
    "upstream_id", "corrects", "reason", *LATER_COLUMNS, "uncertain_reason", "image_model", "surcharges",
)  # fmt: skip


async def rows_by_state(store: Store, since: datetime) -> list[StateSum]:
    """Returns the sums of the rows since a moment, by state, in the order of `State`. It reads each of the rows."""
    sql = "SELECT state, count(*), sum(cost) FROM usage WHERE started_at >= %s GROUP BY state"
    return state_sums(await store.fetch(sql, [since]))


def state_sums(rows: Sequence[SqlRow]) -> list[StateSum]:
    """Returns sums of state, number and cost, in the order of `State`."""
    order = list(State)
    sums = [StateSum(State(state), int(count), cost) for state, count, cost in rows]
    return sorted(sums, key=lambda each: order.index(each.state))


async def has_rows(store: AnyStore) -> bool:
    """Returns whether the ledger has any row."""
    return bool(await store.fetch("SELECT request_id FROM usage LIMIT 1"))


async def list_rows(
    store: AnyStore,
    *,
    states: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    user: str | None = None,
    token_id: int | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    request_id: UUID | None = None,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[UsageRow]:
    """Returns the newest rows that match: of these states, if there are any, and started before `until`. `after`: the
    start and request id of the last row of the page before."""
    columns = {
        "user": USER_NAME_SQL.format(id="r.user_id"),
        "token": TOKEN_LABEL_SQL.format(id="r.token_id"),
        "charged_model": "p.model",
        "image_model": IMAGE_MODEL_SQL,
        "surcharges": SURCHARGES_SQL,
        **{name: known_count(name, "r") for name in COUNT_COLUMNS},
    }
    last_start, last_id = (None, None) if after is None else (after[0], str(after[1]))
    # A condition only where there is a value, so that PostgreSQL can plan with the index of its column. The position of
    # a page is a bound of the index, and only then a choice among rows of one moment.
    chosen: dict[str, object] = {
        "r.state = %s": str(states[0]) if len(states) == 1 else None,
        "r.state = ANY(%s::text[])": list(states) if len(states) > 1 else None,
        "r.started_at >= %s": since,
        "r.started_at < %s": until,
        "r.user_id = (SELECT id FROM users WHERE name = %s)": user,
        "r.token_id = %s": token_id,
        "r.model = %s": model,
        "r.endpoint = %s": endpoint,
        "r.request_id = %s::uuid": None if request_id is None else str(request_id),
        "r.started_at <= %s": last_start,
    }
    conditions = [condition for condition, value in chosen.items() if value is not None]
    values = [value for value in chosen.values() if value is not None]
    sql = f"""
        SELECT {", ".join(columns.get(name, f"r.{name}") for name in ROW_FIELDS)}
        FROM (
            SELECT * FROM usage r
            WHERE {" AND ".join(["true", *conditions])}
              AND (%s::uuid IS NULL OR r.started_at < %s OR r.request_id > %s::uuid)
            ORDER BY r.started_at DESC, r.request_id LIMIT %s
        ) r LEFT JOIN users u ON u.id = r.user_id LEFT JOIN tokens t ON t.id = r.token_id
        LEFT JOIN prices p ON p.id = r.price_id
        ORDER BY r.started_at DESC, r.request_id"""
    rows = await store.fetch(sql, [*values, last_id, last_start, last_id, limit])
    return [_usage_row(row) for row in rows]


class RowDetails(msgspec.Struct, frozen=True):
    """What lists do not show of a row: OpenAI's id of the exchange, durations in milliseconds."""

    upstream_request_id: str | None = None
    duration_ms: int | None = None
    first_byte_ms: int | None = None


async def row_details(store: AnyStore, request_id: UUID) -> RowDetails:
    """Returns the details of a row; those of no row are empty."""
    sql = "SELECT upstream_request_id, duration_ms, first_byte_ms FROM usage WHERE request_id = %s::uuid"
    rows = await store.fetch(sql, [str(request_id)])
    return RowDetails(*rows[0]) if rows else RowDetails()


def _usage_row(row: SqlRow) -> UsageRow:
    fields = dict(zip(ROW_FIELDS, row, strict=True))
    for name in ("request_id", "corrects"):
        fields[name] = None if fields[name] is None else UUID(str(fields[name]))
    surcharges = {kind: Decimal(amount) for kind, amount in fields["surcharges"].items()}
    return UsageRow(**fields | {"state": State(fields["state"]), "surcharges": surcharges})


async def recent_rows_json(store: Store, token_id: int, *, since: datetime, until: datetime, limit: int) -> str:
    """Returns the newest rows of a token between two moments that have token counts and a price, oldest first, in the
    original program's JSON. Corrections are added to the rows that they correct. PostgreSQL writes the JSON, because
    here it would block the event loop."""
    sql = f"""
        SELECT coalesce(json_agg(json_build_object(
            'remote_id', remote_id, 'model', model, 'total_token', total, 'price', price, 'timestamp', seconds
        ) ORDER BY started_at), '[]')::text
        FROM (
            SELECT coalesce(u.upstream_id, u.request_id::text) AS remote_id, coalesce(u.served_model, u.model) AS model,
                   coalesce(u.input_tokens, 0) + coalesce(u.output_tokens, 0)
                   + coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) AS total,
                   trim_scale(u.cost + coalesce(c.cost, 0)) AS price,
                   floor(extract(epoch FROM u.started_at))::bigint AS seconds, u.started_at
            FROM usage u LEFT JOIN usage c ON c.corrects = u.request_id AND c.started_at = u.started_at
                AND c.user_id = u.user_id AND c.state = '{State.CORRECTION}'
            WHERE u.token_id = %s AND u.started_at >= %s AND u.started_at < %s AND u.state <> '{State.CORRECTION}'
              AND u.price_id IS NOT NULL
              AND (u.input_tokens IS NOT NULL OR c.input_tokens IS NOT NULL)
            ORDER BY u.started_at DESC LIMIT %s
        ) newest"""
    [(text,)] = await store.fetch(sql, [token_id, since, until, limit])
    return str(text)
