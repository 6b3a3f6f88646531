"""Surcharges: set, list, cancel. As a price, one is never changed: another one supersedes it from a date on."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres import surcharges
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.prices import priced_models
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_similar
from chatgpt_agent.core.errors import Conflict, NotFound
from chatgpt_agent.core.likely import check_likely_model
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.pricing import check_model
from chatgpt_agent.core.money.surcharge_lists import surcharges_in_force, surcharges_to_come
from chatgpt_agent.core.money.surcharges import MULTIPLIER, NewSurcharge, Surcharge, check_surcharge


class SurchargeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A surcharge: USD per call of a tool, or the factor of a host for tokens and time. `host` empty: not a factor;
    `model` empty: of every model without one of its own; `amount` null: none from this date on. `cancelled_at`: when it
    was cancelled, before it was in force."""

    id: int
    kind: str
    host: str
    model: str
    amount: Usd | None
    effective_at: datetime
    cancelled_at: datetime | None


def surcharge_record(surcharge: Surcharge) -> SurchargeRecord:
    """A surcharge as commands and REST write it in JSON."""
    return SurchargeRecord(
        id=surcharge.id,
        kind=surcharge.kind,
        host=surcharge.host,
        model=surcharge.model,
        amount=surcharge.amount,
        effective_at=surcharge.effective_at.astimezone(UTC),
        cancelled_at=surcharge.cancelled_at and surcharge.cancelled_at.astimezone(UTC),
    )


class SurchargeAdmin:
    """Use cases on surcharges. `host`: that of the upstream, for which a factor is unless another one is named."""

    def __init__(self, store: AnyStore, *, host: str = "", warn: Warn = no_warning) -> None:
        self._store = store
        self._host = host
        self._warn = warn

    async def history(self) -> list[Surcharge]:
        """Lists every surcharge that was ever set, by kind, host, model and date."""
        return await surcharges.list_surcharges(self._store)

    async def in_force(self) -> list[Surcharge]:
        """Lists the surcharges that are in force now."""
        return surcharges_in_force(await self.history(), _now())

    async def upcoming(self) -> list[Surcharge]:
        """Lists the surcharges, and the ends of surcharges, of later dates."""
        return surcharges_to_come(await self.history(), _now())

    async def set(
        self,
        kind: str,
        amount: Decimal | None,
        *,
        host: str | None = None,
        model: str = "",
        since: datetime | None = None,
    ) -> Surcharge:
        """Sets a surcharge, from now or from a date on; without an amount it ends. Raises InvalidValue."""
        if kind == MULTIPLIER and host is None:
            host = self._host
        if model:
            check_model(model)
            check_likely_model(model)
        if since is not None:
            check_moment("effective_at", since)
        new = NewSurcharge(kind=kind, amount=amount, host=host or "", model=model, effective_at=since)
        check_surcharge(new)
        [added] = await surcharges.add_surcharges(self._store, [new], now=_now())
        if model:
            await self._warn_of(model)
        return added

    async def cancel(self, id: int) -> Surcharge:
        """Cancels a surcharge of a later date, which then never takes effect. Raises NotFound, Conflict."""
        cancelled = await surcharges.cancel_surcharge(self._store, id, _now())
        if cancelled is not None:
            return cancelled
        for surcharge in await self.history():
            if surcharge.id == id and surcharge.cancelled_at is not None:
                raise Conflict(f"surcharge {id} is cancelled already")
            if surcharge.id == id:
                raise Conflict(
                    f"surcharge {id} took effect at {surcharge.effective_at:%Y-%m-%d %H:%M:%S} UTC, so it cannot be "
                    "cancelled: set another one, or end it"
                )
        raise NotFound(f"there is no surcharge {id}")

    async def _warn_of(self, model: str) -> None:
        priced = await priced_models(self._store)
        if model not in priced:
            self._warn(f"the model {model!r} has no price")
        warn_of_similar("another model", priced, [model], self._warn)


def _now() -> datetime:
    return datetime.now(UTC)
