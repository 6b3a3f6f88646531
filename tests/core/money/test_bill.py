"""The whole cost of a request: tokens, time, the image tool, the host's factor, calls."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.bill import CALL_MULTIPLIER, NO_PRICE, SEARCH_UNREPORTED, Bill, charge
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, time_cost
from chatgpt_agent.core.money.surcharges import (
    NO_SURCHARGES,
    NewSurcharge,
    Surcharge,
    SurchargeBook,
    Surcharges,
    check_surcharge,
)
from chatgpt_agent.core.usage import CACHED_KIND, CALLS_UNKNOWN, IMAGE_CACHE, IMAGE_UNKNOWN, SESSION_TIME, Usage

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MILLION = 1_000_000


def price(id: int = 1, model: str = "m", /, **rates: str) -> Price:
    texts = {"input": "2", "output": "10", **rates}
    return Price(
        id=id, model=model, effective_at=NOON, rates=Rates(**{name: Decimal(text) for name, text in texts.items()})
    )


def used(**counts: Any) -> Usage:
    return Usage(**{"input": 0, "output": 0, **counts})


def surcharges(**amounts: str) -> Surcharges:
    """Surcharges with the ids 1, 2, … in the order of their names."""
    names = sorted(amounts)
    return Surcharges(
        ids={name: number for number, name in enumerate(names, 1)},
        amounts={name: Decimal(amounts[name]) for name in names},
    )


CALLS = surcharges(web_search="0.01", file_search="0.0025", code_interpreter="0.03")


def test_calls_cost_their_amounts() -> None:
    """USD per call, beside the tokens; the row names the surcharges that it was charged."""
    usage = used(input=MILLION, web_search_calls=3, file_search_calls=2)
    assert charge(usage, price(), surcharges=CALLS) == Bill(cost=Decimal("2.035"), surcharge_ids=(2, 3))


def test_multiplier_is_for_tokens_and_time() -> None:
    """Whether OpenAI's factor applies to calls is not known: by so much the cost may be higher."""
    amounts = surcharges(multiplier="1.1", web_search="0.01")
    assert charge(used(input=MILLION), price(), surcharges=amounts) == Bill(cost=Decimal("2.2"), surcharge_ids=(1,))
    assert charge(used(input=MILLION, web_search_calls=10), price(), surcharges=amounts) == Bill(
        cost=Decimal("2.3"),
        surcharge_ids=(1, 2),
        uncertain_cost=Decimal("0.01"),
        uncertain_reason=CALL_MULTIPLIER,
    )


@pytest.mark.parametrize(
    ("seconds", "minute", "usd"),
    [
        ("60", "0.0045", "0.0045"),
        ("1", "0.0045", "0.000075"),
        ("12.5", "0.006", "0.00125"),
        ("1", "0.005", "0.000083333333333"),
        ("2", "0.005", "0.000166666666667"),
        ("0.000000001", "0.000000003", "0"),
        ("0", "1", "0"),
    ],
)
def test_time_costs_its_part_of_a_minute(seconds: str, minute: str, usd: str) -> None:
    """It is rounded half up to 15 decimal places, the one cost that may have no end."""
    assert time_cost(Decimal(seconds), Decimal(minute)) == Decimal(usd)
    usage = used(seconds=Decimal(seconds))
    assert charge(usage, price(input="0", output="0", minute=minute)) == Bill(cost=Decimal(usd))


def test_image_tool_costs_what_its_model_costs() -> None:
    """Its tokens have the price of the model that drew."""
    drawn = used(input=MILLION, image_input=400_000, cached=200_000, cached_image=100_000, output=MILLION)
    usage = used(input=MILLION, image_tool=drawn)
    draws = price(2, "image", input="5", image_input="8", cached_input="1.25", cached_image="2", output="30")
    # 400,000 text at 5, 100,000 cached text, 300,000 images at 8, 100,000 cached images, and the output.
    usd = Decimal("2") + Decimal("2.5") + Decimal("0.125") + Decimal("2.4") + Decimal("0.2") + Decimal("30")
    assert charge(usage, price(), image_price=draws) == Bill(cost=usd)


@pytest.mark.parametrize(
    ("usage", "rates", "cost"),
    [
        (used(input=MILLION, web_search_calls=1), {}, "2"),
        (used(seconds=Decimal(60)), {}, "0"),
        (used(input=MILLION, output=0), {"input": "0", "output": "0", "minute": "0.0045"}, "0"),
        (used(input=MILLION, image_tool=used(input=1)), {}, "2"),
        (used(input=MILLION, cache_write=1, cache_write_12h=1), {"cache_write": "2"}, "2"),
    ],
)
def test_what_has_no_price_is_uncertain(usage: Usage, rates: dict[str, str], cost: str) -> None:
    """A count without a price is not silently free: the row may have cost all that was reserved."""
    bill = charge(usage, price(**rates), max_cost=Decimal(50))
    assert (bill.cost, bill.uncertain_cost, bill.uncertain_reason) == (Decimal(cost), 50 - Decimal(cost), NO_PRICE)


def test_unknown_kinds_of_cached_tokens_are_uncertain() -> None:
    """Cached text is assumed; the cost may be as high as with any other kinds."""
    usage = used(input=MILLION, cached=500_000, audio_input=500_000, uncertain_reason=CACHED_KIND)
    dear = price(cached_input="1", audio_input="10", cached_audio="3")
    # 500,000 cached text at 1 and audio at 10; or cached audio at 3 and text at 2.
    assert charge(usage, dear) == Bill(cost=Decimal("5.5"), uncertain_reason=CACHED_KIND)
    dear = price(cached_input="0.1", audio_input="10", cached_audio="9")
    bill = charge(usage, dear)
    assert (bill.cost, bill.uncertain_cost) == (Decimal("5.05"), Decimal("0.45"))
    same = price(cached_input="1", audio_input="2", cached_audio="1")
    assert charge(usage, same).uncertain_reason is None


@pytest.mark.parametrize("reason", [CALLS_UNKNOWN, IMAGE_UNKNOWN])
def test_unknown_calls_may_cost_what_was_reserved(reason: str) -> None:
    """What OpenAI does not report may have cost the rest."""
    bill = charge(used(input=MILLION, uncertain_reason=reason), price(), max_cost=Decimal(3))
    assert bill == Bill(cost=Decimal(2), uncertain_cost=Decimal(1), uncertain_reason=reason)


def test_sessions_are_charged_whole() -> None:
    """OpenAI charges their minutes, which it does not report, and at most this."""
    bill = charge(used(code_interpreter_sessions=2, uncertain_reason=SESSION_TIME), price(), surcharges=CALLS)
    assert (bill.cost, bill.uncertain_cost, bill.uncertain_reason) == (Decimal("0.06"), 0, SESSION_TIME)


def test_unreported_cache_of_the_image_tool_may_make_it_cheaper() -> None:
    """It is charged without the cache, unless cached tokens have no rate of their own."""
    usage = used(image_tool=used(input=MILLION, uncertain_reason=IMAGE_CACHE))
    bill = charge(usage, price(), image_price=price(2, "image", cached_input="0.5"))
    assert (bill.cost, bill.uncertain_cost, bill.uncertain_reason) == (2, 0, IMAGE_CACHE)
    assert charge(usage, price(), image_price=price(2, "image")).uncertain_reason is None


def test_unreported_search_may_cost_a_call() -> None:
    """Chat completions do not report their searches."""
    bill = charge(used(input=MILLION), price(), surcharges=CALLS, unreported_search=True)
    assert (bill.cost, bill.uncertain_cost, bill.uncertain_reason) == (2, Decimal("0.01"), SEARCH_UNREPORTED)


# Surcharges in force.


def surcharge(id: int, kind: str, amount: str | None, when: datetime = NOON, **more: Any) -> Surcharge:
    return Surcharge(id=id, kind=kind, amount=None if amount is None else Decimal(amount), effective_at=when, **more)


def test_a_models_own_surcharge_goes_before_that_of_all() -> None:
    """The model has none where its own has ended."""
    book = SurchargeBook(
        [
            surcharge(1, "web_search", "0.01"),
            surcharge(2, "web_search", "0.025", model="search"),
            surcharge(3, "web_search", None, model="free"),
        ]
    )
    assert book.at("m", NOON).amounts == {"web_search": Decimal("0.01")}
    assert book.at("search", NOON).ids == {"web_search": 2}
    assert book.at("free", NOON) is NO_SURCHARGES


def test_surcharges_are_in_force_from_their_date_on() -> None:
    """A later one replaces it, a cancelled one never does."""
    book = SurchargeBook(
        [
            surcharge(1, "file_search", "1"),
            surcharge(2, "file_search", "2", NOON + DAY),
            surcharge(3, "file_search", "3", NOON + 2 * DAY, cancelled_at=NOON),
        ]
    )
    assert book.at("m", NOON - DAY) is NO_SURCHARGES
    assert [book.at("m", NOON + days * DAY).ids["file_search"] for days in range(3)] == [1, 2, 2]


def test_a_multiplier_is_for_one_host() -> None:
    """That of another host does not count."""
    all_hosts = [surcharge(1, "multiplier", "1.1", host="eu.api.openai.com")]
    assert SurchargeBook(all_hosts, "eu.api.openai.com").at("m", NOON).multiplier == Decimal("1.1")
    assert SurchargeBook(all_hosts, "api.openai.com").at("m", NOON).multiplier == 1


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (NewSurcharge(kind="tax", amount=Decimal(1)), "^kind: 'tax' is not one of "),
        (NewSurcharge(kind="multiplier", amount=Decimal(2)), "^host: "),
        (NewSurcharge(kind="web_search", amount=Decimal(1), host="x"), "^host: "),
        (NewSurcharge(kind="multiplier", amount=Decimal("0.9"), host="x"), "^amount: 0.9 is not between 1 and"),
        (NewSurcharge(kind="web_search", amount=Decimal("-1")), "^amount: -1 is not between 0 and"),
        (NewSurcharge(kind="web_search", amount=Decimal("nan")), "^amount: NaN is not"),
        (NewSurcharge(kind="web_search", amount=Decimal("1e-11")), "at most 10 decimal places"),
        (NewSurcharge(kind="web_search", amount=Decimal(1), model="\x00"), "^model: "),
    ],
)
def test_impossible_surcharge_is_refused(new: NewSurcharge, message: str) -> None:
    """The error begins with the field."""
    with pytest.raises(InvalidValue, match=message):
        check_surcharge(new)
