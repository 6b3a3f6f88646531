"""Budgets and what is spent of them, out of the roll-up."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, Store
from chatgpt_agent.core.budget.period import Period, window

SPENT_CHANNEL = "chatgpt_agent_spent"
EVERYBODY = "*"  # in a notice: too many users to name

# Behind a statement that has rows in `fresh`: how many they are, and a notice that says whose they are.
COUNT_AND_TELL = f"""
SELECT count(*), pg_notify('{SPENT_CHANNEL}', CASE WHEN count(DISTINCT user_id) > 200 THEN '{EVERYBODY}'
                                             ELSE string_agg(DISTINCT user_id::text, ',') END)
FROM fresh
"""


class BudgetRow(msgspec.Struct, frozen=True):
    """A budget as lists show one. Amounts in USD; `spent` counts, of rows whose cost nobody knows, the most that they
    may have cost. `resets_at` None: never."""

    id: int
    user: str
    token_id: int | None
    period: Period
    amount: Decimal
    spent: Decimal
    resets_at: datetime | None
    version: int


class Spent(msgspec.Struct, frozen=True):
    """What a token has spent in the current day, week and month, and altogether, in USD."""

    user_id: int
    token_id: int
    day: Decimal
    week: Decimal
    month: Decimal
    total: Decimal


class SetAside(msgspec.Struct, frozen=True):
    """What is set aside for the calls of a token that are not in usage yet, in USD."""

    user_id: int
    token_id: int
    amount: Decimal


async def read_zone(store: AnyStore) -> ZoneInfo:
    """The time zone of the books."""
    [(name,)] = await store.fetch("SELECT value FROM settings WHERE name = 'time_zone'")
    return ZoneInfo(name)


async def read_spent(
    store: Store,
    users: Sequence[int],
    firsts: tuple[date, date, date],
    *,
    total: bool,
    asked: Sequence[tuple[UUID, datetime]] = (),
) -> tuple[list[Spent], set[UUID]]:
    """What these users' tokens have spent since the first days of the current day, week and month, and, where `total`
    is wanted, ever (else 0); and which of the rows that are `asked` for, by id and time, are in these sums."""
    day, week, month = firsts
    sql = """
        SELECT user_id, token_id, coalesce(sum(cost + uncertain_cost) FILTER (WHERE day >= %s), 0),
               coalesce(sum(cost + uncertain_cost) FILTER (WHERE day >= %s), 0),
               coalesce(sum(cost + uncertain_cost) FILTER (WHERE day >= %s), 0),
               CASE WHEN %s THEN sum(cost + uncertain_cost) ELSE 0 END, NULL
        FROM usage_daily WHERE user_id = ANY(%s) AND (%s OR day >= %s) GROUP BY user_id, token_id"""
    values = [day, week, month, total, list(users), total, min(day, week, month)]
    if asked:  # in one statement, which sees both as they are at one moment
        sql += """
        UNION ALL SELECT 0, 0, 0, 0, 0, 0, u.request_id::text
        FROM unnest(%s::uuid[], %s::timestamptz[]) AS a(id, at)
        JOIN usage u ON u.request_id = a.id AND u.started_at = a.at"""
        values += [[str(id_) for id_, _ in asked], [at for _, at in asked]]
    lines = await store.fetch(sql, values)
    return [Spent(*sums) for *sums, row in lines if row is None], {UUID(row) for *_, row in lines if row is not None}


async def publish_reservations(store: Store, agent: UUID, users: Sequence[int], found: Sequence[SetAside]) -> None:
    """Says what an agent has set aside for these users: this, and nothing else. The others are told to look."""
    sql = f"""
        WITH said AS (
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[]) AS s(user_id, token_id, amount)
        ), gone AS (
            DELETE FROM reservations r WHERE r.agent_id = %s AND r.user_id = ANY(%s)
              AND NOT EXISTS (SELECT FROM said s WHERE s.user_id = r.user_id AND s.token_id = r.token_id)
        ), put AS (
            INSERT INTO reservations (agent_id, user_id, token_id, amount)
            SELECT %s, user_id, token_id, amount FROM said ORDER BY user_id, token_id
            ON CONFLICT (agent_id, user_id, token_id) DO UPDATE SET amount = excluded.amount
        )
        SELECT pg_notify('{SPENT_CHANNEL}', %s)"""
    columns = [[line.user_id for line in found], [line.token_id for line in found], [line.amount for line in found]]
    who = ",".join(map(str, users)) if len(users) <= 200 else EVERYBODY
    await store.fetch(sql, [*columns, str(agent), list(users), str(agent), who])


async def enter(store: Store, agent: UUID) -> None:
    """Forgets what an agent had set aside before it began anew, and tells the others that it is there."""
    sql = f"""
        WITH gone AS (DELETE FROM reservations WHERE agent_id = %s)
        SELECT pg_notify('{SPENT_CHANNEL}', '{EVERYBODY}')"""
    await store.fetch(sql, [str(agent)])


async def read_reservations(store: Store, users: Sequence[int], *, but: UUID, since: datetime) -> list[SetAside]:
    """What other agents, of those that were seen since a moment, have set aside for these users."""
    sql = """
        SELECT r.user_id, r.token_id, sum(r.amount) FROM reservations r JOIN agents a ON a.id = r.agent_id
        WHERE r.user_id = ANY(%s) AND r.agent_id <> %s AND a.seen_at >= %s GROUP BY r.user_id, r.token_id"""
    return [SetAside(*line) for line in await store.fetch(sql, [list(users), str(but), since])]


async def count_agents(store: Store, since: datetime) -> int:
    """How many agents have said since a moment that they are there."""
    [(count,)] = await store.fetch("SELECT count(*) FROM agents WHERE seen_at >= %s", [since])
    return int(count)


_WINDOWS = (Period.DAY, Period.WEEK, Period.MONTH)


async def list_budgets(
    store: AnyStore,
    now: datetime,
    *,
    id: int | None = None,
    user: str | None = None,
    token_id: int | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[BudgetRow]:
    """Budgets by id: all, of one user (with their tokens), of one token, or the one of this id."""
    zone = await read_zone(store)
    windows = {period: window(period, now, zone) for period in Period}
    first = "CASE b.period " + " ".join(f"WHEN '{period}' THEN %s::date" for period in _WINDOWS) + " END"
    sql = f"""
        SELECT b.id, u.name, b.token_id, b.period, b.amount, coalesce((
            SELECT sum(d.cost + d.uncertain_cost) FROM usage_daily d
            WHERE d.user_id = u.id AND (b.token_id IS NULL OR d.token_id = b.token_id)
              AND (b.period = 'total' OR d.day >= {first})), 0), b.version
        FROM budgets b LEFT JOIN tokens t ON t.id = b.token_id JOIN users u ON u.id = coalesce(b.user_id, t.user_id)
        WHERE b.amount IS NOT NULL AND (%s::bigint IS NULL OR b.id = %s) AND (%s::text IS NULL OR u.name = %s)
          AND (%s::bigint IS NULL OR b.token_id = %s) AND b.id > %s
        ORDER BY b.id LIMIT %s"""
    days = [windows[period].first_day for period in _WINDOWS]
    lines = await store.fetch(sql, [*days, id, id, user, user, token_id, token_id, after, limit])
    return [
        BudgetRow(id_, name, token, Period(period), amount, spent, windows[Period(period)].ends_at, version)
        for id_, name, token, period, amount, spent, version in lines
    ]


async def set_budget(
    store: AnyStore,
    *,
    user: str | None,
    token_id: int | None,
    period: Period,
    amount: Decimal | None,
    version: int | None,
    now: datetime,
) -> int | None:
    """Sets a budget of a user or of a token, or takes it away (`amount` None), and returns its id; None where there is
    no such user or token, or the budget is not of this `version`."""
    column, owner = ("user_id", user) if token_id is None else ("token_id", token_id)
    source = "users o WHERE o.name = %s AND o.removed_at IS NULL" if token_id is None else "tokens o WHERE o.id = %s"
    sql = f"""
        INSERT INTO budgets AS b ({column}, period, amount, created_at) SELECT o.id, %s, %s, %s FROM {source}
          AND (%s::bigint IS NULL OR EXISTS (SELECT FROM budgets e WHERE e.{column} = o.id AND e.period = %s))
        ON CONFLICT ({column}, period) WHERE {column} IS NOT NULL DO UPDATE SET amount = excluded.amount
        WHERE %s::bigint IS NULL OR b.version = %s
        RETURNING id"""
    values = [period.value, amount, now, owner, version, period.value, version, version]
    found = await store.fetch(sql, values)
    return int(found[0][0]) if found else None


class Alert(msgspec.Struct, frozen=True):
    """That a budget passed a mark, and what the webhook is told of it, as JSON."""

    budget_id: int
    window_start: datetime
    percent: int
    amount: Decimal
    body: str
    attempts: int = 0


async def add_alert(store: Store, alert: Alert, now: datetime, *, sent: bool) -> bool:
    """Writes an alert down, once for all agents; False where it was there. `sent`: nobody is to be told any more."""
    sql = """
        INSERT INTO budget_alerts (budget_id, window_start, percent, amount, body, next_attempt_at, sent_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING budget_id"""
    values = [alert.budget_id, alert.window_start, alert.percent, alert.amount, alert.body, now, now if sent else None]
    return bool(await store.fetch(sql, values))


async def take_due_alerts(store: Store, now: datetime, next_attempt_at: datetime, limit: int) -> list[Alert]:
    """Alerts that are to be told, which no other agent takes before `next_attempt_at`."""
    sql = """
        UPDATE budget_alerts a SET attempts = a.attempts + 1, next_attempt_at = %s
        FROM (SELECT budget_id, window_start, percent, amount FROM budget_alerts
              WHERE sent_at IS NULL AND next_attempt_at <= %s
              ORDER BY next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED) due
        WHERE (a.budget_id, a.window_start, a.percent, a.amount)
              = (due.budget_id, due.window_start, due.percent, due.amount)
        RETURNING a.budget_id, a.window_start, a.percent, a.amount, a.body, a.attempts"""
    return [Alert(*line) for line in await store.fetch(sql, [next_attempt_at, now, limit])]


async def settle_alert(store: Store, alert: Alert, *, sent_at: datetime | None, next_attempt_at: datetime) -> None:
    """Says that an alert has been told, or when it is to be tried again."""
    sql = """
        UPDATE budget_alerts SET sent_at = %s, next_attempt_at = %s
        WHERE (budget_id, window_start, percent, amount) = (%s, %s, %s, %s)"""
    await store.fetch(sql, [sent_at, next_attempt_at, alert.budget_id, alert.window_start, alert.percent, alert.amount])
