"""Tests of the syntax of tiers, and of amounts in full."""

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Tier, check_rates
from chatgpt_agent.core.money.tier_syntax import parse_tier, parse_tiers, show_tier, show_tiers
from tests.support.prices import amounts, tiers


@pytest.mark.parametrize(
    ("text", "tier"),
    [
        ("flex:x0.5", Tier(service_tier="flex", multiplier=Decimal("0.5"))),
        (" flex : x 0.50 ", Tier(service_tier="flex", multiplier=Decimal("0.5"))),
        ("batch:x0", Tier(service_tier="batch", multiplier=Decimal(0))),
        (
            "priority:input=4.25,output=17,cached-input=0.4",
            Tier(service_tier="priority", input=Decimal("4.25"), output=Decimal(17), cached_input=Decimal("0.4")),
        ),
        ("above=272000:input=5,output=22.5", Tier(above=272_000, input=Decimal(5), output=Decimal("22.5"))),
        ("above=272000,flex:x2", Tier(service_tier="flex", above=272_000, multiplier=Decimal(2))),
        ("flex,above=1:input=1,output=2", Tier(service_tier="flex", above=1, input=Decimal(1), output=Decimal(2))),
    ],
)
def test_tier_is_parsed(text: str, tier: Tier) -> None:
    """A tier is a service tier, a number of tokens or both, and then a multiplier or rates."""
    assert parse_tier(text, "--tier") == tier


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give WHEN:WHAT"),
        ("flex", "give WHEN:WHAT"),
        ("flex=0.5", "give WHEN:WHAT"),
        ("flex:", "give WHEN:WHAT"),
        (":x0.5", "'' is neither one service tier"),
        ("flex,priority:x1", "'priority' is neither one service tier"),
        ("above=1,above=2:x1", "'above=2' is neither"),
        ("below=1:x1", "'below=1' is neither"),
        ("above:x1", "above needs a number of tokens"),
        ("above=:x1", "above: '' is not a number of tokens"),
        ("above=0:x1", "above: '0' is not a number of tokens"),
        ("above=-1:x1", "above: '-1' is not"),
        ("above=1e3:x1", "above: '1e3' is not"),
        ("above=²:x1", "above: '²' is not"),
        ("above=1000000000001:x1", "above: '1000000000001' is not"),
        ("flex:x", "multiplier: '' is not a number"),
        ("flex:xhalf", "multiplier: 'half' is not a number"),
        ("flex:xnan", "flex, multiplier: NaN is not between"),
        ("flex:x1001", "flex, multiplier: 1001 is not between"),
        ("flex:0.5", "'0.5' is not KIND=USD, of input, output"),
        ("flex:input=1", "flex: both input and output must have a rate"),
        ("flex:input=1,output=1,input=2", "duplicate input"),
        ("flex:input=1,output=1,cached=2", "'cached=2' is not KIND=USD"),
        ("flex:input=1,output=free", "output: 'free' is not a number"),
        ("flex:input=1,output=-1", "output: -1 is not between"),
        ("default:x1", "default: 'default' cannot have its own price"),
        ("FLEX:x1", "FLEX: a service tier is one word"),
    ],
)
def test_invalid_part_is_named(text: str, message: str) -> None:
    """The error begins with the option and the text, and says which part is wrong."""
    with pytest.raises(InvalidValue) as caught:
        parse_tier(text, "--tier")
    start, _, rest = str(caught.value).partition(f"{text!r}: ")
    assert (start, rest[: len(message)]) == ("--tier ", message)


@given(tiers())
def test_shown_tiers_are_parsed_again(drawn: tuple[Tier, ...]) -> None:
    """All tiers of a price survive formatting and parsing in their order."""
    assert parse_tiers(show_tiers(drawn), "tier") == drawn
    assert all(parse_tier(show_tier(tier), "tier") == tier for tier in drawn)


@settings(max_examples=300)
@given(st.text(max_size=30) | st.from_regex(r"(flex|above=\d+)(,[a-z=0-9]+)?:(x|input=)[0-9.e,=a-z-]*"))
@example("0\r0:x0")
def test_any_text_is_a_valid_tier_or_rejected(text: str) -> None:
    """Parsing raises no other error, and its message is one line."""
    try:
        tier = parse_tier(text, "--tier")
    except InvalidValue as error:
        lines = str(error).splitlines()
    else:
        lines = [show_tier(tier)]
        check_rates(Rates(input=Decimal(1), output=Decimal(1)), [tier])
    assert len(lines) == 1


@given(amounts)
def test_amount_is_formatted_to_its_last_digit(amount: Decimal) -> None:
    """An amount has neither an exponent nor trailing zeros."""
    text = format_usd(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert not (text.endswith("0") and "." in text)
