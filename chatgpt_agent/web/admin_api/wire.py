"""What goes over the wire: the fields of requests, strictly, and of answers. Amounts are texts, which no reader rounds;
times are RFC 3339 in UTC."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatgpt_agent.core.admission import Limits
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.pricing import KINDS, Price, Rates, Tier
from chatgpt_agent.edges.store.audit import OBJECTS
from chatgpt_agent.edges.store.reports import GROUPS
from chatgpt_agent.web.admin_api import pages

MAX_ID = 2**63 - 1
MAX_PAGE = 500

_FEW = "|".join(GROUPS)

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=128, description="Printable characters, no space at the ends.")]
Comment = Annotated[str, Meta(max_length=1000)]
Label = Annotated[str, Meta(max_length=128)]
Limit = Annotated[int, Meta(ge=1, le=10**12)]
Patterns = Annotated[list[Name], Meta(min_length=1, max_length=1000, description="Names, or patterns: `gpt-4o*`.")]
Networks = Annotated[list[Name], Meta(min_length=1, max_length=1000, description="In CIDR notation: `10.0.0.0/8`.")]
Moment = Annotated[datetime, Meta(tz=True)]
OpenAiKey = Annotated[str, Meta(pattern="^[!-~]{1,512}$", extra_json_schema={"writeOnly": True})]
Usd = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,10})?$", description="USD, exactly.")]
BudgetUsd = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,10})?$", description="USD, exactly.")]
Multiplier = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?$")]
ServiceTier = Annotated[str, Meta(pattern="^[a-z][a-z_-]{0,31}$")]
Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="Exactly, in decimals.")]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Groups = Annotated[str, Meta(pattern=f"^({_FEW})(,({_FEW}))*$", description="What to sum by, with commas between.")]
Period = Literal["day", "week", "month", "total"]
RowState = Literal[*(str(state) for state in State), "correction", "imported"]  # type: ignore[valid-type]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's part: a field that is not here is refused."""


def amount(value: Decimal) -> str:
    """A number to its last digit, without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def perhaps(value: Decimal | None) -> str | None:
    """As `amount`, of what may be missing."""
    return None if value is None else amount(value)


def given(value: Any) -> Any:
    """A parameter, or None where it was not given."""
    return None if value is UNSET else value


# Paths and queries.


class Nothing(Strict, frozen=True):
    """No parameters, or no body."""


class ByName(Strict, frozen=True):
    name: Name


class ById(Strict, frozen=True):
    id: Id


class ByModel(Strict, frozen=True):
    model: Name


class ByRequest(Strict, frozen=True):
    request_id: UUID


class OfUser(Strict, frozen=True):
    name: Name
    period: Period


class OfToken(Strict, frozen=True):
    id: Id
    period: Period


class IdPage(Strict, frozen=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.ID_CURSOR)] | UnsetType = UNSET


class TextPage(Strict, frozen=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.TEXT_CURSOR)] | UnsetType = UNSET


class TokenQuery(IdPage, frozen=True):
    user: Name | UnsetType = UNSET


class HistoryQuery(IdPage, frozen=True):
    model: Name | UnsetType = UNSET


class BudgetQuery(IdPage, frozen=True):
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET


class UsageQuery(Strict, frozen=True):
    by: Groups = "user,model"
    since: date | UnsetType = UNSET
    until: date | UnsetType = UNSET


class RowQuery(Strict, frozen=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.ROW_CURSOR)] | UnsetType = UNSET
    state: RowState | UnsetType = UNSET
    user: Name | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class FindingQuery(Strict, frozen=True):
    limit: PageSize = 100


class AuditQuery(IdPage, frozen=True):
    since: Moment | UnsetType = UNSET
    actor: Name | UnsetType = UNSET
    object: Literal[OBJECTS] | UnsetType = UNSET  # type: ignore[valid-type]
    object_id: Id | UnsetType = UNSET


# Bodies.


class LimitsBody(Strict, frozen=True):
    """Requests a minute, tokens a minute, requests at once. null: no limit."""

    rpm: Limit | None = None
    tpm: Limit | None = None
    concurrency: Limit | None = None

    def value(self) -> Limits:
        return Limits(self.rpm, self.tpm, self.concurrency)


class NewUser(Strict, frozen=True):
    name: Name
    openai_key: OpenAiKey
    comment: Comment = ""
    allowed_models: Patterns | None = None
    limits: LimitsBody = LimitsBody()


class UserPatch(Strict, frozen=True):
    """What is not here stays as it is. `limits` are replaced as a whole."""

    comment: Comment | UnsetType = UNSET
    allowed_models: Patterns | None | UnsetType = UNSET
    limits: LimitsBody | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class NewKey(Strict, frozen=True):
    openai_key: OpenAiKey


class NewToken(Strict, frozen=True):
    label: Label = ""
    expires_at: Moment | None = None
    allowed_models: Patterns | None = None
    allowed_networks: Networks | None = None
    limits: LimitsBody = LimitsBody()


class TokenPatch(Strict, frozen=True):
    """What is not here stays as it is. `limits` are replaced as a whole."""

    label: Label | UnsetType = UNSET
    expires_at: Moment | None | UnsetType = UNSET
    allowed_models: Patterns | None | UnsetType = UNSET
    allowed_networks: Networks | None | UnsetType = UNSET
    limits: LimitsBody | UnsetType = UNSET


class Rotation(Strict, frozen=True):
    """How long the old token goes on working."""

    grace_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 3600


class RatesBody(Strict, frozen=True):
    """USD per 1,000,000 tokens. null: as `input` or `output`."""

    cached_input: Usd | None = None
    cache_write: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    image_input: Usd | None = None
    image_output: Usd | None = None


class TierBody(RatesBody, frozen=True):
    """Either a multiplier, or `input` and `output` and what else differs."""

    service_tier: ServiceTier | None = None
    above: Annotated[int, Meta(ge=0, le=10**12)] = 0
    multiplier: Multiplier | None = None
    input: Usd | None = None
    output: Usd | None = None


class NewPrice(RatesBody, frozen=True):
    """`effective_at`: from when on; else from now."""

    model: Name
    input: Usd
    output: Usd
    tiers: Annotated[list[TierBody], Meta(max_length=20)] = []
    effective_at: Moment | None = None


class NewBudget(Strict, frozen=True):
    amount: BudgetUsd


def rates_of(body: NewPrice | TierBody) -> dict[str, Decimal | None]:
    """The rates of a body, by kind."""
    found = {kind: getattr(body, kind) for kind in KINDS}
    return {kind: None if text is None else Decimal(text) for kind, text in found.items()}


def tiers_of(body: NewPrice) -> list[Tier]:
    """The tiers of a body."""
    return [
        Tier(
            service_tier=tier.service_tier,
            above=tier.above,
            multiplier=None if tier.multiplier is None else Decimal(tier.multiplier),
            **rates_of(tier),
        )
        for tier in body.tiers
    ]


# Answers.


class UserOut(Struct, frozen=True):
    id: int
    name: str
    comment: str
    allowed_models: list[str] | None
    limits: Limits
    created_at: datetime
    disabled_at: datetime | None
    removed_at: datetime | None
    version: int


class TokenOut(Struct, frozen=True):
    """`shown`: the token's first characters."""

    id: int
    user: str
    shown: str
    label: str
    allowed_models: list[str] | None
    allowed_networks: list[str] | None
    limits: Limits
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    version: int


class IssuedOut(Struct, frozen=True):
    """The only time that a token is seen."""

    user: str
    id: int
    token: str


class TierOut(Struct, frozen=True):
    service_tier: str | None
    above: int
    multiplier: Amount | None
    input: Amount | None
    output: Amount | None
    cached_input: Amount | None
    cache_write: Amount | None
    audio_input: Amount | None
    audio_output: Amount | None
    image_input: Amount | None
    image_output: Amount | None


class PriceOut(Struct, frozen=True):
    """USD per 1,000,000 tokens. `input` null: from then on the model has no price."""

    id: int
    model: str
    effective_at: datetime
    input: Amount | None
    output: Amount | None
    cached_input: Amount | None
    cache_write: Amount | None
    audio_input: Amount | None
    audio_output: Amount | None
    image_input: Amount | None
    image_output: Amount | None
    tiers: list[TierOut]


def price_out(price: Price) -> PriceOut:
    """A price as it is answered."""
    tiers = [
        TierOut(tier.service_tier, tier.above, perhaps(tier.multiplier), **_amounts(tier)) for tier in price.tiers
    ]
    return PriceOut(price.id, price.model, utc(price.effective_at), **_amounts(price), tiers=tiers)


def _amounts(rates: Price | Rates) -> dict[str, str | None]:
    return {kind: perhaps(getattr(rates, kind)) for kind in KINDS}


def utc(moment: datetime) -> datetime:
    """A time in UTC."""
    return moment.astimezone(UTC)


class BudgetOut(Struct, frozen=True):
    """Of a user, or of one token. `amount` and `spent` in USD; `resets_at` null: never."""

    id: int
    user: str
    token_id: int | None
    period: str
    amount: Amount | None
    spent: Amount
    resets_at: datetime | None
    version: int


class Sums(Struct, frozen=True):
    """`not_done`: requests in a state other than done. `cost` in USD."""

    requests: int
    not_done: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Amount


class UsageLineOut(Sums, frozen=True):
    group: dict[str, str]


class UsageOut(Struct, frozen=True):
    by: list[str]
    rows: list[UsageLineOut]
    total: Sums


class RowOut(Struct, frozen=True):
    """A row of the ledger. Tokens null: not known. `cost` in USD."""

    request_id: UUID
    started_at: datetime
    user: str
    model: str
    served_model: str | None
    state: str
    status: int | None
    error: str | None
    client_closed: bool
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    cost: Amount


class StateOut(Struct, frozen=True):
    state: str
    rows: int
    cost: Amount


class AgentOut(Struct, frozen=True):
    """What an agent last said of its outbox."""

    id: UUID
    seen_at: datetime
    last_shipped_at: datetime | None
    waiting: int
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


class AuditOut(Struct, frozen=True):
    """`before` and `after`: the columns that changed; never a secret."""

    id: int
    at: datetime
    actor: str
    via: str
    address: str
    action: str
    object: str
    object_id: int
    name: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ErrorOut(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class Failure(Struct, frozen=True):
    """OpenAI's error envelope."""

    error: ErrorOut


def same(line: Struct, kind: type[Struct], **more: Any) -> Any:
    """A line of the database as the answer that has the same fields, but for those that are given."""
    fields = kind.__struct_fields__
    return kind(**{name: more[name] if name in more else getattr(line, name) for name in fields})
