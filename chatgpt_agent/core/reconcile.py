"""Compares the ledger with OpenAI's own figures by day, model and user, and names rows that may explain a difference.

OpenAI's figures of usage are those of completions (chats, responses, completions), so only rows of these endpoints are
compared with them; embeddings, images and transcriptions are left out, and counted. Costs are those of all rows.

Counts are compared exactly. Amounts are reported exactly and compared to within NOISE: OpenAI sends them as floats
(0.06 may be 0.060000000000000005), and no token is that cheap.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.openai_usage import Counts, Figures, UsageFigure

NOISE = Decimal("1e-9")  # USD a day
MAX_CANDIDATE_ROWS = 5  # request ids reported with a difference
OTHERS = "(others)"  # label of users and keys without a --key mapping

_SNAPSHOT = re.compile(r"-\d{4}(-.*)?")  # the suffix of a snapshot's name: -2024-07-18, -0613, -1106-preview

# Rows of an endpoint that is unknown here are compared, so that none is left out unseen.
_OTHER_ENDPOINTS = frozenset(endpoint.path for endpoint in ENDPOINTS if not endpoint.is_completion)

Span = tuple[date, date]
Place = tuple[date, str | None, str | None]  # day, model, user


class LedgerSum(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the ledger for a day (UTC), model, user and endpoint, with corrections: requests that OpenAI counts,
    tokens and USD. `served`: the model is the one that answered, not the requested one."""

    day: date
    model: str
    user: str
    served: bool
    counts: Counts
    cost: Decimal
    endpoint: str = CHAT.path


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that may explain a difference: `count` of them, the first with these `ids`. `served`: the model is the one
    that answered. `has_tokens`: the ledger has their tokens, but OpenAI may not have billed them."""

    day: date
    model: str
    user: str
    served: bool
    has_tokens: bool
    count: int
    ids: list[str]
    endpoint: str = CHAT.path


class ComparedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A day, model and user on both sides; `model` or `user` None: all of them. Counts or costs None: not compared.
    `candidate_rows`: the request ids of the first of `candidate_count` rows that may explain the difference."""

    day: date | None
    model: str | None = None
    user: str | None = None
    ledger: Counts | None = None
    openai: Counts | None = None
    ledger_cost: Decimal | None = None
    openai_cost: Decimal | None = None
    candidate_rows: list[str] = []
    candidate_count: int = 0

    @property
    def missing(self) -> Counts | None:
        """The counts of OpenAI minus those of the ledger."""
        if self.ledger is None or self.openai is None:
            return None
        ours, theirs = self.ledger, self.openai
        cached = None if ours.cached is None or theirs.cached is None else theirs.cached - ours.cached
        return Counts(theirs.requests - ours.requests, theirs.input - ours.input, cached, theirs.output - ours.output)

    @property
    def missing_cost(self) -> Decimal | None:
        """The cost according to OpenAI minus that of the ledger, in USD."""
        if self.ledger_cost is None or self.openai_cost is None:
            return None
        return EXACT.subtract(self.openai_cost, self.ledger_cost)

    @property
    def signs(self) -> set[bool]:
        """The sides that have more of something: True for OpenAI, False for the ledger; empty where both are equal."""
        counts = self.missing
        differences = [] if counts is None else [counts.requests, counts.input, counts.cached or 0, counts.output]
        cost = self.missing_cost
        if cost is not None and abs(cost) > NOISE:
            differences.append(1 if cost > 0 else -1)
        return {value > 0 for value in differences if value}


class Reconciliation(msgspec.Struct, frozen=True):
    """The lines that differ, and the sums of all compared lines. `left_out`: how many requests of other endpoints than
    completions are not compared with OpenAI's usage, by endpoint; `unused_keys`: ids of keys without figures."""

    usage_days: Span | None
    cost_days: Span | None
    lines: list[ComparedLine]
    total: ComparedLine
    left_out: dict[str, int] = {}
    unused_keys: list[str] = []

    @property
    def equal(self) -> bool:
        """Whether no line differs."""
        return not self.lines


def days_to_compare(month: date | None, days: Span | None) -> Span | None:
    """Returns the days to compare: those of the month (given by its first day), or those of the figures."""
    if month is None or days is None:
        return days
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return month, date.fromordinal(following.toordinal() - 1)


def compare(
    figures: Figures,
    sums: Sequence[LedgerSum],
    candidates: Sequence[Candidates],
    *,
    keys: Mapping[str, str],
    month: date | None = None,
) -> Reconciliation:
    """Returns the differences. `keys` maps ids of OpenAI keys to users; without it users are not told apart. Raises
    InvalidValue if there are keys and the figures are not grouped by key."""
    if keys and figures.usage and not any(figure.key for figure in figures.usage):
        raise InvalidValue("OpenAI's figures are not grouped by key: get them with group_by=api_key_id, or omit --key")
    usage_days, cost_days = days_to_compare(month, figures.usage_days), days_to_compare(month, figures.cost_days)
    lines = []
    left_out: dict[str, int] = {}
    if usage_days:
        own = [line for line in sums if _within(usage_days, line.day)]
        compared = [line for line in own if line.endpoint not in _OTHER_ENDPOINTS]
        lines += _usage_lines(figures, compared, keys, usage_days)
        for line in own:
            if line.endpoint in _OTHER_ENDPOINTS and line.counts.requests:
                left_out[line.endpoint] = left_out.get(line.endpoint, 0) + line.counts.requests
    if cost_days:
        lines += _cost_lines(figures, [line for line in sums if _within(cost_days, line.day)], cost_days)
    named = set(keys.values())
    differing = [_with_candidates(line, candidates, named) for line in lines if line.signs]
    used = {figure.key for figure in figures.usage}
    unused = [key for key in keys if key not in used] if figures.usage else []
    return Reconciliation(usage_days, cost_days, differing, _total(lines), left_out, unused)


def _usage_lines(
    figures: Figures, sums: Iterable[LedgerSum], keys: Mapping[str, str], days: Span
) -> list[ComparedLine]:
    usage = [figure for figure in figures.usage if _within(days, figure.day)]
    by_model = all(figure.model for figure in figures.usage)
    models = {(figure.day, figure.model) for figure in usage if figure.model}
    named = set(keys.values())

    def ledger_place(line: LedgerSum) -> Place:
        return line.day, _model(line, models) if by_model else None, _user(line.user, named)

    def openai_place(figure: UsageFigure) -> Place:
        user = keys.get(figure.key or "", OTHERS) if keys else None
        return figure.day, figure.model if by_model else None, user

    ours: dict[Place, Counts] = {}
    for line in sums:
        ours[ledger_place(line)] = ours.get(ledger_place(line), Counts()) + line.counts
    theirs: dict[Place, Counts] = {}
    for figure in usage:
        theirs[openai_place(figure)] = theirs.get(openai_place(figure), Counts()) + figure.counts
    places = sorted(ours.keys() | theirs.keys(), key=lambda place: (place[0], place[1] or "", place[2] or ""))
    return [
        ComparedLine(
            day=day,
            model=model,
            user=user,
            ledger=ours.get((day, model, user), Counts()),
            openai=theirs.get((day, model, user), Counts()),
        )
        for day, model, user in places
    ]


def _cost_lines(figures: Figures, sums: Iterable[LedgerSum], days: Span) -> list[ComparedLine]:
    ours: dict[date, Decimal] = {}
    for line in sums:
        ours[line.day] = EXACT.add(ours.get(line.day, Decimal(0)), line.cost)
    theirs: dict[date, Decimal] = {}
    for figure in figures.costs:
        if _within(days, figure.day):
            theirs[figure.day] = EXACT.add(theirs.get(figure.day, Decimal(0)), figure.amount)
    return [
        ComparedLine(day=day, ledger_cost=ours.get(day, Decimal(0)), openai_cost=theirs.get(day, Decimal(0)))
        for day in sorted(ours.keys() | theirs.keys())
    ]


def _with_candidates(line: ComparedLine, candidates: Iterable[Candidates], named: set[str]) -> ComparedLine:
    matching = [
        rows
        for rows in candidates
        if rows.day == line.day
        and (line.ledger is None or rows.endpoint not in _OTHER_ENDPOINTS)
        and (line.model is None or _may_be(rows, line.model))
        and (line.user is None or _user(rows.user, named) == line.user)
        # Where OpenAI has more, the tokens of some rows are missing; an incomplete answer may lack some, too. Where the
        # ledger has more, OpenAI may not have billed tokens that it holds.
        and (True in line.signs or rows.has_tokens)
    ]
    ids = sorted(id_ for rows in matching for id_ in rows.ids)[:MAX_CANDIDATE_ROWS]
    return msgspec.structs.replace(line, candidate_rows=ids, candidate_count=sum(rows.count for rows in matching))


def _model(line: LedgerSum, models: set[tuple[date, str]]) -> str:
    """Returns the model under which OpenAI counts a line. Without an answer this is the only snapshot of the requested
    model that OpenAI names on the day, if there is exactly one."""
    if line.served or (line.day, line.model) in models:
        return line.model
    snapshots = [model for day, model in models if day == line.day and _is_snapshot(model, line.model)]
    return snapshots[0] if len(snapshots) == 1 else line.model


def _is_snapshot(model: str, base: str) -> bool:
    return model.startswith(base) and _SNAPSHOT.fullmatch(model[len(base) :]) is not None


def _may_be(rows: Candidates, model: str) -> bool:
    """Whether rows are of this model, or of a model that OpenAI may have served as this one."""
    return rows.model == model or (not rows.served and _is_snapshot(model, rows.model))


def _user(user: str, named: set[str]) -> str | None:
    if not named:
        return None
    return user if user in named else OTHERS


def _within(days: Span, day: date) -> bool:
    return days[0] <= day <= days[1]


def _total(lines: Sequence[ComparedLine]) -> ComparedLine:
    def counts(side: Callable[[ComparedLine], Counts | None]) -> Counts | None:
        values = [value for line in lines if (value := side(line)) is not None]
        return reduce(Counts.__add__, values) if values else None

    def cost(side: Callable[[ComparedLine], Decimal | None]) -> Decimal | None:
        values = [value for line in lines if (value := side(line)) is not None]
        return reduce(EXACT.add, values) if values else None

    return ComparedLine(
        day=None,
        ledger=counts(lambda line: line.ledger),
        openai=counts(lambda line: line.openai),
        ledger_cost=cost(lambda line: line.ledger_cost),
        openai_cost=cost(lambda line: line.openai_cost),
    )
