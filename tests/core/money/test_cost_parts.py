"""The parts of a cost add up to it, to the last digit."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.money.bill import bill_parts, charge
from chatgpt_agent.core.money.exact import EXACT, exact_sum
from chatgpt_agent.core.money.pricing import NewPrice, Price
from chatgpt_agent.core.money.surcharges import NO_SURCHARGES, Surcharges
from chatgpt_agent.core.usage import Usage
from tests.support.prices import SERVICE_TIERS, amounts, new_prices, usages

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def stored(new: NewPrice) -> Price:
    return Price(id=1, model=new.model, effective_at=NOON, rates=new.rates, tiers=new.tiers)


@st.composite
def surcharges(draw: st.DrawFn) -> Surcharges:
    kinds = draw(st.lists(st.sampled_from(["multiplier", "web_search", "file_search"]), unique=True))
    return Surcharges(ids=dict.fromkeys(kinds, 1), amounts={kind: draw(amounts) for kind in kinds})


@given(usages(), new_prices(), st.sampled_from(SERVICE_TIERS), st.just(NO_SURCHARGES) | surcharges(), st.integers(0, 9))
def test_parts_add_up_to_the_cost(usage: Usage, new: NewPrice, tier: str | None, more: Surcharges, calls: int) -> None:
    """With tiers, factors of a host, calls of tools, and the tokens of a second model."""
    used = Usage(
        **{name: getattr(usage, name) for name in ("input", "output", "cached", "audio_input")},
        web_search_calls=calls,
        image_tool=Usage(input=calls, output=3) if calls % 2 else None,
    )
    price = stored(new)
    bill = charge(used, price, service_tier=tier, surcharges=more, image_price=price)
    parts = bill_parts(used, price, service_tier=tier, surcharges=more, image_price=price)
    assert exact_sum(part.amount for part in parts) == bill.cost
    for part in parts:
        if part.kind != "seconds":
            product = EXACT.multiply(EXACT.multiply(part.rate, part.count), part.multiplier)
            assert EXACT.multiply(part.amount, Decimal(part.unit)) == product


@given(usages(), new_prices())
def test_every_token_is_in_one_part(usage: Usage, new: NewPrice) -> None:
    """The counts of the parts are the input and output tokens."""
    parts = bill_parts(usage, stored(new))
    assert sum(part.count for part in parts) == Decimal(usage.input + usage.output)
