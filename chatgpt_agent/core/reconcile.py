"""The ledger beside OpenAI's own figures, per day, model and key: what differs, and which rows it may come from.

Counts are compared exactly. Amounts are told exactly and compared to within NOISE: OpenAI gives them as floats
(0.06 may come as 0.060000000000000005), and no token is as cheap as that.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.openai_usage import Counts, Figures, UsageFigure

NOISE = Decimal("1e-9")  # USD a day
MAX_CANDIDATE_ROWS = 5  # request ids that a difference names
OTHERS = "(others)"  # users and keys that no --key tells of

_SNAPSHOT = re.compile(r"-\d{4}(-.*)?")  # what OpenAI adds to a model's name: -2024-07-18, -0613, -1106-preview

Span = tuple[date, date]
Place = tuple[date, str | None, str | None]  # day, model, user


class LedgerSum(msgspec.Struct, frozen=True):
    """What the ledger holds of a day (UTC), model and user, with corrections: requests that OpenAI counts as one,
    tokens and USD. `served`: the model is the one that answered; else it is the one that was asked for."""

    day: date
    model: str
    user: str
    served: bool
    counts: Counts
    cost: Decimal


class Candidates(msgspec.Struct, frozen=True):
    """Rows that may explain a difference: `count` of them, the first of which have `ids`. `served`: the model is the
    one that answered. `known`: their tokens are in the ledger, which OpenAI may not have billed."""

    day: date
    model: str
    user: str
    served: bool
    known: bool
    count: int
    ids: list[str]


class Line(msgspec.Struct, frozen=True):
    """One day, model and user on both sides; `model`, `user` None: all. Counts or costs None: not compared here.
    `candidate_rows` are request ids, the first of `candidate_count`."""

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
        """Counts that OpenAI has and the ledger has not; negative where the ledger has more."""
        if self.ledger is None or self.openai is None:
            return None
        ours, theirs = self.ledger, self.openai
        cached = None if ours.cached is None or theirs.cached is None else theirs.cached - ours.cached
        return Counts(theirs.requests - ours.requests, theirs.input - ours.input, cached, theirs.output - ours.output)

    @property
    def missing_cost(self) -> Decimal | None:
        """USD that OpenAI has and the ledger has not."""
        if self.ledger_cost is None or self.openai_cost is None:
            return None
        return EXACT.subtract(self.openai_cost, self.ledger_cost)

    @property
    def signs(self) -> set[bool]:
        """Which sides have more of something: True for OpenAI, False for the ledger; nothing where they are equal."""
        counts = self.missing
        found = [] if counts is None else [counts.requests, counts.input, counts.cached or 0, counts.output]
        cost = self.missing_cost
        if cost is not None and abs(cost) > NOISE:
            found.append(1 if cost > 0 else -1)
        return {value > 0 for value in found if value}


class Reconciliation(msgspec.Struct, frozen=True):
    """The lines that differ, and the sums of all that was compared, equal or not."""

    usage_days: Span | None
    cost_days: Span | None
    lines: list[Line]
    total: Line

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.lines


def whole(month: date | None, days: Span | None) -> Span | None:
    """The days to compare: those of a month (given by its first day), else those that the figures speak of."""
    if month is None or days is None:
        return days
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return month, date.fromordinal(following.toordinal() - 1)


def compare(
    figures: Figures,
    sums: Sequence[LedgerSum],
    suspects: Sequence[Candidates],
    *,
    keys: Mapping[str, str],
    month: date | None = None,
) -> Reconciliation:
    """The differences. `keys` maps ids of OpenAI's keys to users; without any, all users are one. Raises InvalidValue
    where figures that are not by key are to be compared by it."""
    if keys and figures.usage and not any(figure.key for figure in figures.usage):
        raise InvalidValue("OpenAI's figures name no keys: get them with group_by=api_key_id, or give no --key")
    usage_days, cost_days = whole(month, figures.usage_days), whole(month, figures.cost_days)
    lines = []
    if usage_days:
        lines += _usage_lines(figures, [line for line in sums if _within(usage_days, line.day)], keys, usage_days)
    if cost_days:
        lines += _cost_lines(figures, [line for line in sums if _within(cost_days, line.day)], cost_days)
    named = set(keys.values())
    differing = [_with_candidates(line, suspects, named) for line in lines if line.signs]
    return Reconciliation(usage_days, cost_days, differing, _total(lines))


def _usage_lines(figures: Figures, sums: Iterable[LedgerSum], keys: Mapping[str, str], days: Span) -> list[Line]:
    usage = [figure for figure in figures.usage if _within(days, figure.day)]
    by_model = all(figure.model for figure in figures.usage)
    models = {(figure.day, figure.model) for figure in usage if figure.model}
    named = set(keys.values())

    def our_place(line: LedgerSum) -> Place:
        return line.day, _model(line, models) if by_model else None, _user(line.user, named)

    def their_place(figure: UsageFigure) -> Place:
        user = keys.get(figure.key or "", OTHERS) if keys else None
        return figure.day, figure.model if by_model else None, user

    ours: dict[Place, Counts] = {}
    for line in sums:
        ours[our_place(line)] = ours.get(our_place(line), Counts()) + line.counts
    theirs: dict[Place, Counts] = {}
    for figure in usage:
        theirs[their_place(figure)] = theirs.get(their_place(figure), Counts()) + figure.counts
    places = sorted(ours.keys() | theirs.keys(), key=lambda place: (place[0], place[1] or "", place[2] or ""))
    return [Line(*place, ours.get(place, Counts()), theirs.get(place, Counts())) for place in places]


def _cost_lines(figures: Figures, sums: Iterable[LedgerSum], days: Span) -> list[Line]:
    ours: dict[date, Decimal] = {}
    for line in sums:
        ours[line.day] = EXACT.add(ours.get(line.day, Decimal(0)), line.cost)
    theirs: dict[date, Decimal] = {}
    for figure in figures.costs:
        if _within(days, figure.day):
            theirs[figure.day] = EXACT.add(theirs.get(figure.day, Decimal(0)), figure.amount)
    return [
        Line(day, ledger_cost=ours.get(day, Decimal(0)), openai_cost=theirs.get(day, Decimal(0)))
        for day in sorted(ours.keys() | theirs.keys())
    ]


def _with_candidates(line: Line, suspects: Iterable[Candidates], named: set[str]) -> Line:
    found = [
        rows
        for rows in suspects
        if rows.day == line.day
        and (line.model is None or _may_be(rows, line.model))
        and (line.user is None or _user(rows.user, named) == line.user)
        # Where OpenAI has more, rows without tokens; where the ledger has more, tokens that may not have been billed.
        # A part of an answer may lack tokens as well.
        and (True in line.signs or rows.known)
    ]
    ids = sorted(id_ for rows in found for id_ in rows.ids)[:MAX_CANDIDATE_ROWS]
    return msgspec.structs.replace(line, candidate_rows=ids, candidate_count=sum(rows.count for rows in found))


def _model(line: LedgerSum, models: set[tuple[date, str]]) -> str:
    """The model under which OpenAI counts this line: where nobody saw an answer, the one snapshot of the model asked
    for that OpenAI names on the day, if there is one."""
    if line.served or (line.day, line.model) in models:
        return line.model
    snapshots = [model for day, model in models if day == line.day and _is_snapshot(model, line.model)]
    return snapshots[0] if len(snapshots) == 1 else line.model


def _is_snapshot(model: str, asked: str) -> bool:
    return model.startswith(asked) and _SNAPSHOT.fullmatch(model[len(asked) :]) is not None


def _may_be(rows: Candidates, model: str) -> bool:
    """Whether rows are of this model, or of one that OpenAI may have served as this model."""
    return rows.model == model or (not rows.served and _is_snapshot(model, rows.model))


def _user(user: str, named: set[str]) -> str | None:
    if not named:
        return None
    return user if user in named else OTHERS


def _within(days: Span, day: date) -> bool:
    return days[0] <= day <= days[1]


def _total(lines: Sequence[Line]) -> Line:
    def counts(side: Callable[[Line], Counts | None]) -> Counts | None:
        found = [value for line in lines if (value := side(line)) is not None]
        return reduce(Counts.__add__, found) if found else None

    def cost(side: Callable[[Line], Decimal | None]) -> Decimal | None:
        found = [value for line in lines if (value := side(line)) is not None]
        return reduce(EXACT.add, found) if found else None

    return Line(
        None,
        ledger=counts(lambda line: line.ledger),
        openai=counts(lambda line: line.openai),
        ledger_cost=cost(lambda line: line.ledger_cost),
        openai_cost=cost(lambda line: line.openai_cost),
    )
