"""What requests say: their paths, queries and bodies, strictly. Amounts are texts, which no reader rounds; times are
RFC 3339 with an offset."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from chatgpt_agent.adapters.postgres.reports import GROUPS
from chatgpt_agent.admin.ledger import MAX_WAITING
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import Rates, RateTable
from chatgpt_agent.core.money.pricing import Tier
from chatgpt_agent.core.usage import MAX_COUNT
from chatgpt_agent.web.admin import cursors as pages

MAX_ID = 2**63 - 1
MAX_PAGE = 500

_FEW = "|".join(GROUPS)

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Usd = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,10})?$", description="USD, exactly.")]
BudgetUsd = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,10})?$", description="USD, exactly.")]
Multiplier = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?$")]
ServiceTier = Annotated[str, Meta(pattern="^[a-z][a-z_-]{0,31}$")]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Groups = Annotated[str, Meta(pattern=f"^({_FEW})(,({_FEW}))*$", description="What to sum by, with commas between.")]
Month = Annotated[str, Meta(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$", description="In UTC: `2026-11`.")]
KeyOwner = Annotated[str, Meta(pattern="^[!-<>-~]{1,128}=[^=\n]{1,128}$", description="`key_abc=alice`.")]
Tokens = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
WhatIfGroup = Literal["user", "model", "day", "month"]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's part: a field that is not here is refused."""


def given(value: Any) -> Any:
    """A parameter, or None where it was not given."""
    return None if value is UNSET else value


class ErrorBody(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class Failure(Struct, frozen=True):
    """OpenAI's error envelope."""

    error: ErrorBody


# Paths and queries.


class Nothing(Strict, frozen=True, kw_only=True):
    """No parameters, or no body."""


class UserPath(Strict, frozen=True, kw_only=True):
    name: Name


class ById(Strict, frozen=True, kw_only=True):
    id: Id


class ByModel(Strict, frozen=True, kw_only=True):
    model: Name


class ByRequest(Strict, frozen=True, kw_only=True):
    request_id: UUID


class UserBudgetPath(Strict, frozen=True, kw_only=True):
    name: Name
    period: Period


class OfToken(Strict, frozen=True, kw_only=True):
    id: Id
    period: Period


class IdPage(Strict, frozen=True, kw_only=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.ID_CURSOR)] | UnsetType = UNSET


class TextPage(Strict, frozen=True, kw_only=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.TEXT_CURSOR)] | UnsetType = UNSET


class HistoryQuery(IdPage, frozen=True, kw_only=True):
    model: Name | UnsetType = UNSET


class BudgetQuery(IdPage, frozen=True, kw_only=True):
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET


class UsageQuery(Strict, frozen=True, kw_only=True):
    by: Groups = "user,model"
    since: date | UnsetType = UNSET
    until: date | UnsetType = UNSET
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET
    model: Name | UnsetType = UNSET


class RowQuery(Strict, frozen=True, kw_only=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.ROW_CURSOR)] | UnsetType = UNSET
    state: State | UnsetType = UNSET
    user: Name | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class PriceListQuery(Strict, frozen=True, kw_only=True):
    """`apply`: set them, and do not only show them; `only`: models of these names or patterns; `from`: from when on."""

    apply: bool = False
    only: tuple[Name, ...] = ()
    since: Moment | UnsetType = field(default=UNSET, name="from")


class ExportQuery(Strict, frozen=True, kw_only=True):
    """`history`: also prices that are superseded, removed or still to come."""

    history: bool = False


class FigureQuery(Strict, frozen=True, kw_only=True):
    """`key`: whose OpenAI key it is; `month`: compare all of it."""

    month: Month | UnsetType = UNSET
    key: tuple[KeyOwner, ...] = ()


class FindingQuery(Strict, frozen=True, kw_only=True):
    """`limit`: findings of each check; `waiting`: seconds that a row may wait to be shipped."""

    limit: PageSize = 100
    waiting: Annotated[int, Meta(ge=1, le=MAX_ID)] = MAX_WAITING


# Bodies.


class RatesBody(Strict, RateTable[Usd], frozen=True, kw_only=True):
    """USD per 1,000,000 tokens. null: as `input` or `output`."""


class TierBody(RatesBody, frozen=True, kw_only=True):
    """Either a multiplier, or `input` and `output` and what else differs."""

    service_tier: ServiceTier | None = None
    above: Annotated[int, Meta(ge=0, le=10**12)] = 0
    multiplier: Multiplier | None = None


class NewPrice(RatesBody, frozen=True, kw_only=True):
    """`effective_at`: from when on; else from now."""

    model: Name
    input: Usd
    output: Usd
    tiers: Annotated[tuple[TierBody, ...], Meta(max_length=20)] = ()
    effective_at: Moment | None = None


class NewBudget(Strict, frozen=True, kw_only=True):
    amount: BudgetUsd


class OtherPrice(RatesBody, frozen=True, kw_only=True):
    """A price that is not set, but tried on the past."""

    input: Usd
    output: Usd
    tiers: Annotated[tuple[TierBody, ...], Meta(max_length=20)] = ()


class WhatIf(Strict, frozen=True, kw_only=True):
    """Requests that asked for `model` (null: for any) on these days of the books, both included (`until` null: until
    now); at this `price`, at the one that `as_model` has now, or, without either, each at its own model's of now."""

    since: date
    until: date | None = None
    model: Name | None = None
    as_model: Name | None = None
    price: OtherPrice | None = None
    by: Annotated[tuple[WhatIfGroup, ...], Meta(min_length=1, max_length=4)] = ("model",)


class Correction(Strict, frozen=True, kw_only=True):
    """What the row's tokens are; `input` with the cached ones."""

    input: Tokens
    output: Tokens
    cached: Tokens = 0
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


def rates_of(body: RatesBody) -> Rates:
    """The rates of a body."""
    return Rates(**_decimals(body))


def _decimals(body: RatesBody) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in body.set_rates().items()}


def tiers_of(body: NewPrice | OtherPrice) -> list[Tier]:
    """The tiers of a body."""
    return [
        Tier(
            service_tier=tier.service_tier,
            above=tier.above,
            multiplier=None if tier.multiplier is None else Decimal(tier.multiplier),
            **_decimals(tier),
        )
        for tier in body.tiers
    ]
