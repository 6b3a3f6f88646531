"""Corrections: the only change of a row of the ledger, as a row of its own with a reason."""

import os
import time
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres import corrections
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.corrections import CorrectableRow
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.bill import charge
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, TIME_COLUMN, TOKEN_KINDS
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.names import is_printable
from chatgpt_agent.core.usage import MAX_COUNT, Usage

_COUNTS = (*(kind.name for kind in TOKEN_KINDS), *CALL_COLUMNS.values(), TIME_COLUMN)
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

    async def correct(self, request_id: UUID, usage: Usage, reason: str) -> Correction:
        """Adds a row that makes this request's token counts `usage`, and its cost what they cost at the row's own
        price. A row is corrected once. Raises InvalidValue, NotFound, Conflict."""
        reason = _checked_reason(reason)
        _check_usage(usage)
        row, price = await self._row(request_id)
        before = row.usage or Usage(input=0, output=0)
        after = _with_parts(usage, before)
        if after == row.usage:
            raise InvalidValue(f"{request_id} has these token counts already")
        bill = charge(
            after,
            price,
            service_tier=row.service_tier,
            surcharges=row.surcharges,
            image_price=row.image_price,
        )
        cost = bill.cost
        own_id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        added = await corrections.add_correction(
            self._store,
            row,
            request_id=own_id,
            usage=_difference(after, before),
            cost=exact_sum([cost, row.cost.copy_negate()]),
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
            cost_after=cost,
        )

    async def _row(self, request_id: UUID) -> tuple[CorrectableRow, Price]:
        row = await corrections.read_correctable_row(self._store, request_id)
        if row is None:
            raise NotFound(f"there is no row of request {request_id}")
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


def _check_usage(usage: Usage) -> None:
    if not all(0 <= count <= MAX_COUNT for count in (usage.input, usage.output, usage.cached)):
        raise InvalidValue(f"token counts must be from 0 to {MAX_COUNT}")
    if usage.cached > usage.input:
        raise InvalidValue("cached: these tokens are a part of the input, and there cannot be more of them")


def _with_parts(usage: Usage, before: Usage) -> Usage:
    """The parts that a correction does not name stay as they were, as far as their side has room for them."""
    kinds = [kind for kind in TOKEN_KINDS if kind.is_part and kind.name != "cached"]
    parts = {kind.name: min(getattr(before, kind.name), getattr(usage, kind.side)) for kind in kinds}
    for kind in TOKEN_KINDS:  # parts of parts
        for name in kind.without:
            parts[name] = min(parts[name], parts.get(kind.name, usage.cached))
    others = {name: getattr(before, name) for name in (*CALL_COLUMNS.values(), TIME_COLUMN, "image_tool")}
    return msgspec.structs.replace(usage, **parts, **others)


def _difference(after: Usage, before: Usage) -> Usage:
    counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTS}
    drawn = (after.image_tool or _NOTHING, before.image_tool or _NOTHING)
    image_tool = None if drawn == (_NOTHING, _NOTHING) else _difference(*drawn)
    return Usage(**counts, image_tool=image_tool)
