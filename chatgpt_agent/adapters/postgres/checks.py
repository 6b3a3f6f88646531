"""Checks that prove the ledger consistent. Each one is a statement that selects what is wrong, in a month at a time:
neither its memory nor PostgreSQL's temporary files grow with the ledger."""

import msgspec

from chatgpt_agent.adapters.postgres.check_spans import (
    DAY_IN_MONTH,
    IN_MONTH,
    ROW_DAY_IN_MONTH,
    LedgerSpans,
    Span,
    ledger_spans,
)
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import COST_SQL
from chatgpt_agent.adapters.postgres.settings import DAY_SQL
from chatgpt_agent.adapters.postgres.usage import BUCKET_SQL, BY_MODEL, COUNT_NOT_DONE, COUNT_REQUESTS
from chatgpt_agent.core.errors import StoreRejected
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, SIDES, TOKEN_KINDS

PARTITION = "partition"  # the check of partitions


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with the ledger. `subject` is a request id if it is about a row."""

    check: str
    subject: str
    text: str


def _each(template: str) -> str:
    """Returns a list for SQL of a template with each column of counts in the place of `{}`."""
    return ", ".join(template.replace("{}", name) for name in COUNT_COLUMNS)


def _part_exceeds_side(side: str) -> str:
    parts = (kind.column for kind in TOKEN_KINDS if kind.side == side and kind.is_part)
    return f"greatest({', '.join(parts)}) > {side}_tokens"


_DAYS = DAY_IN_MONTH.format(day="day")
_CORRECTED = "CASE WHEN o.request_id IS NULL THEN u.{} ELSE coalesce(o.{}, 0) + coalesce(u.{}, 0) END AS {}"


def daily_sums(rows: str, days: str) -> str:
    """Returns the check of daily sums: those of the rows that match a condition, and of archived months, compared with
    `usage_daily`, both for the days that match a condition. Its last placeholder is the limit."""
    return f"""
        WITH parts AS (
            SELECT {DAY_SQL} AS day, user_id, token_id, model, endpoint,
                   {COUNT_REQUESTS} AS requests, {COUNT_NOT_DONE} AS not_done, {_each("coalesce(sum({}), 0) AS {}")},
                   sum(cost) AS cost, sum(uncertain_cost) AS uncertain_cost
            FROM usage WHERE {rows} GROUP BY 1, 2, 3, 4, 5
            UNION ALL
            SELECT day, user_id, token_id, model, endpoint, requests, not_done, {_each("{}")}, cost, uncertain_cost
            FROM archived_daily WHERE {days}
        ), added AS (
            SELECT day, user_id, token_id, model, endpoint, sum(requests) AS requests, sum(not_done) AS not_done,
                   {_each("sum({}) AS {}")}, sum(cost) AS cost, sum(uncertain_cost) AS uncertain_cost
            FROM parts GROUP BY 1, 2, 3, 4, 5
        )
        SELECT format('%%s, user %%s, token %%s, %%s, %%s', day, user_id, token_id, model, endpoint),
               format('usage_daily has %%s requests and %%s USD, the rows have %%s and %%s',
                      coalesce(d.requests, 0), coalesce(d.cost, 0), coalesce(a.requests, 0), coalesce(a.cost, 0))
        FROM added a FULL JOIN (SELECT * FROM usage_daily WHERE {days}) d
             USING (day, user_id, token_id, model, endpoint)
        WHERE (a.requests, a.not_done, {_each("a.{}")}, a.cost, a.uncertain_cost)
              IS DISTINCT FROM
              (d.requests, d.not_done, {_each("d.{}")}, d.cost, d.uncertain_cost)
        ORDER BY 1 LIMIT %s"""


# A check selects (subject, text), at most LIMIT rows; it selects nothing if the ledger is consistent. The other
# placeholders are for the ends of a span, in pairs.
_CHECKS = {
    "daily sums": daily_sums(rows=ROW_DAY_IN_MONTH, days=_DAYS),
    "sums by model": f"""
        WITH added AS (
            SELECT day, model, sum(requests) AS requests, sum(not_done) AS not_done,
                   sum(input_tokens + output_tokens) AS tokens, sum(cost) AS cost,
                   sum(uncertain_cost) AS uncertain_cost
            FROM usage_daily WHERE {_DAYS} GROUP BY 1, 2
        )
        SELECT format('%%s, %%s', day, model),
               format('usage_by_model has %%s requests and %%s USD, usage_daily has %%s and %%s',
                      coalesce(s.requests, 0), coalesce(s.cost, 0), coalesce(a.requests, 0), coalesce(a.cost, 0))
        FROM added a FULL JOIN (SELECT * FROM usage_by_model WHERE {_DAYS}) s USING (day, model)
        WHERE ({", ".join(f"a.{name}" for name in BY_MODEL)})
              IS DISTINCT FROM ({", ".join(f"s.{name}" for name in BY_MODEL)})
        ORDER BY 1 LIMIT %s""",
    "latencies": f"""
        WITH parts AS (
            SELECT {DAY_SQL} AS day, model, measure, {BUCKET_SQL.format(ms="milliseconds")} AS bucket,
                   count(*) AS requests
            FROM usage,
                 LATERAL (VALUES ('duration', duration_ms), ('first_byte', first_byte_ms)) AS m (measure, milliseconds)
            WHERE state = '{State.DONE}' AND milliseconds IS NOT NULL AND {ROW_DAY_IN_MONTH} GROUP BY 1, 2, 3, 4
            UNION ALL
            SELECT day, model, measure, bucket, requests FROM archived_latency WHERE {_DAYS}
        ), counted AS (
            SELECT day, model, measure, bucket, sum(requests) AS requests FROM parts GROUP BY 1, 2, 3, 4
        )
        SELECT format('%%s, %%s, %%s, bucket %%s', day, model, measure, bucket),
               format('usage_latency has %%s requests, the rows have %%s',
                      coalesce(l.requests, 0), coalesce(c.requests, 0))
        FROM counted c FULL JOIN (SELECT * FROM usage_latency WHERE {_DAYS}) l USING (day, model, measure, bucket)
        WHERE c.requests IS DISTINCT FROM l.requests ORDER BY 1 LIMIT %s""",
    "price": f"""
        SELECT r.request_id::text, format('its price %%s does not exist', r.price_id)
        FROM usage r LEFT JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL
        WHERE {IN_MONTH} AND p.id IS NULL AND r.price_id IS NOT NULL  -- NULL: of a free endpoint
          AND r.state <> '{State.IMPORTED}'
        ORDER BY r.started_at LIMIT %s""",
    # The sum of a correction and its row must have the cost of the corrected token counts.
    "cost": f"""
        WITH corrected AS (
            SELECT u.request_id, u.started_at, u.price_id, u.service_tier, u.image_price_id, u.surcharge_ids,
                   u.cost + coalesce(o.cost, 0) AS cost,
                   {_each(_CORRECTED)}
            FROM usage u LEFT JOIN usage o
                ON u.state = '{State.CORRECTION}' AND o.request_id = u.corrects AND o.started_at = u.started_at
                AND o.user_id = u.user_id AND o.{IN_MONTH}
            WHERE u.{IN_MONTH} AND u.state <> '{State.IMPORTED}'
        )
        SELECT r.request_id::text, format('it costs %%s USD, its tokens cost %%s USD at its price', r.cost, due.cost)
        FROM corrected r JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL {COST_SQL}
        WHERE r.cost <> due.cost ORDER BY r.started_at LIMIT %s""",
    "tokens": f"""
        SELECT request_id::text, format('its state is %%s, but token counts are missing or contradictory', state)
        FROM usage
        WHERE {IN_MONTH} AND (
              (state = '{State.DONE}' AND (input_tokens IS NULL OR output_tokens IS NULL OR cached_tokens IS NULL))
           OR (state <> '{State.CORRECTION}' AND (
               {" OR ".join(map(_part_exceeds_side, SIDES))}
               OR least({_each("{}")}) < 0)))
        ORDER BY started_at LIMIT %s""",
    "values": f"""
        SELECT request_id::text, 'its time or its cost is out of range' FROM usage
        WHERE {IN_MONTH} AND (started_at < '1970-01-01Z' OR started_at >= '9999-01-01Z'
           OR abs(cost) > 1e15 OR abs(uncertain_cost) > 1e15)  -- NaN is greater than every number
        LIMIT %s""",
    "duplicate": """
        SELECT request_id::text, format('%%s rows have this request id', count(*))
        FROM usage WHERE request_id BETWEEN %s::uuid AND %s::uuid
        GROUP BY request_id HAVING count(*) > 1 LIMIT %s""",
    "correction": f"""
        SELECT c.request_id::text, format('it corrects %%s, which does not exist', c.corrects)
        FROM usage c
             LEFT JOIN usage r ON r.request_id = c.corrects AND r.started_at = c.started_at AND r.user_id = c.user_id
                 AND r.{IN_MONTH}
        WHERE c.{IN_MONTH} AND c.state = '{State.CORRECTION}' AND r.request_id IS NULL LIMIT %s""",
    "archived months": f"""
        WITH added AS (
            SELECT month, sum(requests) AS requests, sum(cost) AS cost, sum(uncertain_cost) AS uncertain_cost,
                   jsonb_build_object({_each("'{}', sum({})")}) AS counts
            FROM archived_daily GROUP BY 1
        )
        SELECT to_char(month, 'YYYY-MM'),
               format('its archive has %%s requests and %%s USD, its daily sums have %%s and %%s',
                      coalesce(m.requests, 0), coalesce(m.cost, 0), coalesce(a.requests, 0), coalesce(a.cost, 0))
        FROM archived_months m FULL JOIN added a USING (month)
        WHERE (m.requests, m.cost, m.uncertain_cost) IS DISTINCT FROM (a.requests, a.cost, a.uncertain_cost)
           OR EXISTS (SELECT FROM jsonb_each_text(m.counts) c
                      WHERE c.value::numeric IS DISTINCT FROM (a.counts ->> c.key)::numeric)
        ORDER BY 1 LIMIT %s""",
    "dead letter": """
        SELECT request_id::text, format('rejected by PostgreSQL at %%s: %%s',
                                        to_char(rejected_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), error)
        FROM dead_letters ORDER BY rejected_at LIMIT %s""",
    # Partitions cannot overlap. Past months may have none: the first row of such a month creates it.
    PARTITION: """
        WITH bounds AS (
            SELECT c.relname::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
                   regexp_match(pg_get_expr(c.relpartbound, c.oid), $$'([^']+)'.*'([^']+)'$$) AS ends
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage'::regclass
        ), months AS (
            SELECT name, bound, ends[1]::timestamptz AT TIME ZONE 'UTC' AS first,
                   ends[2]::timestamptz AT TIME ZONE 'UTC' AS next FROM bounds
        ), expected AS (
            SELECT generate_series(0, 1) * interval '1 month' + date_trunc('month', now() AT TIME ZONE 'UTC') AS first
        )
        SELECT name, format('it does not cover one month of UTC: %%s', bound) FROM months
        WHERE (first = date_trunc('month', first) AND next = first + interval '1 month') IS NOT TRUE
        UNION ALL
        SELECT to_char(e.first, 'YYYY-MM'), 'this month has no partition' FROM expected e
        WHERE NOT EXISTS (SELECT FROM months m WHERE m.first = e.first)
        ORDER BY 1 LIMIT %s""",
}


_OF_DAYS = ("daily sums", "sums by model", "latencies")
_OF_IDS = ("duplicate",)
_OF_ROWS = ("price", "cost", "tokens", "values", "correction")


async def run_checks(store: Store, limit: int) -> list[Finding]:
    """Returns everything that is wrong with the ledger, at most `limit` findings of each check. A check that PostgreSQL
    refuses, because of a value that it cannot compute with, is a finding."""
    spans = await ledger_spans(store)
    return [finding for check in _CHECKS for finding in await _run_through(store, check, spans, limit)]


async def _run_through(store: Store, check: str, spans: LedgerSpans, limit: int) -> list[Finding]:
    """Returns at most `limit` findings of one check in all of its spans."""
    if check in _OF_DAYS:
        return await _in_spans(store, check, spans.days, limit)
    if check in _OF_IDS:
        return await _in_spans(store, check, spans.ids, limit)
    if check in _OF_ROWS:
        return await _in_spans(store, check, spans.rows, limit)
    return await run_check(store, check, limit)


async def _in_spans(store: Store, check: str, spans: list[Span], limit: int) -> list[Finding]:
    findings: list[Finding] = []
    for span in spans:
        if len(findings) < limit:
            others = await run_check(store, check, limit - len(findings), span)
            findings += [finding for finding in others if finding.subject or finding not in findings]
    return findings


async def run_check(store: Store, check: str, limit: int, span: Span | None = None) -> list[Finding]:
    """Returns at most `limit` findings of one check, in a span if it has spans, as `run_checks` does."""
    sql = _CHECKS[check]
    ends = [*span] * (sql.replace("%%", "").count("%s") // 2) if span else []
    try:
        return [Finding(check, *row) for row in await store.fetch(sql, [*ends, limit])]
    except StoreRejected as error:
        return [Finding(check, "", f"this cannot be checked: {error}")]
