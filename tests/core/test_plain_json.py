"""JSON with amounts as text in plain decimal notation."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.plain_json import encode


class Cost(msgspec.Struct):
    """A struct with amounts, also in another struct, a list and an object."""

    amount: Decimal
    parts: "list[Cost]" = []
    by_user: "dict[str, Decimal | None]" = {}


@pytest.mark.parametrize(
    ("amount", "text"), [("1E-10", "0.0000000001"), ("20.50", "20.5"), ("1E+3", "1000"), ("-0.10", "-0.1")]
)
def test_amount_is_plain_text(amount: str, text: str) -> None:
    """An amount has neither an exponent nor trailing zeros."""
    assert encode(Decimal(amount)) == f'"{text}"'.encode()


def test_amounts_are_plain_at_every_depth() -> None:
    """Structs, lists, tuples and dictionaries are searched."""
    cost = Cost(Decimal("1E-7"), [Cost(Decimal("2.0"))], {"alice": Decimal("3.10"), "bob": None})
    assert msgspec.json.decode(encode((cost,))) == [
        {
            "amount": "0.0000001",
            "parts": [{"amount": "2", "parts": [], "by_user": {}}],
            "by_user": {"alice": "3.1", "bob": None},
        }
    ]


def test_own_fields_come_before_inherited_ones() -> None:
    """A reader sees what identifies a struct before the counts that it has in common with others."""

    class NamedCost(Cost):
        name: str = "alice"

    assert [*msgspec.json.decode(encode(NamedCost(Decimal(1))))] == ["name", "amount", "parts", "by_user"]


def test_other_values_are_encoded_by_msgspec() -> None:
    """Times are RFC 3339, enums their values, and encoded JSON is inserted as it is."""
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert encode([moment, State.DONE, msgspec.Raw(b"1.0"), 1, True, "a"]) == (
        b'["2026-11-23T12:00:00Z","done",1.0,1,true,"a"]'
    )
