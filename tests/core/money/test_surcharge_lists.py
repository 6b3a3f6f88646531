"""Tests of surcharges in lists: in force, to come, and the difference between a list and the stored ones."""

from datetime import timedelta
from decimal import Decimal

import msgspec

from chatgpt_agent.core.money.surcharge_lists import surcharge_difference, surcharges_in_force, surcharges_to_come
from chatgpt_agent.core.money.surcharges import NewSurcharge, Surcharge
from tests.support.factories import NOON

DAY = timedelta(days=1)
CENT, TWO = Decimal("0.01"), Decimal("0.02")
SEARCH = NewSurcharge(kind="web_search", amount=CENT, model="m")


def stored(
    id: int,
    amount: Decimal | None = CENT,
    *,
    days: int = -1,
    model: str = "m",
    kind: str = "web_search",
    host: str = "",
) -> Surcharge:
    """Returns a stored surcharge that takes effect some days from noon."""
    return Surcharge(id=id, kind=kind, amount=amount, host=host, model=model, effective_at=NOON + days * DAY)


def test_same_amount_is_unchanged() -> None:
    """The model may be every model."""
    for model in ("m", ""):
        difference = surcharge_difference([stored(1, model=model)], [SEARCH], NOON)
        assert (difference.changes, difference.unchanged) == ([], 1)


def test_other_amount_is_a_change() -> None:
    """Without one before it is new; an ended one counts as none, also where every model has one."""
    for current, kind, before in (
        ([], "new", None),
        ([stored(1, TWO)], "changed", TWO),
        ([stored(1, None), stored(2, model="")], "new", None),
        ([stored(1, model="other")], "new", None),
    ):
        [change] = surcharge_difference(current, [SEARCH], NOON).changes
        assert (change.kind, change.before, change.new.effective_at) == (kind, before, NOON)


def test_change_is_compared_on_its_date() -> None:
    """A surcharge to come is in force by then."""
    current = [stored(1, TWO), stored(2, CENT, days=2)]
    later = msgspec.structs.replace(SEARCH, effective_at=NOON + 3 * DAY)
    assert surcharge_difference(current, [later], NOON).unchanged == 1
    assert surcharge_difference(current, [SEARCH], NOON).unchanged == 0


def test_factor_of_another_host_does_not_count() -> None:
    """Each host has its own."""
    factor = NewSurcharge(kind="multiplier", amount=Decimal("1.1"), host="eu", model="m")
    for host, unchanged in (("eu", 1), ("us", 0)):
        current = [stored(1, Decimal("1.1"), kind="multiplier", host=host)]
        assert surcharge_difference(current, [factor], NOON).unchanged == unchanged


def test_newest_surcharge_of_each_scope_is_in_force() -> None:
    """Neither those that were cancelled, nor those that ended, nor those of a later date."""
    cancelled = msgspec.structs.replace(stored(3, TWO), cancelled_at=NOON)
    history = [
        stored(1), stored(2, TWO, days=0), cancelled, stored(4, days=1), stored(5, model="n"),
        stored(6, None, model="n"), stored(7, model=""),
    ]  # fmt: skip
    assert [surcharge.id for surcharge in surcharges_in_force(history, NOON)] == [7, 2]


def test_surcharges_to_come_include_ends() -> None:
    """The last one of a date counts."""
    history = [stored(1), stored(2, days=2), stored(3, TWO, days=2), stored(4, None, days=1)]
    assert [surcharge.id for surcharge in surcharges_to_come(history, NOON)] == [4, 3]
