"""Corrections: the only change of a row of the ledger, as a row of its own with a reason."""

import os
import time
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres import corrections
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.corrections import CorrectableRow
from chatgpt_agent.adapters.postgres.surcharges import list_surcharges
from chatgpt_agent.admin.archives import missing_row
from chatgpt_agent.core.errors import Conflict, InvalidValue
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.bill import called, charge, count_of
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, RightCounts
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.money.surcharges import SurchargeBook, Surcharges
from chatgpt_agent.core.names import is_printable
from chatgpt_agent.core.right_counts import check_counts, corrected, difference
from chatgpt_agent.core.usage import Usage

_NOTHING = Usage(input=0, output=0)
MAX_REASON = 500  # characters


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """`request_id`: of the correction; `corrects`: of the row. Its token counts and USD before and after; `before`
    null: they were not known."""

    request_id: UUID
    corrects: UUID
    before: Usage | None
    after: Usage
    cost_before: Decimal
    cost_after: Decimal


class Corrections:
    """The use case that corrects a row."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def correct(self, request_id: UUID, right: RightCounts, reason: str) -> Correction:
        """Adds a row that makes this request's counts the right ones, and its cost what they cost at the row's own
        price and surcharges. A row is corrected once. Raises InvalidValue, NotFound, Conflict."""
        reason = _checked_reason(reason)
        check_counts(right)
        row, price = await self._row(request_id)
        after = corrected(row.usage, right)
        if after == row.usage:
            raise InvalidValue(f"{request_id} has these counts already")
        surcharges = await self._surcharges(row, price, after)
        _check_priced(row, price, after, surcharges)
        bill = charge(
            after,
            price,
            service_tier=row.service_tier,
            surcharges=surcharges,
            image_price=row.image_price,
            max_cost=exact_sum([row.cost, row.uncertain_cost]),
        )
        own_id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        added = await corrections.add_correction(
            self._store,
            row,
            request_id=own_id,
            usage=difference(after, row.usage or _NOTHING),
            bill=bill,
            reason=reason,
        )
        if not added:
            raise Conflict(f"{request_id} is corrected already")
        return Correction(
            request_id=own_id,
            corrects=request_id,
            before=row.usage,
            after=after,
            cost_before=row.cost,
            cost_after=bill.cost,
        )

    async def _surcharges(self, row: CorrectableRow, price: Price, after: Usage) -> Surcharges:
        """The surcharges of the row; of calls that it had none of, those that were in force when it began."""
        own = row.surcharges
        if all(kind in own.amounts for kind, _ in called(after)):
            return own
        others = SurchargeBook(await list_surcharges(self._store)).at(price.model, row.started_at)
        return Surcharges(ids=others.ids | own.ids, amounts=others.amounts | own.amounts)

    async def _row(self, request_id: UUID) -> tuple[CorrectableRow, Price]:
        row = await corrections.read_correctable_row(self._store, request_id)
        if row is None:
            raise await missing_row(self._store, request_id)
        if row.state == State.CORRECTION:
            raise InvalidValue(f"{request_id} is a correction, which cannot be corrected")
        if row.price is None:
            raise InvalidValue(f"{request_id} has no price, so that its cost cannot be computed")
        if row.corrected_by is not None:
            raise Conflict(f"{request_id} is corrected already, by {row.corrected_by}")
        return row, row.price


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not is_printable(reason, MAX_REASON):
        raise InvalidValue(f"reason: give 1 to {MAX_REASON} printable characters")
    return reason


def _check_priced(row: CorrectableRow, price: Price, after: Usage, surcharges: Surcharges) -> None:
    """Raises InvalidValue if a count has changed that cannot be charged."""
    before = row.usage or _NOTHING
    if after.seconds not in (0, before.seconds) and price.rates.minute is None:
        raise InvalidValue(f"seconds: {price.model} had no price per minute")
    if after.image_tool not in (None, before.image_tool) and row.image_price is None:
        raise InvalidValue("image_tool: the request had no tool image_generation with a model that has a price")
    for kind, count in called(after):
        if count != count_of(before, kind) and kind not in surcharges.amounts:
            raise InvalidValue(f"{CALL_COLUMNS[kind]}: no surcharge of the kind {kind} was in force")
