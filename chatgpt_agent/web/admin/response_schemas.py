"""What answers say. Amounts are texts, which no reader rounds; times are RFC 3339 in UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

from msgspec import Meta, Struct

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import FullRateTable, Rates, TokenCounts
from chatgpt_agent.core.money.pricing import Price, Tier

T = TypeVar("T", bound=Struct)

Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="Exactly, in decimals.")]


def perhaps(value: Decimal | None) -> str | None:
    """As `format_usd`, of an amount that may be missing."""
    return None if value is None else format_usd(value)


class TierOut(FullRateTable[Amount], frozen=True, kw_only=True):
    service_tier: str | None
    above: int
    multiplier: Amount | None


class PriceOut(FullRateTable[Amount], frozen=True, kw_only=True):
    """USD per 1,000,000 tokens. `input` null: from then on the model has no price."""

    id: int
    model: str
    effective_at: datetime
    tiers: list[TierOut]


def price_out(price: Price) -> PriceOut:
    """A price as it is answered."""
    return PriceOut(
        id=price.id,
        model=price.model,
        effective_at=utc(price.effective_at),
        tiers=tiers_out(price.tiers),
        **amounts(price.rates),
    )


def tiers_out(tiers: Iterable[Tier]) -> list[TierOut]:
    """Tiers as they are answered."""
    return [
        TierOut(service_tier=tier.service_tier, above=tier.above, multiplier=perhaps(tier.multiplier), **amounts(tier))
        for tier in tiers
    ]


def amounts(rates: Rates) -> dict[str, str | None]:
    """Rates as they are answered, by name."""
    return {name: perhaps(rate) for name, rate in rates.all_rates().items()}


def utc(moment: datetime) -> datetime:
    """A time in UTC."""
    return moment.astimezone(UTC)


class BudgetOut(Struct, frozen=True):
    """Of a user, or of one token. `amount` and `spent` in USD; `resets_at` null: never."""

    id: int
    user: str
    token_id: int | None
    period: Period
    amount: Amount
    spent: Amount
    resets_at: datetime | None
    version: int


class Sums(TokenCounts[int], frozen=True, kw_only=True):
    """`not_done`: requests in a state other than done. `cost` in USD; `uncertain_cost`: the maximum that
    requests of unknown cost may have cost, not part of `cost`."""

    requests: int
    not_done: int
    cost: Amount
    uncertain_cost: Amount


class UsageLineOut(Sums, frozen=True, kw_only=True):
    group: dict[str, str]
    token_id: int | None = None  # where tokens were grouped by


class UsageOut(Struct, frozen=True):
    by: list[str]
    rows: list[UsageLineOut]
    total: Sums


class RowOut(TokenCounts[int | None], frozen=True, kw_only=True):
    """A row of the ledger; one with `corrects` holds what is to be added to that row. Tokens null: not known. `cost` in
    USD; `uncertain_cost`: the maximum that a row of unknown cost may have cost."""

    request_id: UUID
    started_at: datetime
    user: str
    token_id: int
    token: str
    endpoint: str
    model: str
    served_model: str | None
    service_tier: str | None
    state: State
    status: int | None
    error: str | None
    client_closed: bool
    streamed: bool
    cost: Amount
    uncertain_cost: Amount
    upstream_id: str | None
    corrects: UUID | None
    reason: str | None


class StateOut(Struct, frozen=True):
    state: State
    rows: int
    cost: Amount


class AgentOut(Struct, frozen=True):
    """What an agent last said of its outbox."""

    id: UUID
    seen_at: datetime
    last_shipped_at: datetime | None
    backlog: int
    oldest_at: datetime | None


class LedgerOut(Struct, frozen=True):
    rows: list[StateOut]
    agents: list[AgentOut]
    dead_letters: int


class FindingOut(Struct, frozen=True):
    check: str
    subject: str
    text: str


class FindingsOut(Struct, frozen=True):
    """Nothing: the books are right."""

    findings: list[FindingOut]


def same(line: Struct, kind: type[T], **more: Any) -> T:
    """A line of the database as the answer that has the same fields, but for those that are given."""
    fields = kind.__struct_fields__
    return kind(**{name: more[name] if name in more else getattr(line, name) for name in fields})
