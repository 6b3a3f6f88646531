"""The proof of a row: how its cost comes about, part by part, and what corrected it."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.corrections import CorrectableRow, read_correctable_row
from chatgpt_agent.adapters.postgres.usage_rows import UsageRow, list_rows, row_details
from chatgpt_agent.admin.archives import missing_row
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.bill import bill_parts
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.pricing import CostPart

__all__ = ["CostPart", "Proofs", "RowProof"]


class RowProof(msgspec.Struct, frozen=True, kw_only=True):
    """A row, and how its cost comes about. `parts` add up to the cost if `adds_up`; there are none where the tokens or
    the price are not known. `price_id`, `price_since`: the version of the price; `openai_request_id`: OpenAI's id of
    the exchange; durations in milliseconds. `correction`: the row that corrects this one."""

    row: UsageRow
    parts: list[CostPart]
    adds_up: bool
    price_id: int | None
    price_since: datetime | None
    openai_request_id: str | None
    duration_ms: int | None
    first_byte_ms: int | None
    correction: UsageRow | None

    @property
    def total(self) -> Decimal:
        """The sum of the parts, in USD."""
        return exact_sum(part.amount for part in self.parts)

    @property
    def corrected_cost(self) -> Decimal:
        """What the request costs with its correction, in USD."""
        return exact_sum([self.row.cost, *([] if self.correction is None else [self.correction.cost])])


class Proofs:
    """The use case. It changes nothing."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def prove(self, request_id: UUID) -> RowProof:
        """Returns the proof of a row. Raises NotFound."""
        stored = await read_correctable_row(self._store, request_id)
        if stored is None:
            raise await missing_row(self._store, request_id)
        [row] = await list_rows(self._store, request_id=request_id, limit=1)
        details = await row_details(self._store, request_id)
        parts = [] if row.state in (State.CORRECTION, State.IMPORTED) else _parts(stored)
        return RowProof(
            row=row,
            parts=parts,
            adds_up=bool(parts) and exact_sum(part.amount for part in parts) == row.cost,
            price_id=None if stored.price is None else stored.price.id,
            price_since=None if stored.price is None else stored.price.effective_at,
            openai_request_id=details.upstream_request_id,
            duration_ms=details.duration_ms,
            first_byte_ms=details.first_byte_ms,
            correction=await self._correction(stored.corrected_by),
        )

    async def _correction(self, request_id: UUID | None) -> UsageRow | None:
        if request_id is None:
            return None
        rows = await list_rows(self._store, request_id=request_id, limit=1)
        return rows[0] if rows else None


def _parts(stored: CorrectableRow) -> list[CostPart]:
    if stored.usage is None or stored.price is None:
        return []
    return bill_parts(
        stored.usage,
        stored.price,
        service_tier=stored.service_tier,
        surcharges=stored.surcharges,
        image_price=stored.image_price,
    )
