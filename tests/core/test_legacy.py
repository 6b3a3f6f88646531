"""Tests of the import's rules: stable ids, prices with their dates, and errors."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.legacy import (
    OldConfig,
    OldPrice,
    OldRequest,
    OldUser,
    is_weak,
    numbered,
    prices,
    request_error,
    row_id,
    token_prefix,
    user_error,
    user_name,
)
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
JULY = datetime(2023, 7, 1, tzinfo=UTC)
REQUEST = OldRequest(
    id=7,
    remote_id="chatcmpl-1",
    model="gpt-3.5-turbo",
    prompt_tokens=10,
    completion_tokens=5,
    timestamp=JULY,
    price=Decimal("0.000025"),
)
USER = OldUser(id=3, name="alice", local_token="old-token", gpt_token="sk-old", comment=None, create_time=JULY)


def priced(*lines: tuple[str, str | None], history: list[OldPrice] | None = None, at: datetime | None = JULY) -> Any:
    """Returns the prices and errors of a configuration."""
    return prices([OldConfig(key, value, at) for key, value in lines], history or [], NOW)


def test_id_of_a_row_is_stable() -> None:
    """The id does not depend on the time zone of the reader, and differs between rows."""
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
def test_invalid_row_has_an_error(change: dict[str, Any], reason: str) -> None:
    """The error states what is wrong."""
    assert reason in (request_error(msgspec.structs.replace(REQUEST, **change)) or "")


def test_row_may_lack_price_and_counts() -> None:
    """A price or counts that were never known are no error."""
    bare = msgspec.structs.replace(REQUEST, price=None, prompt_tokens=None, completion_tokens=None, remote_id=None)
    assert request_error(bare) is None


@pytest.mark.parametrize("token", [None, "", "a b", "tök", "a\n", "x" * 101])
def test_token_that_no_client_can_send_is_an_error(token: str | None) -> None:
    """The error does not quote the token."""
    assert "local_token" in (user_error(msgspec.structs.replace(USER, local_token=token)) or "")


def test_spaces_around_a_key_are_ignored() -> None:
    """A pasted key may have them."""
    assert user_error(msgspec.structs.replace(USER, gpt_token=" sk-old\n")) is None
    assert "gpt_token" in (user_error(msgspec.structs.replace(USER, gpt_token=" ")) or "")


@given(st.text(max_size=40))
def test_prefix_of_a_token_has_four_characters(token: str) -> None:
    """A short token has no prefix, and counts as weak."""
    assert token_prefix(token) == ("" if len(token) < 16 else token[:4])
    assert is_weak(token) == (len(token) < 16)


@pytest.mark.parametrize(
    ("name", "imported"), [("alice", "alice"), (" bob ", "bob"), (None, "legacy-3"), ("a\x07", "legacy-3")]
)
def test_invalid_name_is_replaced(name: str | None, imported: str) -> None:
    """The new name holds the old id."""
    assert user_name(msgspec.structs.replace(USER, name=name)) == imported


def test_equal_names_are_numbered() -> None:
    """Numbers begin with two."""
    assert list(islice(numbered("alice"), 3)) == ["alice", "alice-2", "alice-3"]


# Prices.


def test_price_is_converted_to_a_million_tokens() -> None:
    """The price is exactly a thousand times the old one, from the day on which it was configured."""
    added, errors = priced(("m_input", "0.0015"), ("m_output", "0.002"))
    assert added == [NewPrice("m", Rates(input=Decimal("1.5"), output=Decimal("2")), effective_at=JULY)]
    assert errors == {}


def test_price_takes_effect_with_its_first_row() -> None:
    """Before it the prices of older rows are in force."""
    history = [OldPrice("m", "0.03,0.06", JULY), OldPrice("m", "0.01,0.02", JULY + timedelta(days=9))]
    added, _ = priced(("m_input", "0.0100"), ("m_output", "0.02"), history=history)
    assert [(price.effective_at, price.rates.input) for price in added] == [
        (JULY, Decimal(30)),
        (JULY + timedelta(days=9), Decimal(10)),
    ]


def test_price_without_rows_takes_effect_now() -> None:
    """Rows were charged another price until now."""
    added, _ = priced(("m_input", "1"), ("m_output", "2"), history=[OldPrice("m", "3,4", JULY)])
    assert [price.effective_at for price in added] == [JULY, NOW]


def test_model_without_a_current_price_gets_none() -> None:
    """Its rows were charged a price that was removed later."""
    assert priced(history=[OldPrice("m", "3,4", JULY)]) == ([], {})


@pytest.mark.parametrize("at", [None, NOW + timedelta(days=1)])
def test_price_without_a_date_takes_effect_now(at: datetime | None) -> None:
    """The same holds for a date in the future."""
    added, _ = priced(("m_input", "1"), ("m_output", "2"), at=at)
    assert [price.effective_at for price in added] == [NOW]


@pytest.mark.parametrize(
    ("lines", "name", "reason"),
    [
        ([("m_input", "1")], "m", "missing _output"),
        ([("m_input", "1"), ("m_output", None)], "m", "missing _output"),
        ([("m_input", "1"), ("m_output", "cheap")], "m", "'cheap'"),
        ([("m_input", "1"), ("m_output", "-1")], "m", "not between"),
        ([("m_input", "NaN"), ("m_output", "1")], "m", "not between"),
        ([("m_input", "1e999999"), ("m_output", "1")], "m", "_input"),
        ([("m_input", "0.00000000000001"), ("m_output", "1")], "m", "decimal places"),
        ([("m_input", "1" * 30), ("m_output", "1")], "m", "characters"),
        ([("m_input", "1"), ("m_input", "2"), ("m_output", "1")], "m", "duplicate key"),
        ([("m", "1")], "m", "the key"),
        ([("_input", "1")], "_input", "the key"),
    ],
)
def test_invalid_price_is_an_error(lines: list[tuple[str, str | None]], name: str, reason: str) -> None:
    """The error names the model or the key, and neither rate is imported."""
    added, errors = priced(*lines)
    assert added == []
    assert reason in errors[name]


def test_invalid_price_in_the_history_is_skipped() -> None:
    """Each row has its own cost."""
    added, errors = priced(("m_input", "1"), ("m_output", "2"), history=[OldPrice("m", "free", JULY)])
    assert ([price.effective_at for price in added], errors) == ([JULY], {})
