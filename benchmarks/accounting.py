"""Compares three records of one run: what the upstream received and billed, what clients received in full, and the
ledger. Each violation names its request.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import psycopg2

from benchmarks.clients import End, Received
from benchmarks.upstream import Tokens, Upstream

WHOLE_STATES = ("done", "usage_unknown")  # in which the client may have the whole answer
_COLUMNS = (
    "request_id::text, state, model, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost, client_closed"
)
_WRONG_DAYS = """
    SELECT count(*) FROM (
        SELECT (started_at AT TIME ZONE 'UTC')::date AS day, user_id, token_id, model, endpoint,
               count(*) AS requests,
               count(*) FILTER (WHERE state <> 'done') AS not_done,
               coalesce(sum(input_tokens), 0) AS input, coalesce(sum(cached_tokens), 0) AS cached,
               coalesce(sum(output_tokens), 0) AS output, coalesce(sum(reasoning_tokens), 0) AS reasoning,
               sum(cost) AS cost
        FROM usage GROUP BY 1, 2, 3, 4, 5
    ) AS summed FULL JOIN usage_daily AS daily USING (day, user_id, token_id, model, endpoint)
    WHERE (summed.requests, summed.not_done, summed.input, summed.cached, summed.output, summed.reasoning, summed.cost)
          IS DISTINCT FROM (daily.requests, daily.not_done, daily.input_tokens, daily.cached_tokens,
                            daily.output_tokens, daily.reasoning_tokens, daily.cost)"""


class LedgerRow(msgspec.Struct, frozen=True):
    """The compared fields of a row."""

    request_id: str
    state: str
    model: str
    tokens: Tokens | None
    cost: Decimal
    client_closed: bool


class Ledger(msgspec.Struct, frozen=True):
    """The content of the database: rows, the number of wrong daily sums, and the number of rejected rows."""

    rows: list[LedgerRow]
    wrong_days: int
    dead_letters: int


class Findings(msgspec.Struct):
    """The counts and violations of a comparison."""

    whole: int = 0
    lost: list[str] = []
    duplicated: list[str] = []
    dispatched_twice: list[str] = []
    unrecorded: list[str] = []
    differing: list[str] = []
    others: list[str] = []
    states: dict[str, str] = {}  # of all rows, by request id
    sums: list[tuple[str, int | Decimal, int | Decimal]] = []  # name, of the upstream, of the ledger

    @property
    def sums_equal(self) -> bool:
        """Whether the rows in state `done` have the sums that the upstream counted for the same requests."""
        return all(theirs == ours for _, theirs, ours in self.sums) and not self.differing

    @property
    def violations(self) -> list[str]:
        """All violations; empty if the ledger is right."""
        kinds = {
            "delivered whole, and no row that says so": self.lost,
            "more than one row": self.duplicated,
            "sent upstream more than once": self.dispatched_twice,
            "reached the upstream, and has no row": self.unrecorded,
            "differs from what the upstream billed": self.differing,
        }
        wrong = [f"{id_}: {kind} ({self.states.get(id_, 'no row')})" for kind, ids in kinds.items() for id_ in ids]
        sums = [f"the sums of {kind} differ: {theirs} and {ours}" for kind, theirs, ours in self.sums if theirs != ours]
        return wrong + sums + self.others


def read_ledger(dsn: str) -> Ledger:
    """Reads the rows, and compares the daily sums with them."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM usage")
            rows = [_ledger_row(*row) for row in cursor.fetchall()]
            cursor.execute(_WRONG_DAYS)
            [(wrong_days,)] = cursor.fetchall()
            cursor.execute("SELECT count(*) FROM dead_letters")
            [(dead_letters,)] = cursor.fetchall()
    finally:
        connection.close()
    return Ledger(rows, int(wrong_days), int(dead_letters))


def _ledger_row(id_: str, state: str, model: str, *rest: Any) -> LedgerRow:
    *tokens, cost, client_closed = rest
    return LedgerRow(id_, state, model, None if tokens[0] is None else Tokens(*tokens), cost, client_closed)


def compare(
    upstream: Upstream, received: list[Received], ledger: Ledger, prices: dict[str, tuple[str, str, str]]
) -> Findings:
    """Compares the three records. Prices are USD per 1,000,000 tokens: input, cached input, output."""
    rows = {row.request_id: row for row in ledger.rows}
    whole = {answer.request_id: answer for answer in received if answer.end is End.WHOLE}
    findings = Findings(whole=sum(answer.end is End.WHOLE for answer in received))
    findings.states = {id_: row.state for id_, row in rows.items()}
    findings.lost = [id_ for id_ in whole if id_ not in rows or rows[id_].state not in WHOLE_STATES]
    findings.duplicated = [id_ for id_, times in Counter(row.request_id for row in ledger.rows).items() if times > 1]
    findings.dispatched_twice = [id_ for id_, times in upstream.dispatched.items() if times > 1]
    findings.unrecorded = [id_ for id_ in upstream.dispatched if id_ not in rows]
    done = [row for row in ledger.rows if row.state == "done"]
    findings.differing = [row.request_id for row in done if not _as_billed(row, upstream, prices)]
    findings.differing += [id_ for id_, answer in whole.items() if not _usage_matches(answer, upstream.billed.get(id_))]
    findings.sums = _sums(done, upstream, prices)
    if len(whole) != findings.whole:
        findings.others.append("clients received answers without a request id, or with that of another answer")
    if ledger.wrong_days:
        findings.others.append(f"{ledger.wrong_days} daily sums are not those of their rows")
    if ledger.dead_letters:
        findings.others.append(f"{ledger.dead_letters} rows were refused by the database")
    return findings


def _as_billed(row: LedgerRow, upstream: Upstream, prices: dict[str, tuple[str, str, str]]) -> bool:
    billed = upstream.billed.get(row.request_id)
    return billed is not None and row.tokens == billed and row.cost == _cost(billed, prices[row.model])


def _usage_matches(answer: Received, billed: Tokens | None) -> bool:
    """Whether the usage that a client received, if any, is the upstream's."""
    return billed is not None and answer.usage in (None, billed.usage())


def _cost(tokens: Tokens, price: tuple[str, str, str]) -> Decimal:
    input_rate, cached_rate, output_rate = map(Decimal, price)
    full = (tokens.input - tokens.cached) * input_rate
    return (full + tokens.cached * cached_rate + tokens.output * output_rate) / 1_000_000


def _sums(
    done: list[LedgerRow], upstream: Upstream, prices: dict[str, tuple[str, str, str]]
) -> list[tuple[str, int | Decimal, int | Decimal]]:
    ours = [row.tokens for row in done if row.tokens is not None]
    pairs = [(row, upstream.billed[row.request_id]) for row in done if row.request_id in upstream.billed]
    names = [("input tokens", "input"), ("cached input tokens", "cached"), ("output tokens", "output")]
    sums: list[tuple[str, int | Decimal, int | Decimal]] = [
        (kind, sum(getattr(billed, name) for _, billed in pairs), sum(getattr(tokens, name) for tokens in ours))
        for kind, name in names
    ]
    theirs = sum((_cost(billed, prices[row.model]) for row, billed in pairs), Decimal(0))
    return [*sums, ("cost in USD", theirs, sum((row.cost for row in done), Decimal(0)))]
