"""Tests of prices: exact costs, and the price in force."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import RATE_NAMES, TOKEN_RATES, Rates
from chatgpt_agent.core.money.pricing import (
    MAX_PLACES,
    MAX_PRICE,
    NewPrice,
    Price,
    PriceBook,
    Tier,
    check_price,
    check_rates,
    fine_tuned_base,
    is_fine_tuned_base,
    parse_usd,
)
from chatgpt_agent.core.usage import MAX_COUNT, Usage
from tests.support.prices import SERVICE_TIERS, exact_cost, new_prices, usages

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

usd = st.integers(0, int(MAX_PRICE) * 10**MAX_PLACES).map(lambda parts: Decimal(parts).scaleb(-MAX_PLACES))
tokens = st.integers(0, MAX_COUNT)
moments = st.integers(-3, 3).map(lambda days: NOON + days * DAY)


def price(number: int, when: datetime = NOON, model: str = "gpt-6-sol", usd: str | None = "2.5") -> Price:
    """A price; `usd` None removes the model's."""
    return Price(
        id=number,
        model=model,
        effective_at=when,
        rates=Rates(input=Decimal(usd) if usd else None, output=Decimal(10) if usd else None),
    )


# Costs.


@settings(max_examples=200)
@given(usd, usd, st.none() | usd, tokens, tokens, tokens)
def test_cost_is_the_exact_product(
    given_input: Decimal, given_output: Decimal, cached_input: Decimal | None, inputs: int, cached: int, output: int
) -> None:
    """A cost is the exact sum of rates times tokens, with each token charged once."""
    cached = min(cached, inputs)
    cost = Price(
        id=1,
        model="m",
        effective_at=NOON,
        rates=Rates(input=given_input, output=given_output, cached_input=cached_input),
    ).cost(Usage(input=inputs, output=output, cached=cached))
    per_cached = Fraction(given_input if cached_input is None else cached_input)
    exact = Fraction(given_input) * (inputs - cached) + per_cached * cached + Fraction(given_output) * output
    assert Fraction(cost) == exact / 1_000_000


def test_cost_of_a_known_answer() -> None:
    """600 input, 400 cached and 500 output tokens at 2.50, 1.25 and 10 USD per million cost 0.007 USD."""
    priced = Price(
        id=1,
        model="gpt-6-sol",
        effective_at=NOON,
        rates=Rates(input=Decimal("2.50"), output=Decimal("10.00"), cached_input=Decimal("1.25")),
    )
    assert priced.cost(Usage(input=1000, output=500, cached=400)) == Decimal("0.007")


def test_cached_tokens_are_charged_once() -> None:
    """Cached tokens are a part of the input and have only their own rate."""
    cheap = Price(
        id=1, model="m", effective_at=NOON, rates=Rates(input=Decimal(8), output=Decimal(0), cached_input=Decimal(1))
    )
    assert cheap.cost(Usage(input=1_000_000, output=0, cached=1_000_000)) == 1


@pytest.mark.parametrize(("cached_input", "cost"), [(None, 8), (Decimal(0), 4)])
def test_missing_cached_rate_is_not_zero(cached_input: Decimal | None, cost: int) -> None:
    """Without a rate of their own cached tokens cost the input rate; a rate of zero makes them free."""
    half = Usage(input=1_000_000, output=0, cached=500_000)
    assert (
        Price(
            id=1,
            model="m",
            effective_at=NOON,
            rates=Rates(input=Decimal(8), output=Decimal(0), cached_input=cached_input),
        ).cost(half)
        == cost
    )


def test_reasoning_is_charged_as_output() -> None:
    """Reasoning tokens are charged as a part of the output, not on top of it."""
    assert price(1).cost(Usage(input=0, output=50, reasoning=40)) == price(1).cost(Usage(input=0, output=50))


def test_one_token_at_the_smallest_price_is_not_rounded_to_zero() -> None:
    """The smallest price for one token is kept to its last digit."""
    smallest = Price(id=1, model="m", effective_at=NOON, rates=Rates(input=Decimal("0.0000000001"), output=Decimal(0)))
    assert smallest.cost(Usage(input=1, output=0)) == Decimal("1E-16")


def test_dearest_answer_is_exact() -> None:
    """The largest counts at the longest price need 29 digits, none of which is rounded."""
    dear = Decimal("999999.9999999999")
    cost = Price(
        id=1, model="m", effective_at=NOON, rates=Rates(input=dear, output=dear, cached_input=Decimal("0.0000000001"))
    ).cost(Usage(input=10**12 - 1, output=10**12 - 1, cached=1))
    assert Fraction(cost) * 10**6 == Fraction(dear) * (2 * 10**12 - 3) + Fraction(1, 10**10)


def test_zero_tokens_cost_zero() -> None:
    """An answer of zero tokens costs zero."""
    assert price(1).cost(Usage(input=0, output=0)) == 0


# Every kind of token, and tiers.


def stored(new: NewPrice) -> Price:
    """Returns the price as the database would hold it."""
    return Price(id=1, model=new.model, effective_at=NOON, rates=new.rates, tiers=new.tiers)


@settings(max_examples=300)
@given(new_prices(), usages(), st.sampled_from(SERVICE_TIERS))
def test_cost_agrees_with_fractions(new: NewPrice, usage: Usage, service_tier: str | None) -> None:
    """The cost equals an independent computation with fractions, for all rates, tiers and parts."""
    check_price(new)
    assert Fraction(stored(new).cost(usage, service_tier)) == exact_cost(new, usage, service_tier)


def charged(usage: Usage, kind: str) -> int:
    """The tokens that are charged as of this kind: what they cost where no other costs anything."""
    rates = {each: Decimal(1_000_000 if each == kind else 0) for each in TOKEN_RATES}
    return int(stored(NewPrice("m", Rates(**rates))).cost(usage))


@settings(max_examples=200)
@given(usages())
def test_every_token_is_charged_once(usage: Usage) -> None:
    """The charged tokens of all rates add up to input and output, and no part is charged beyond its count."""
    counts = {kind: charged(usage, kind) for kind in TOKEN_RATES}
    outputs = counts["output"] + counts["audio_output"] + counts["image_output"]
    assert (sum(counts.values()) - outputs, outputs) == (usage.input, usage.output)
    assert counts["cached_input"] + counts["cached_audio"] + counts["cached_image"] == usage.cached
    assert all(counts[kind] <= getattr(usage, kind) for kind in TOKEN_RATES if kind != "cached_input")
    assert min(counts.values()) >= 0


@pytest.mark.parametrize(
    ("service_tier", "tokens", "cost"),
    [
        (None, 10, 10),
        ("default", 10, 10),
        ("auto", 10, 10),
        ("scale", 10, 10),
        ("flex", 10, 5),
        ("priority", 10, 30),
        ("flex", 11, 44),
        ("priority", 11, 55),
        ("default", 11, 44),
        (None, 11, 44),
    ],
)
def test_tier_depends_on_service_tier_and_input(service_tier: str | None, tokens: int, cost: int) -> None:
    """Service tier and input tokens choose the tier; without a match the price itself applies."""
    one = Decimal(1_000_000)
    tiers = (
        Tier(service_tier="flex", multiplier=Decimal("0.5")),
        Tier(service_tier="priority", input=3 * one, output=one),
        Tier(above=10, multiplier=Decimal(4)),
        Tier(service_tier="priority", above=10, input=5 * one, output=one),
    )
    assert (
        Price(id=1, model="m", effective_at=NOON, rates=Rates(input=one, output=one), tiers=tiers).cost(
            Usage(input=tokens, output=0), service_tier
        )
        == cost
    )


def test_long_request_is_charged_entirely_at_its_tier() -> None:
    """All tokens of a long request have the rates of its tier; at the limit itself it is not long yet."""
    long = Tier(above=200, input=Decimal(2_000_000), output=Decimal(3_000_000))
    price = Price(
        id=1,
        model="m",
        effective_at=NOON,
        rates=Rates(input=Decimal(1_000_000), output=Decimal(1_000_000)),
        tiers=(long,),
    )
    assert price.cost(Usage(input=200, output=10)) == 210
    assert price.cost(Usage(input=201, output=10)) == 432


def test_tier_with_own_rates_ignores_those_of_the_price() -> None:
    """A rate that the tier does not name is that of its own side."""
    flex = Tier(service_tier="flex", input=Decimal(3_000_000), output=Decimal(0))
    price = Price(
        id=1,
        model="m",
        effective_at=NOON,
        rates=Rates(input=Decimal(9), output=Decimal(9), cached_input=Decimal(0)),
        tiers=(flex,),
    )
    assert price.cost(Usage(input=2, output=0, cached=1), "flex") == 6


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        (Tier(service_tier="flex"), "flex: both input and output must have a rate"),
        (Tier(service_tier="flex", input=Decimal(1)), "flex: both input and output"),
        (Tier(service_tier="flex", multiplier=Decimal(1), audio_input=Decimal(1)), "flex: give a multiplier or rates"),
        (Tier(service_tier="flex", multiplier=Decimal("NaN")), "flex, multiplier: NaN is not between"),
        (Tier(service_tier="flex", multiplier=Decimal("0.0000001")), "flex, multiplier: .* decimal places"),
        (Tier(multiplier=Decimal(1)), "a tier: a tier needs a service tier"),
        (Tier(above=-1, multiplier=Decimal(1)), "above -1: above must be a count"),
        (Tier(above=10**13, multiplier=Decimal(1)), "above 10000000000000: above must be a count"),
        (Tier(service_tier="default", multiplier=Decimal(1)), "default: 'default' cannot have its own price"),
        (Tier(service_tier="auto", multiplier=Decimal(1)), "auto: 'auto' cannot have its own price"),
        (Tier(service_tier="Flex 2", multiplier=Decimal(1)), "Flex 2: a service tier is one word"),
        (Tier(service_tier="flex", input=Decimal("inf"), output=Decimal(1)), "flex, input: Infinity is not between"),
    ],
)
def test_incomplete_or_contradictory_tier_is_rejected(tier: Tier, message: str) -> None:
    """The error begins with the name of the tier."""
    with pytest.raises(InvalidValue, match=f"^{message}"):
        check_rates(Rates(input=Decimal(1), output=Decimal(1)), [tier])


@pytest.mark.parametrize("kind", RATE_NAMES)
@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-1", "1000001", "1e-11"])
def test_invalid_rate_is_rejected(kind: str, amount: str) -> None:
    """The error names the rate that is not an amount from 0 to the limit."""
    amounts = {"input": Decimal(1), "output": Decimal(1), kind: Decimal(amount)}
    with pytest.raises(InvalidValue, match=f"^the price, {kind}: "):
        check_rates(Rates(**amounts))


def test_duplicate_tier_is_rejected() -> None:
    """Two tiers for the same answers would be ambiguous."""
    tier = Tier(service_tier="flex", multiplier=Decimal(1))
    with pytest.raises(InvalidValue, match="duplicate tier"):
        check_rates(Rates(input=Decimal(1), output=Decimal(1)), [tier, tier])


# The price in force.


@pytest.mark.parametrize(
    ("when", "number"),
    [
        (NOON - timedelta(microseconds=1), None),
        (NOON, 1),
        (NOON + DAY - timedelta(microseconds=1), 1),
        (NOON + DAY, 2),
        (NOON + 2 * DAY, None),
        (NOON + 3 * DAY, 4),
        (NOON + 30 * DAY, 4),
    ],
)
def test_price_is_in_force_until_the_next_one(when: datetime, number: int | None) -> None:
    """A price is in force from its date to the next one; one without an input rate removes the model."""
    book = PriceBook([price(1), price(2, NOON + DAY), price(3, NOON + 2 * DAY, usd=None), price(4, NOON + 3 * DAY)])
    in_force = book.at("gpt-6-sol", when)
    assert (in_force.id if in_force else None) == number


@pytest.mark.parametrize(
    ("prices", "in_force"),
    [
        ([(1, NOON, NOON)], 1),
        ([(1, NOON, NOON), (2, NOON + DAY, NOON + DAY)], 2),
        ([(1, NOON, NOON), (2, NOON + 9 * DAY, NOON + DAY)], 1),
        ([(1, NOON + 9 * DAY, NOON)], None),
    ],
    ids=["one", "two", "and a later one", "only a later one"],
)
def test_clock_that_was_set_back_finds_the_price_of_the_last_known_time(
    prices: list[tuple[int, datetime, datetime]], in_force: int | None
) -> None:
    """Time is at least that at which the newest price of the model was made."""
    dated = [msgspec.structs.replace(price(n, when), created_at=made_at) for n, when, made_at in prices]
    result = PriceBook(dated, by_clock=True).at("gpt-6-sol", NOON - 3000 * DAY)
    assert (result.id if result else None) == in_force
    assert PriceBook(dated).at("gpt-6-sol", NOON - 3000 * DAY) is None


def test_clock_that_was_set_back_a_little_finds_the_price_of_then() -> None:
    """Only where the model has no price yet, another time than the clock's decides."""
    dated = [msgspec.structs.replace(price(n, NOON + n * DAY), created_at=NOON + n * DAY) for n in (1, 2)]
    book = PriceBook(dated, by_clock=True)
    assert book.at("gpt-6-sol", NOON + DAY) == dated[0]


def test_last_entered_price_of_a_date_wins() -> None:
    """The price that was entered last for a date is in force."""
    assert PriceBook([price(2), price(1)]).at("gpt-6-sol", NOON) == price(2)


def test_price_may_be_entered_for_the_past() -> None:
    """The date of a price decides, not the order of entry."""
    book = PriceBook([price(1, NOON), price(2, NOON - DAY)])
    assert book.at("gpt-6-sol", NOON) == price(1, NOON)
    assert book.at("gpt-6-sol", NOON - DAY) == price(2, NOON - DAY)


@given(st.lists(st.tuples(moments, st.sampled_from("ab"), st.sampled_from(["1", None]))), moments, st.data())
def test_order_of_prices_does_not_matter(
    entries: list[tuple[datetime, str, str | None]], when: datetime, data: st.DataObject
) -> None:
    """A book gives the same price in whatever order it was filled."""
    prices = [price(number, *entry) for number, entry in enumerate(entries)]
    book = PriceBook(data.draw(st.permutations(prices)))
    in_force = max(
        (one for one in prices if one.model == "a" and one.effective_at <= when),
        key=lambda one: (one.effective_at, one.id),
        default=None,
    )
    assert book.at("a", when) == (in_force if in_force and not in_force.is_removed else None)


def test_free_model_has_a_price() -> None:
    """A price of zero is a price, so the model may be requested."""
    assert PriceBook([price(1, usd="0")]).at("gpt-6-sol", NOON) == price(1, usd="0")


def test_models_are_those_with_a_price() -> None:
    """The list holds each model with a price in force once, by name."""
    book = PriceBook(
        [price(1, model="b"), price(2, model="a"), price(3, NOON + DAY, "c"), price(4, model="d", usd=None)]
    )
    assert [(one.model, one.id) for one in book.models(NOON)] == [("a", 2), ("b", 1)]
    assert PriceBook().models(NOON) == []


# The price of the served model.

REQUESTED = price(1)


@pytest.mark.parametrize(
    ("served", "number"),
    [
        (None, 1),
        ("gpt-6-sol", 1),
        ("gpt-6-sol-2026-09-15", 2),
        ("gpt-6-sol-2099-01-01", 1),
        ("GPT-6-sol-2024-08-06", 1),
        ("old", 1),
    ],
)
def test_served_model_is_charged_at_its_own_price(served: str | None, number: int) -> None:
    """A served model without a price in force is charged at the price of the requested model."""
    removed = [price(3, NOON - DAY, "old"), price(4, NOON, "old", usd=None)]
    book = PriceBook([REQUESTED, price(2, model="gpt-6-sol-2026-09-15", usd="9"), *removed])
    assert book.charged(REQUESTED, served, NOON).id == number


def test_price_of_dispatch_is_pinned() -> None:
    """A request that was served by its model is charged the price at which it was admitted."""
    book = PriceBook([REQUESTED, price(2, NOON + DAY)])
    assert book.charged(REQUESTED, "gpt-6-sol", NOON + DAY) is REQUESTED


def test_free_served_model_is_free() -> None:
    """A served model with a price of zero costs zero, whatever the requested model costs."""
    book = PriceBook([REQUESTED, price(2, model="free", usd="0")])
    assert book.charged(REQUESTED, "free", NOON).id == 2


# Fine-tuned models.

TUNED = "ft:gpt-6-sol:acme::7p4lURel"


@pytest.mark.parametrize(
    ("model", "base"),
    [
        (TUNED, "ft:gpt-6-sol"),
        ("ft:gpt-6-luna-2026-09-15:acme:support:a1:ckpt-step-100", "ft:gpt-6-luna-2026-09-15"),
        ("ft:gpt-6-sol:", "ft:gpt-6-sol"),
        ("ft:gpt-6-sol", None),
        ("ft::acme", None),
        ("ft:", None),
        ("gpt-6-sol", None),
        ("FT:gpt-6-sol:acme", None),
        ("xft:gpt-6-sol:acme", None),
        ("gpt-6-sol:free:beta", None),
    ],
)
def test_base_of_a_fine_tuned_model(model: str, base: str | None) -> None:
    """The base of a fine-tuned model is all up to the second colon of its name."""
    assert fine_tuned_base(model) == base
    assert is_fine_tuned_base(model) is (model == "ft:gpt-6-sol")


def test_fine_tuned_model_has_the_price_of_its_base() -> None:
    """A fine-tuned model has the price of its base until one of its own takes effect, and none once that is removed."""
    own = [price(2, NOON + DAY, TUNED), price(3, NOON + 2 * DAY, TUNED, usd=None)]
    book = PriceBook([price(1, model="ft:gpt-6-sol"), price(9), *own])
    at = [book.at(TUNED, NOON + day * DAY) for day in (-1, 0, 1, 2)]
    assert [each and each.id for each in at] == [None, 1, 2, None]
    assert book.at("ft:gpt-6-luna:acme::x", NOON) is None
    assert [listed.model for listed in book.models(NOON)] == ["ft:gpt-6-sol", "gpt-6-sol"]


def test_removed_price_of_the_base_is_none() -> None:
    """A fine-tuned model has no price if that of its base is removed."""
    book = PriceBook([price(1, model="ft:gpt-6-sol"), price(2, NOON + DAY, "ft:gpt-6-sol", usd=None)])
    assert book.at(TUNED, NOON + DAY) is None


@pytest.mark.parametrize(
    ("requested", "served", "number"),
    [
        (TUNED, TUNED, 1),
        (TUNED, "ft:gpt-6-sol-2026-09-15:acme::7p4lURel", 2),
        (TUNED, "ft:gpt-6-luna:acme::7p4lURel", 1),
        ("ft:gpt-6-sol:own", "ft:gpt-6-sol-2026-09-15:own", 3),
        ("ft:gpt-6-sol:own", TUNED, 3),
        ("gpt-6-sol", TUNED, 4),
    ],
)
def test_served_fine_tuned_model_is_charged(requested: str, served: str, number: int) -> None:
    """The price of the served model's base is charged only where the requested one has that of its base, too."""
    names = ("ft:gpt-6-sol", "ft:gpt-6-sol-2026-09-15", "ft:gpt-6-sol:own", "gpt-6-sol")
    book = PriceBook([price(id_, model=name) for id_, name in enumerate(names, 1)])
    at_request = book.at(requested, NOON)
    assert at_request is not None
    assert book.charged(at_request, served, NOON).id == number


# Prices as text.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2.50", "2.5"),
        (" 0 ", "0"),
        ("1e3", "1000"),
        ("0.0000000001", "1e-10"),
        ("1000000", "1e6"),
        ("1." + "0" * 40, "1"),
    ],
)
def test_price_is_parsed(text: str, value: str) -> None:
    """A price is a decimal number from 0 to the limit with up to ten significant places."""
    assert parse_usd(text, "input") == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "free",
        "$2.50",
        "2,50",
        "-1",
        "-0.01",
        "nan",
        "sNaN",
        "inf",
        "-Infinity",
        "1000000.0000000001",
        "1e7",
        "1e999999999",
        "0.00000000001",
        "2.50000000000000000000000000000001",
        "1e-9999999",
    ],
)
def test_invalid_price_is_rejected_with_its_field(text: str) -> None:
    """A text that is not a number, out of range or too precise is rejected."""
    with pytest.raises(InvalidValue, match=r"^output: "):
        parse_usd(text, "output")


@settings(max_examples=300)
@given(st.decimals().map(str) | st.text(max_size=5))
def test_parsed_price_can_be_charged(text: str) -> None:
    """Every price that is accepted is in range, has at most ten places, and charges any usage exactly."""
    try:
        value = parse_usd(text, "input")
    except InvalidValue:
        return
    assert 0 <= value <= MAX_PRICE
    assert (Fraction(value) * 10**MAX_PLACES).denominator == 1
    assert (
        Price(id=1, model="m", effective_at=NOON, rates=Rates(input=value, output=value)).cost(
            Usage(input=MAX_COUNT, output=MAX_COUNT)
        )
        == value * 2_000_000
    )
