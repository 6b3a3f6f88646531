"""Surcharges in lists: those in force, those to come, and the difference between a list and the stored ones."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.core.money.surcharges import NewSurcharge, Surcharge, SurchargeBook


class SurchargeChange(msgspec.Struct, frozen=True):
    """A surcharge that a list would set, with its date, and the amount in force until then, which may be that for every
    model; None: none."""

    new: NewSurcharge
    before: Decimal | None

    @property
    def kind(self) -> str:
        """`new` or `changed`."""
        return "new" if self.before is None else "changed"


class SurchargeDifference(msgspec.Struct, frozen=True):
    """The changes that a list would make, and how many of its surcharges are in force already."""

    changes: list[SurchargeChange] = []
    unchanged: int = 0


def surcharge_difference(
    surcharges: Iterable[Surcharge], listed: Iterable[NewSurcharge], now: datetime
) -> SurchargeDifference:
    """Returns the changes with which each listed surcharge is in force from its date on. One for every model counts as
    that of a model."""
    current = list(surcharges)
    books: dict[str, SurchargeBook] = {}
    changes: list[SurchargeChange] = []
    unchanged = 0
    for new in listed:
        when = new.effective_at or now
        book = books.setdefault(new.host, SurchargeBook(current, new.host))
        before = book.at(new.model, when).amounts.get(new.kind)
        if before == new.amount:
            unchanged += 1
        else:
            changes.append(SurchargeChange(msgspec.structs.replace(new, effective_at=when), before))
    return SurchargeDifference(changes, unchanged)


def surcharges_in_force(surcharges: Iterable[Surcharge], now: datetime) -> list[Surcharge]:
    """Returns the surcharges that are in force at a moment, by kind, host and model."""
    lasting = (each for each in surcharges if each.cancelled_at is None and each.effective_at <= now)
    newest = {each.scope: each for each in sorted(lasting, key=lambda each: (each.effective_at, each.id))}
    return [newest[scope] for scope in sorted(newest) if newest[scope].amount is not None]


def surcharges_to_come(surcharges: Iterable[Surcharge], now: datetime) -> list[Surcharge]:
    """Returns the surcharges, and the ends of surcharges, that take effect after a moment, in this order."""
    later = (each for each in surcharges if each.cancelled_at is None and each.effective_at > now)
    newest = {(each.scope, each.effective_at): each for each in sorted(later, key=lambda each: each.id)}
    return sorted(newest.values(), key=lambda each: (each.scope, each.effective_at))
