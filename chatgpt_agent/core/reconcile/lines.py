"""What is compared in a reconciliation: sums of the ledger on one side, OpenAI's figures on the other."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.core.archive import next_month
from chatgpt_agent.core.http.endpoints import (
    CHAT,
    DECISIONS,
    EDITS,
    EMBEDDINGS,
    IMAGES,
    MODERATIONS,
    TRANSCRIPTIONS,
)
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.openai_usage import CostFigure, Counts, Kind, Number, Span, UsageFigure, size

# OpenAI sends amounts as floats: 0.06 may be 0.060000000000000005. No token is as cheap as this.
NOISE = Decimal("1e-9")  # USD a day
MAX_CANDIDATE_ROWS = 5  # request ids reported with a difference
OTHERS = "(others)"  # label of users and keys without a --key mapping

_SNAPSHOT = re.compile(r"-\d{4}(-.*)?")  # the suffix of a snapshot's name: -2024-07-18, -0613, -1106-preview

# Rows of an endpoint that is unknown here are compared with completions, so that none is left out unseen.
_KINDS = {
    EMBEDDINGS.path: Kind.EMBEDDINGS,
    IMAGES.path: Kind.IMAGES,
    EDITS.path: Kind.IMAGES,
    TRANSCRIPTIONS.path: Kind.TRANSCRIPTIONS,
    MODERATIONS.path: Kind.MODERATIONS,
    DECISIONS.path: Kind.DECISIONS,
}
COUNTED_FREE = (MODERATIONS.path,)  # endpoints without a price that OpenAI counts all the same


class Finding(StrEnum):
    """What a difference is."""

    DIFFERS = "differs"
    NOT_IN_LEDGER = "not_in_ledger"
    NOT_AT_OPENAI = "not_at_openai"
    NOT_THROUGH_AGENT = "not_through_agent"
    NOT_RECOGNIZED = "not_recognized"


class LedgerSum(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the ledger for a day (UTC), model, user and endpoint, with corrections: requests that OpenAI counts,
    tokens and USD. `served`: the model is the one that answered, not the requested one. `tool`: these are calls of a
    tool and their cost, which no other sum contains."""

    day: date
    model: str
    user: str
    served: bool
    counts: Counts
    cost: Decimal
    endpoint: str = CHAT.path
    tool: Kind | None = None

    @property
    def kind(self) -> Kind:
        """The usage of OpenAI that counts these."""
        return self.tool or kind_of(self.endpoint)


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


class ChargedItem(msgspec.Struct, frozen=True):
    """A line item of OpenAI's bill: USD, and how much of what was charged, if OpenAI says so."""

    line_item: str
    amount: Decimal
    quantity: Decimal | None = None
    unit: str | None = None


class ComparedLine(msgspec.Struct, frozen=True, kw_only=True):
    """What both sides have of a day, kind, model and user; None: all of them. Counts or costs None: not compared.

    `days`: the first and last day of a line that sums up several. `kind` None: the costs of a model of several kinds.
    `name`: of what the agent does not serve. `models`: by how many calls of a tool OpenAI has more, by model. `items`:
    what OpenAI charged for. `keys`: ids of OpenAI keys without a user. `candidate_rows`: the request ids of the first
    of `candidate_count` rows that may explain the difference."""

    day: date | None
    days: Span | None = None
    kind: Kind | None = Kind.COMPLETIONS
    model: str | None = None
    user: str | None = None
    finding: Finding = Finding.DIFFERS
    name: str | None = None
    ledger: Counts | None = None
    openai: Counts | None = None
    ledger_cost: Decimal | None = None
    openai_cost: Decimal | None = None
    quantity: Number | None = None
    unit: str | None = None
    models: dict[str, Number] = {}
    items: list[ChargedItem] = []
    keys: list[str] = []
    candidate_rows: list[str] = []
    candidate_count: int = 0

    @property
    def missing(self) -> Counts | None:
        """The counts of OpenAI minus those of the ledger."""
        return None if self.ledger is None or self.openai is None else self.openai - self.ledger

    @property
    def missing_cost(self) -> Decimal | None:
        """The cost according to OpenAI minus that of the ledger, in USD."""
        if self.ledger_cost is None or self.openai_cost is None:
            return None
        return EXACT.subtract(self.openai_cost, self.ledger_cost)

    @property
    def differences(self) -> dict[str, Number]:
        """The counts that differ, by name: OpenAI's minus the ledger's. OpenAI's seconds are whole ones, so less than
        one for each request is no difference."""
        if self.ledger == self.openai or self.missing is None:
            return {}
        differences = self.missing.nonzero()
        requests = max((counts.requests or 0 for counts in (self.ledger, self.openai) if counts), default=0)
        if size(differences.get("seconds", 0)) < requests:
            differences.pop("seconds", None)
        return differences

    @property
    def signs(self) -> set[bool]:
        """The sides that have more of something: True for OpenAI, False for the ledger; empty where both are equal."""
        values = [*self.differences.values(), *self.models.values()]
        cost = self.missing_cost
        if cost is not None and abs(cost) > NOISE:
            values.append(cost)
        return {value > 0 for value in values}

    @property
    def is_missing_in_ledger(self) -> bool:
        """Whether the ledger has nothing at all here."""
        return not (self.ledger_cost or (self.ledger and self.ledger.nonzero()))

    @property
    def is_missing_at_openai(self) -> bool:
        """Whether OpenAI has nothing at all here."""
        return not (self.openai_cost or (self.openai and self.openai.nonzero()))


class Reconciliation(msgspec.Struct, frozen=True):
    """The differences, the largest amount first, and the sums of all that was compared. `kinds`: of usage that was
    compared. `left_out`: requests of endpoints of whose kind there are no figures. `unavailable`: kinds that OpenAI did
    not answer for. `unused_keys`: ids of keys without figures."""

    usage_days: Span | None
    cost_days: Span | None
    lines: list[ComparedLine]
    total: ComparedLine
    kinds: list[Kind] = []
    left_out: dict[str, int] = {}
    unavailable: list[Kind] = []
    unused_keys: list[str] = []

    @property
    def equal(self) -> bool:
        """Whether no line differs."""
        return not self.lines


Place = tuple[date, Kind | None, str | None, str | None]  # day, kind, model, user
Lines = dict[Place, ComparedLine]


class Users:
    """Which user a key or project of OpenAI belongs to. Without keys users are not told apart."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys
        self._names = frozenset(keys.values())

    def of_ledger(self, user: str) -> str:
        """The user of a row."""
        return user if user in self._names else OTHERS

    def of_figure(self, figure: UsageFigure | CostFigure) -> str:
        """The user of a figure. The key says more than its project."""
        return self.keys.get(figure.key or "") or self.keys.get(figure.project or "") or OTHERS

    def are_separate(self, figures: Iterable[UsageFigure | CostFigure]) -> bool:
        """Whether figures are compared by user: there are keys, and figures are grouped by them or by projects."""
        grouped = [bool(figure.key or figure.project in self.keys) for figure in figures]
        return bool(self.keys) and (not grouped or any(grouped))


def kind_of(endpoint: str) -> Kind:
    """Returns the usage of OpenAI in which an endpoint is counted."""
    return _KINDS.get(endpoint, Kind.COMPLETIONS)


def days_to_compare(month: date | None, days: Span | None) -> Span | None:
    """Returns the days to compare: those of the month (given by its first day), or those of the figures."""
    if month is None or days is None:
        return days
    return month, date.fromordinal(next_month(month).toordinal() - 1)


def within(days: Span, day: date) -> bool:
    """Whether a day is one of these, both included."""
    return days[0] <= day <= days[1]


def model_at_openai(line: LedgerSum, models: Collection[tuple[date, str]]) -> str:
    """Returns the model under which OpenAI counts a line: its own, or else the only snapshot of it, or the only model
    that it is a snapshot of, which OpenAI names on the day, if there is exactly one."""
    if (line.day, line.model) in models:
        return line.model
    related = [model for day, model in models if day == line.day and _are_related(model, line.model, line.served)]
    return related[0] if len(related) == 1 else line.model


def _are_related(model: str, own: str, served: bool) -> bool:
    # Rows without an answer have the requested name, which may be an alias of any snapshot.
    return is_snapshot(own, model) if served else is_snapshot(model, own)


def is_snapshot(model: str, base: str) -> bool:
    """Whether a model is a snapshot of another."""
    return model.startswith(base) and _SNAPSHOT.fullmatch(model[len(base) :]) is not None


def keys_without_user(figures: Iterable[UsageFigure | CostFigure], user: str | None) -> list[str]:
    """Returns the ids of the keys of figures that belong to no user."""
    return sorted({figure.key for figure in figures if figure.key}) if user == OTHERS else []
