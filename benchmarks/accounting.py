"""Three accounts of one run compared: what the upstream was sent and billed, what clients received whole, and what the
ledger holds. What it finds wrong comes with the request's id.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import psycopg2

from benchmarks.clients import End, Received
from benchmarks.upstream import Tokens, Upstream

WHOLE_STATES = ("done", "usage_unknown")  # of an answer that its client may have whole
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


class Line(msgspec.Struct, frozen=True):
    """A row of the ledger, as far as it is compared."""

    request_id: str
    state: str
    model: str
    tokens: Tokens | None
    cost: Decimal
    client_closed: bool


class Ledger(msgspec.Struct, frozen=True):
    """What the database holds: rows, days whose daily sums are not those of their rows, and rows that were refused."""

    lines: list[Line]
    wrong_days: int
    dead_letters: int


class Findings(msgspec.Struct):
    """What the comparison counted, and each violation in words."""

    whole: int = 0
    lost: list[str] = []
    duplicated: list[str] = []
    dispatched_twice: list[str] = []
    invisible: list[str] = []
    differing: list[str] = []
    others: list[str] = []
    states: dict[str, str] = {}  # of all rows, by request id
    sums: list[tuple[str, int | Decimal, int | Decimal]] = []  # what, upstream's, ledger's

    @property
    def sums_equal(self) -> bool:
        """Whether the sums over rows in state `done` are the upstream's own for the same requests."""
        return all(theirs == ours for _, theirs, ours in self.sums) and not self.differing

    @property
    def violations(self) -> list[str]:
        """All that is wrong; empty where the books are right."""
        kinds = {
            "delivered whole, and no row that says so": self.lost,
            "more than one row": self.duplicated,
            "sent upstream more than once": self.dispatched_twice,
            "reached the upstream, and has no row": self.invisible,
            "differs from what the upstream billed": self.differing,
        }
        wrong = [f"{id_}: {kind} ({self.states.get(id_, 'no row')})" for kind, ids in kinds.items() for id_ in ids]
        sums = [f"the sums of {kind} differ: {theirs} and {ours}" for kind, theirs, ours in self.sums if theirs != ours]
        return wrong + sums + self.others


def read_ledger(dsn: str) -> Ledger:
    """Reads the database; each row as it is, and the daily sums compared with the rows."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM usage")
            lines = [_line(*row) for row in cursor.fetchall()]
            cursor.execute(_WRONG_DAYS)
            [(wrong_days,)] = cursor.fetchall()
            cursor.execute("SELECT count(*) FROM dead_letters")
            [(dead_letters,)] = cursor.fetchall()
    finally:
        connection.close()
    return Ledger(lines, int(wrong_days), int(dead_letters))


def _line(id_: str, state: str, model: str, *rest: Any) -> Line:
    *tokens, cost, client_closed = rest
    return Line(id_, state, model, None if tokens[0] is None else Tokens(*tokens), cost, client_closed)


def compare(
    upstream: Upstream, received: list[Received], ledger: Ledger, prices: dict[str, tuple[str, str, str]]
) -> Findings:
    """What is wrong between the three accounts. Prices are USD per 1,000,000 tokens: input, cached input, output."""
    rows = {line.request_id: line for line in ledger.lines}
    whole = {answer.request_id: answer for answer in received if answer.end is End.WHOLE}
    findings = Findings(whole=sum(answer.end is End.WHOLE for answer in received))
    findings.states = {id_: line.state for id_, line in rows.items()}
    findings.lost = [id_ for id_ in whole if id_ not in rows or rows[id_].state not in WHOLE_STATES]
    findings.duplicated = [id_ for id_, times in Counter(line.request_id for line in ledger.lines).items() if times > 1]
    findings.dispatched_twice = [id_ for id_, times in upstream.dispatched.items() if times > 1]
    findings.invisible = [id_ for id_ in upstream.dispatched if id_ not in rows]
    done = [line for line in ledger.lines if line.state == "done"]
    findings.differing = [line.request_id for line in done if not _as_billed(line, upstream, prices)]
    findings.differing += [id_ for id_, answer in whole.items() if not _usage_matches(answer, upstream.billed.get(id_))]
    findings.sums = _sums(done, upstream, prices)
    if len(whole) != findings.whole:
        findings.others.append("clients received answers without a request id, or with one that others had too")
    if ledger.wrong_days:
        findings.others.append(f"{ledger.wrong_days} daily sums are not those of their rows")
    if ledger.dead_letters:
        findings.others.append(f"{ledger.dead_letters} rows were refused by the database")
    return findings


def _as_billed(line: Line, upstream: Upstream, prices: dict[str, tuple[str, str, str]]) -> bool:
    billed = upstream.billed.get(line.request_id)
    return billed is not None and line.tokens == billed and line.cost == _cost(billed, prices[line.model])


def _usage_matches(answer: Received, billed: Tokens | None) -> bool:
    """Whether the usage that a client received, if any, is the upstream's."""
    return billed is not None and answer.usage in (None, billed.usage())


def _cost(tokens: Tokens, price: tuple[str, str, str]) -> Decimal:
    input_rate, cached_rate, output_rate = map(Decimal, price)
    full = (tokens.input - tokens.cached) * input_rate
    return (full + tokens.cached * cached_rate + tokens.output * output_rate) / 1_000_000


def _sums(
    done: list[Line], upstream: Upstream, prices: dict[str, tuple[str, str, str]]
) -> list[tuple[str, int | Decimal, int | Decimal]]:
    ours = [line.tokens for line in done if line.tokens is not None]
    pairs = [(line, upstream.billed[line.request_id]) for line in done if line.request_id in upstream.billed]
    names = [("input tokens", "input"), ("cached input tokens", "cached"), ("output tokens", "output")]
    sums: list[tuple[str, int | Decimal, int | Decimal]] = [
        (kind, sum(getattr(billed, name) for _, billed in pairs), sum(getattr(tokens, name) for tokens in ours))
        for kind, name in names
    ]
    theirs = sum((_cost(billed, prices[line.model]) for line, billed in pairs), Decimal(0))
    return [*sums, ("cost in USD", theirs, sum((line.cost for line in done), Decimal(0)))]
