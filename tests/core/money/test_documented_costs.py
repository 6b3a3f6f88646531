"""The worked examples of docs/prices.md: the formula of each gives its figure, and so does the program."""

import ast
import re
import shlex
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chatgpt_agent.core.money.bill import charge
from chatgpt_agent.core.money.kinds import RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import Price, time_cost
from chatgpt_agent.core.money.surcharges import Surcharges
from chatgpt_agent.core.money.tier_syntax import parse_tier
from chatgpt_agent.core.usage import Usage
from tests.support.factories import NOON

TEXT = (Path(__file__).parents[3] / "docs/prices.md").read_text("utf-8")
EXAMPLES = re.findall(r"^\| ([^|]+) \| ([^|]*`--[^|]+) \| ([^|]+) \| ([^|]+ = [0-9.]+) \|$", TEXT, re.MULTILINE)
IMAGE_TOOL = "image_tool_"


def price_of(options: str) -> Price:
    """Returns the price that `price set` makes of these options."""
    pairs = list(pairwise(shlex.split(options)))[::2]
    rates = {option[2:].replace("-", "_"): Decimal(value) for option, value in pairs if option != "--tier"}
    tiers = tuple(parse_tier(value, "--tier") for option, value in pairs if option == "--tier")
    return Price(id=1, model="m", effective_at=NOON, rates=Rates(**rates), tiers=tiers)


def usage_of(text: str) -> tuple[str | None, Usage]:
    """Returns the service tier and the usage of an answer such as `flex: 1,000 input, 200 output`."""
    tier, _, counts = text.rpartition(": ")
    values: dict[str, Any] = {}
    for item in counts.split(", "):
        number, _, name = item.partition(" ")
        value = Decimal(number.replace(",", ""))
        values[name.replace(" ", "_")] = value if name == "seconds" else int(value)
    drawn = {name.removeprefix(IMAGE_TOOL): values.pop(name) for name in [*values] if name.startswith(IMAGE_TOOL)}
    image_tool = Usage(**{"input": 0, "output": 0, **drawn}) if drawn else None
    usage = Usage(**{"input": 0, "output": 0, **values})
    return tier or None, msgspec.structs.replace(usage, image_tool=image_tool)


def surcharges_of(texts: list[str]) -> Surcharges:
    """Returns surcharges such as `web_search 0.01`."""
    amounts = {kind: Decimal(amount) for kind, amount in (text.split(" ") for text in texts)}
    return Surcharges(ids=dict.fromkeys(amounts, 1), amounts=amounts)


def value_of(formula: str) -> Fraction:
    """Returns the exact value of a formula with +, × and /."""
    return _value(ast.parse(re.sub(r"[0-9][0-9,.]*", r"'\g<0>'", formula.replace("×", "*")), mode="eval").body)


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value).replace(",", ""))
    assert isinstance(node, ast.BinOp)
    left, right = _value(node.left), _value(node.right)
    results = {ast.Add: left + right, ast.Mult: left * right, ast.Div: left / right if right else left}
    return results[type(node.op)]


@pytest.mark.parametrize(("name", "price", "answer", "cost"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_documented_cost_is_charged(name: str, price: str, answer: str, cost: str) -> None:
    """The formula, the figure after it and the program agree."""
    spans = re.findall(r"`([^`]+)`", price)
    own, *drawing = [price_of(span) for span in spans if span.startswith("--")]
    surcharges = surcharges_of([span for span in spans if not span.startswith("--")])
    service_tier, usage = usage_of(answer)
    tier = own.tier_name(service_tier)
    bill = charge(usage, own, service_tier=tier, surcharges=surcharges, image_price=drawing[0] if drawing else None)
    formula, _, figure = cost.rpartition(" = ")
    assert value_of(formula) == Fraction(figure) == Fraction(bill.cost), name


def test_every_rate_call_and_tier_has_an_example() -> None:
    """Nothing that is charged is without a worked example."""
    prices = " ".join(example[1] for example in EXAMPLES)
    assert [name for name in RATE_NAMES if f"--{name.replace('_', '-')} " not in prices] == []
    for word in ("flex:", "priority:", "fast:", "ultrafast:", "decisions:", "above="):
        assert word in prices
    for kind in ("web_search ", "file_search ", "code_interpreter ", "multiplier "):
        assert f"`{kind}" in prices


def test_documented_rounding_of_seconds() -> None:
    """A cost without an end is rounded half up."""
    [(seconds, minute, cost)] = re.findall(r"(\d+) second at ([0-9.]+) USD per minute costs\s+([0-9.]+) USD", TEXT)
    assert time_cost(Decimal(seconds), Decimal(minute)) == Decimal(cost)
