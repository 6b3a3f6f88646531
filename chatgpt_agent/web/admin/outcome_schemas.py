"""What imports, comparisons and corrections answer."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from chatgpt_agent.adapters.postgres.repricing import RepricedGroup
from chatgpt_agent.admin.reconcile import Corrected
from chatgpt_agent.core.money.exact import exact_sum, format_usd
from chatgpt_agent.core.money.kinds import FullRateTable
from chatgpt_agent.core.money.litellm import Skipped
from chatgpt_agent.core.money.price_csv import Change, Difference
from chatgpt_agent.core.reconcile import Line, Reconciliation, Span
from chatgpt_agent.web.admin.response_schemas import (
    Amount,
    PriceOut,
    TierOut,
    amounts,
    perhaps,
    price_out,
    same,
    tiers_out,
    utc,
)

# Prices.


class ChangeOut(FullRateTable[Amount], frozen=True, kw_only=True):
    """A price that the list sets, as USD per 1,000,000 tokens, and the one that is in force until then."""

    model: str
    effective_at: datetime
    tiers: list[TierOut]
    before: PriceOut | None


class SkippedOut(Struct, frozen=True):
    """An entry of the list that is no price of ours."""

    model: str
    reason: str


class PricesImportedOut(Struct, frozen=True):
    """`unchanged`: how many prices of the list are in force already. `applied` false: nothing is set."""

    new: list[ChangeOut]
    changed: list[ChangeOut]
    removed: list[ChangeOut]
    unchanged: int
    skipped: list[SkippedOut]
    applied: bool


def prices_imported(found: Difference, skipped: Sequence[Skipped], *, applied: bool) -> PricesImportedOut:
    """What a list of prices changes, as it is answered."""
    listed: dict[str, list[ChangeOut]] = {"new": [], "changed": [], "removed": []}
    for change in found.changes:
        listed[change.kind].append(_change(change))
    left_out = [same(entry, SkippedOut) for entry in skipped]
    return PricesImportedOut(**listed, unchanged=found.unchanged, skipped=left_out, applied=applied)


def _change(change: Change) -> ChangeOut:
    new, before = change.new, change.before
    assert new.effective_at is not None  # every price of a difference has its date
    return ChangeOut(
        model=new.model,
        effective_at=utc(new.effective_at),
        **amounts(new.rates),
        tiers=tiers_out(new.tiers),
        before=None if before is None else price_out(before),
    )


class WhatIfLineOut(Struct, frozen=True):
    """`unpriced_requests`: requests of models without a price now; both sums contain their charged cost. In USD."""

    group: dict[str, str]
    requests: int
    unpriced_requests: int
    cost: Amount
    what_if: Amount
    difference: Amount


def what_if_line(by: Sequence[str], line: RepricedGroup) -> WhatIfLineOut:
    """A group, or the total, as it is answered."""
    difference = exact_sum([line.other_cost, line.cost.copy_negate()])
    sums = [format_usd(line.cost), format_usd(line.other_cost), format_usd(difference)]
    return WhatIfLineOut(dict(zip(by, line.group, strict=False)), line.requests, line.unpriced_requests, *sums)


class WhatIfOut(Struct, frozen=True):
    by: list[str]
    rows: list[WhatIfLineOut]
    total: WhatIfLineOut


# The ledger.


class CountedOut(Struct, frozen=True):
    input: int
    cached: int
    output: int


class CorrectedOut(Struct, frozen=True):
    """`request_id`: of the correction; `corrects`: of the row. `before` null: its tokens were not known. In USD."""

    request_id: UUID
    corrects: UUID
    before: CountedOut | None
    after: CountedOut
    cost_before: Amount
    cost_after: Amount


def corrected(done: Corrected) -> CorrectedOut:
    """A correction as it is answered."""
    before = None if done.before is None else same(done.before, CountedOut)
    costs = {"cost_before": format_usd(done.cost_before), "cost_after": format_usd(done.cost_after)}
    return same(done, CorrectedOut, before=before, after=same(done.after, CountedOut), **costs)


class ReconciledLineOut(Struct, frozen=True):
    """A day, model and user on both sides; null: all of them, or not compared here. `candidate_rows`: request ids of
    rows that may explain the difference, the first of `candidate_count`."""

    day: date | None
    model: str | None
    user: str | None
    ledger_requests: int | None
    openai_requests: int | None
    ledger_input: int | None
    openai_input: int | None
    ledger_cached: int | None
    openai_cached: int | None
    ledger_output: int | None
    openai_output: int | None
    ledger_cost: Amount | None
    openai_cost: Amount | None
    candidate_rows: list[str]
    candidate_count: int


class DaysOut(Struct, frozen=True):
    """Both are included."""

    first: date
    last: date


class ReconciledOut(Struct, frozen=True):
    """What differs; `equal`: nothing does. The days in UTC, null: not compared."""

    equal: bool
    usage_days: DaysOut | None
    cost_days: DaysOut | None
    lines: list[ReconciledLineOut]
    total: ReconciledLineOut


def reconciled(found: Reconciliation) -> ReconciledOut:
    """A comparison as it is answered."""
    lines = [_reconciled_line(line) for line in found.lines]
    return ReconciledOut(
        found.equal, _days(found.usage_days), _days(found.cost_days), lines, _reconciled_line(found.total)
    )


def _days(span: Span | None) -> DaysOut | None:
    return None if span is None else DaysOut(*span)


def _reconciled_line(line: Line) -> ReconciledLineOut:
    sides = {"ledger": line.ledger, "openai": line.openai}
    counts = {
        f"{side}_{name}": None if found is None else getattr(found, name)
        for side, found in sides.items()
        for name in ("requests", "input", "cached", "output")
    }
    costs = {"ledger_cost": perhaps(line.ledger_cost), "openai_cost": perhaps(line.openai_cost)}
    return same(line, ReconciledLineOut, **counts, **costs)
