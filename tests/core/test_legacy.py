"""What the original program's rows become: ids that stay, prices with their dates, and reasons for what cannot be."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.legacy import (
    NewPrice,
    OldConfig,
    OldPrice,
    OldRequest,
    OldUser,
    is_weak,
    numbered,
    prices,
    request_fault,
    row_id,
    token_prefix,
    user_fault,
    user_name,
)
from chatgpt_agent.core.money.kinds import Rates

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
JULY = datetime(2023, 7, 1, tzinfo=UTC)
REQUEST = OldRequest(7, "chatcmpl-1", "gpt-3.5-turbo", 10, 5, JULY, Decimal("0.000025"))
USER = OldUser(3, "alice", "old-token", "sk-old", None, JULY)


def priced(*lines: tuple[str, str | None], history: list[OldPrice] | None = None, at: datetime | None = JULY) -> Any:
    """What becomes of a configuration."""
    return prices([OldConfig(key, value, at) for key, value in lines], history or [], NOW)


def test_a_row_has_one_id_for_ever() -> None:
    """The same for a row that was read in another time zone, another one for another row."""
    elsewhere = msgspec.structs.replace(REQUEST, timestamp=datetime.fromisoformat("2023-07-01T02:00:00+02:00"))
    assert row_id(elsewhere) == row_id(REQUEST)
    assert len({row_id(msgspec.structs.replace(REQUEST, id=n)) for n in range(10)}) == 10
    assert str(row_id(REQUEST)) == "220e71e7-b990-558a-b064-6957f92e02ab"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": None}, "timestamp"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"prompt_tokens": -1}, "-1"),
        ({"price": Decimal("-1")}, "price"),
        ({"price": Decimal("NaN")}, "price"),
    ],
)
def test_a_row_that_is_none_is_told(change: dict[str, Any], reason: str) -> None:
    """With what is wrong about it."""
    assert reason in (request_fault(msgspec.structs.replace(REQUEST, **change)) or "")


def test_a_row_may_have_gaps() -> None:
    """A price or counts that were never known are no fault."""
    bare = msgspec.structs.replace(REQUEST, price=None, prompt_tokens=None, completion_tokens=None, remote_id=None)
    assert request_fault(bare) is None


@pytest.mark.parametrize("token", [None, "", "a b", "tök", "a\n", "x" * 101])
def test_a_token_that_no_client_can_send_is_told(token: str | None) -> None:
    """And not repeated."""
    assert "local_token" in (user_fault(msgspec.structs.replace(USER, local_token=token)) or "")


def test_a_key_may_have_spaces_around_it() -> None:
    """Somebody pasted it."""
    assert user_fault(msgspec.structs.replace(USER, gpt_token=" sk-old\n")) is None
    assert "gpt_token" in (user_fault(msgspec.structs.replace(USER, gpt_token=" ")) or "")


@given(st.text(max_size=40))
def test_little_is_shown_of_a_token(token: str) -> None:
    """Four characters at most, and nothing of one that is short."""
    assert token_prefix(token) == ("" if len(token) < 16 else token[:4])
    assert is_weak(token) == (len(token) < 16)


@pytest.mark.parametrize(
    ("name", "found"), [("alice", "alice"), (" bob ", "bob"), (None, "legacy-3"), ("a\x07", "legacy-3")]
)
def test_a_name_that_would_spoil_a_list_is_replaced(name: str | None, found: str) -> None:
    """By one that says where it comes from."""
    assert user_name(msgspec.structs.replace(USER, name=name)) == found


def test_names_are_numbered() -> None:
    """From two on."""
    assert list(islice(numbered("alice"), 3)) == ["alice", "alice-2", "alice-3"]


# Prices.


def test_a_price_is_per_million_here() -> None:
    """A thousand times the number, exactly, from the day that it was written down."""
    added, faults = priced(("m_input", "0.0015"), ("m_output", "0.002"))
    assert added == [NewPrice("m", JULY, Rates(input=Decimal("1.5"), output=Decimal("2")))]
    assert faults == {}


def test_a_price_counts_from_the_first_row_that_was_charged_it() -> None:
    """And older rows' prices before that."""
    history = [OldPrice("m", "0.03,0.06", JULY), OldPrice("m", "0.01,0.02", JULY + timedelta(days=9))]
    added, _ = priced(("m_input", "0.0100"), ("m_output", "0.02"), history=history)
    assert [(price.effective_at, price.rates.input) for price in added] == [
        (JULY, Decimal(30)),
        (JULY + timedelta(days=9), Decimal(10)),
    ]


def test_a_price_that_no_row_was_charged_counts_from_now() -> None:
    """Because rows were charged another one until then."""
    added, _ = priced(("m_input", "1"), ("m_output", "2"), history=[OldPrice("m", "3,4", JULY)])
    assert [price.effective_at for price in added] == [JULY, NOW]


def test_a_model_without_a_price_there_gets_none_here() -> None:
    """Though rows were charged one: it was taken away."""
    assert priced(history=[OldPrice("m", "3,4", JULY)]) == ([], {})


@pytest.mark.parametrize("at", [None, NOW + timedelta(days=1)])
def test_a_price_without_a_date_counts_from_now(at: datetime | None) -> None:
    """Nor does one wait for a day to come."""
    added, _ = priced(("m_input", "1"), ("m_output", "2"), at=at)
    assert [price.effective_at for price in added] == [NOW]


@pytest.mark.parametrize(
    ("lines", "name", "reason"),
    [
        ([("m_input", "1")], "m", "no _output"),
        ([("m_input", "1"), ("m_output", None)], "m", "no _output"),
        ([("m_input", "1"), ("m_output", "cheap")], "m", "'cheap'"),
        ([("m_input", "1"), ("m_output", "-1")], "m", "not between"),
        ([("m_input", "NaN"), ("m_output", "1")], "m", "not between"),
        ([("m_input", "1e999999"), ("m_output", "1")], "m", "_input"),
        ([("m_input", "0.00000000000001"), ("m_output", "1")], "m", "decimal places"),
        ([("m_input", "1" * 30), ("m_output", "1")], "m", "characters"),
        ([("m_input", "1"), ("m_input", "2"), ("m_output", "1")], "m", "twice"),
        ([("m", "1")], "m", "the key"),
        ([("_input", "1")], "_input", "the key"),
    ],
)
def test_a_price_that_is_none_is_told(lines: list[tuple[str, str | None]], name: str, reason: str) -> None:
    """Under the model or the key, and no half of it is taken."""
    added, faults = priced(*lines)
    assert added == []
    assert reason in faults[name]


def test_a_price_that_cannot_be_read_in_the_history_is_passed_over() -> None:
    """What a row was charged stands in the row."""
    added, faults = priced(("m_input", "1"), ("m_output", "2"), history=[OldPrice("m", "free", JULY)])
    assert ([price.effective_at for price in added], faults) == ([JULY], {})
