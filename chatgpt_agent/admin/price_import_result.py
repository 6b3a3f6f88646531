"""An import or a check of a list of prices, as commands and REST write it in JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.admin.price_import import ListDifference
from chatgpt_agent.admin.prices import PriceRecord, price_record
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.kinds import FullRateTable
from chatgpt_agent.core.money.litellm import Skipped
from chatgpt_agent.core.money.price_csv import Change
from chatgpt_agent.core.money.price_files import PriceFile
from chatgpt_agent.core.money.pricing import Tier
from chatgpt_agent.core.money.shutdowns import ShutdownChange
from chatgpt_agent.core.money.surcharge_lists import SurchargeChange


class PriceChange(FullRateTable[Usd], frozen=True, kw_only=True):
    """A price that the list sets, in USD per 1,000,000 tokens. `before`: the price in force until then."""

    model: str
    effective_at: datetime
    tiers: tuple[Tier, ...]
    before: PriceRecord | None


class ListedSurcharge(msgspec.Struct, frozen=True, kw_only=True):
    """A surcharge that the list sets: USD per call, or the factor of a host. `model` empty: of every model without one
    of its own. `before`: the amount in force until then."""

    kind: str
    host: str
    model: str
    amount: Usd | None
    effective_at: datetime
    before: Usd | None


class PriceImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a list changes. `unchanged`: how many of its prices are in force already. `applied` false: nothing is
    set. `ignored_rates`: rates of the list that no price has, each with its models."""

    new: list[PriceChange]
    changed: list[PriceChange]
    removed: list[PriceChange]
    unchanged: int
    surcharges: list[ListedSurcharge]
    unchanged_surcharges: int
    shutdown_dates: list[ShutdownChange]
    skipped: list[Skipped]
    ignored_rates: dict[str, list[str]]
    applied: bool


class PriceCheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a list differs from what is in force. `unchanged`: how many of its prices are in force; `unpriced`: how many
    of its models have no price here, which `new` has only if they were asked for."""

    equal: bool
    changed: list[PriceChange]
    removed: list[PriceChange]
    new: list[PriceChange]
    unchanged: int
    surcharges: list[ListedSurcharge]
    unpriced: int


def import_result(changes: ListDifference, file: PriceFile, *, applied: bool) -> PriceImportResult:
    """What a list changes, or has changed."""
    return PriceImportResult(
        **_by_kind(changes.prices.changes),
        unchanged=changes.prices.unchanged,
        surcharges=list(map(_surcharge, changes.surcharges.changes)),
        unchanged_surcharges=changes.surcharges.unchanged,
        shutdown_dates=changes.shutdown_dates,
        skipped=file.skipped,
        ignored_rates=file.ignored_rates,
        applied=applied,
    )


def check_result(changes: ListDifference) -> PriceCheckResult:
    """How a list differs from what is in force."""
    return PriceCheckResult(
        equal=changes.is_empty,
        **_by_kind(changes.prices.changes),
        unchanged=changes.prices.unchanged,
        surcharges=list(map(_surcharge, changes.surcharges.changes)),
        unpriced=changes.unpriced,
    )


def _by_kind(changes: Iterable[Change]) -> dict[str, list[PriceChange]]:
    by_kind: dict[str, list[PriceChange]] = {"new": [], "changed": [], "removed": []}
    for change in changes:
        by_kind[change.kind].append(_price(change))
    return by_kind


def _price(change: Change) -> PriceChange:
    new, before = change.new, change.before
    assert new.effective_at is not None, "`difference` dates every price"
    return PriceChange(
        model=new.model,
        effective_at=new.effective_at.astimezone(UTC),
        tiers=new.tiers,
        before=None if before is None else price_record(before),
        **new.rates.all_rates(),
    )


def _surcharge(change: SurchargeChange) -> ListedSurcharge:
    new = change.new
    assert new.effective_at is not None, "`surcharge_difference` dates every surcharge"
    return ListedSurcharge(
        kind=new.kind,
        host=new.host,
        model=new.model,
        amount=new.amount,
        effective_at=new.effective_at.astimezone(UTC),
        before=change.before,
    )
