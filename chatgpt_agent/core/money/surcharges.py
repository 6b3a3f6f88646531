"""What OpenAI charges beside the tokens and the time of a model: calls of its tools, and a factor on some hosts.

A surcharge is in force from a date on, until another one of the same kind, host and model is. Amounts are USD per call,
session or search, or the factor. Sources: https://developers.openai.com/api/docs/pricing (built-in tools, regional
processing).
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import EXACT, ZERO
from chatgpt_agent.core.money.kinds import CALL_COLUMNS
from chatgpt_agent.core.names import MAX_NAME, is_printable

MULTIPLIER = "multiplier"
SURCHARGE_KINDS = (*CALL_COLUMNS, MULTIPLIER)
MAX_AMOUNT = Decimal(1000)  # USD per call, or a factor
MAX_PLACES = 10
MAX_DIGITS = 40  # of an amount that is computed with
NONE = "none"  # instead of an amount: the surcharge ends

ONE = Decimal(1)


class NewSurcharge(msgspec.Struct, frozen=True, kw_only=True):
    """A surcharge to be set. `host`: for a multiplier, that of the upstream, such as `eu.api.openai.com`; `model`
    empty: of every model that has none of its own; `amount` None: it ends; `effective_at` None: now."""

    kind: str
    amount: Decimal | None
    host: str = ""
    model: str = ""
    effective_at: datetime | None = None

    @property
    def scope(self) -> tuple[str, str, str]:
        """What it is for: another one for the same replaces it."""
        return (self.kind, self.host, self.model)


class Surcharge(NewSurcharge, frozen=True, kw_only=True):
    """A surcharge as it is stored. `cancelled_at`: it was cancelled before it was in force, and never is."""

    id: int
    effective_at: datetime
    created_at: datetime | None = None
    cancelled_at: datetime | None = None


class Surcharges(msgspec.Struct, frozen=True, kw_only=True):
    """The surcharges that apply to a request, by kind: their ids and amounts. A kind without one has no amount."""

    ids: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}

    @property
    def multiplier(self) -> Decimal:
        """The factor for tokens and time."""
        return self.amounts.get(MULTIPLIER, ONE)

    @property
    def multiplier_ids(self) -> tuple[int, ...]:
        """The id of the multiplier, if there is one."""
        return (self.ids[MULTIPLIER],) if MULTIPLIER in self.ids else ()


NO_SURCHARGES = Surcharges()


class SurchargeBook:
    """An immutable snapshot of all surcharges for one upstream host."""

    def __init__(self, surcharges: Iterable[Surcharge] = (), host: str = "") -> None:
        self._history: dict[tuple[str, str], list[Surcharge]] = {}  # by kind and model
        for surcharge in sorted(surcharges, key=lambda surcharge: (surcharge.effective_at, surcharge.id)):
            if surcharge.cancelled_at is None and surcharge.host in ("", host):
                self._history.setdefault((surcharge.kind, surcharge.model), []).append(surcharge)

    def at(self, model: str, when: datetime) -> Surcharges:
        """Returns the surcharges on a model that are in force at a moment."""
        if not self._history:
            return NO_SURCHARGES
        ids: dict[str, int] = {}
        amounts: dict[str, Decimal] = {}
        for kind in SURCHARGE_KINDS:
            surcharge = self._newest((kind, model), when) or self._newest((kind, ""), when)
            if surcharge is not None and surcharge.amount is not None:
                ids[kind], amounts[kind] = surcharge.id, surcharge.amount
        return Surcharges(ids=ids, amounts=amounts) if ids else NO_SURCHARGES

    def _newest(self, key: tuple[str, str], when: datetime) -> Surcharge | None:
        for surcharge in reversed(self._history.get(key, ())):
            if surcharge.effective_at <= when:
                return surcharge
        return None


def check_surcharge(new: NewSurcharge) -> None:
    """Raises InvalidValue if this cannot be set as a surcharge."""
    if new.kind not in SURCHARGE_KINDS:
        raise InvalidValue(f"kind: {new.kind[:40]!r} is not one of {', '.join(SURCHARGE_KINDS)}")
    if (new.kind == MULTIPLIER) != bool(new.host):
        raise InvalidValue("host: a multiplier needs the host of the upstream, and no other surcharge has one")
    for name, text in (("host", new.host), ("model", new.model)):
        if text and not is_printable(text):
            raise InvalidValue(f"{name}: give 1 to {MAX_NAME} printable characters")
    if new.amount is not None:
        exponent = new.amount.as_tuple().exponent
        least = ONE if new.kind == MULTIPLIER else ZERO
        if not isinstance(exponent, int) or not least <= new.amount <= MAX_AMOUNT or exponent < -MAX_PLACES:
            raise InvalidValue(
                f"amount: {str(new.amount)[:40]} is not between {least} and {MAX_AMOUNT}, with at most {MAX_PLACES} "
                "decimal places"
            )


def parse_amount(text: str, name: str, *, per_1000: bool) -> Decimal | None:
    """Returns what an administrator has typed: USD per call, also of 1,000 calls, or a factor; None: it ends. Raises
    InvalidValue."""
    if text.strip() == NONE:
        return None
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        raise InvalidValue(f"{name}: {text[:40]!r} is not an amount, such as 0.01; `{NONE}` ends a surcharge")
    return EXACT.scaleb(value, -3) if per_1000 else value
