"""Tests of raised budgets: what is in force at which moment, and which raises are allowed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.period import Budget, Period, check_raise, denial_message
from chatgpt_agent.core.errors import InvalidValue
from tests.support.factories import NOON

YEAR = timedelta(days=366)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
AMOUNTS = st.decimals(0, 10**9, places=10)


def raised(until: datetime, plain: str = "20", amount: str = "40") -> Budget:
    """A month's budget that is raised until a moment."""
    return Budget(
        id=1, user_id=1, token_id=None, period=Period.MONTH, amount=Decimal(plain), raised_amount=Decimal(amount),
        raised_until=until,
    )  # fmt: skip


@given(MOMENTS, MOMENTS)
def test_raised_amount_is_in_force_exactly_before_its_end(until: datetime, moment: datetime) -> None:
    """At every moment one of both amounts is in force: the raised one before the end, the plain one from the end on."""
    budget = raised(until)
    assert budget.amount_at(moment) == (40 if moment < until else 20)
    assert budget.raise_at(moment) == (until if moment < until else None)


def test_plain_amount_is_in_force_at_the_end_itself() -> None:
    """The last moment of a raise is a microsecond before its end."""
    budget = raised(NOON)
    assert [budget.amount_at(NOON - timedelta(microseconds=1)), budget.amount_at(NOON)] == [40, 20]


@given(AMOUNTS, MOMENTS)
def test_budget_without_a_raise_keeps_its_amount(amount: Decimal, moment: datetime) -> None:
    """Its amount is in force at every moment."""
    budget = Budget(id=1, user_id=1, token_id=None, period=Period.DAY, amount=amount)
    assert (budget.amount_at(moment), budget.raise_at(moment)) == (amount, None)


@pytest.mark.parametrize(
    ("plain", "amount", "ahead", "message"),
    [
        ("20", "20", timedelta(days=1), "amount: 20 is no raise: give more than the budget's 20 USD"),
        ("20", "19.99", timedelta(days=1), "amount: 19.99 is no raise"),
        ("20", "1000000000.5", timedelta(days=1), "amount: 1000000000.5 is not between 0 and 1000000000"),
        ("20", "NaN", timedelta(days=1), "amount: NaN is not between 0 and 1000000000"),
        ("20", "40", timedelta(0), "until: 2024-05-17T12:00:00Z is not in the future"),
        ("20", "40", YEAR + timedelta(seconds=1), "until: 2025-05-18T12:00:01Z is more than 366 days ahead"),
    ],
)
def test_invalid_raise_is_refused(plain: str, amount: str, ahead: timedelta, message: str) -> None:
    """The error names the field, its value and what is allowed."""
    with pytest.raises(InvalidValue, match=f"^{message}"):
        check_raise(Decimal(plain), Decimal(amount), NOON + ahead, NOON)


@pytest.mark.parametrize("ahead", [timedelta(microseconds=1), YEAR])
def test_raise_may_end_within_a_year(ahead: timedelta) -> None:
    """Both bounds are allowed; the smallest difference is a raise."""
    check_raise(Decimal(0), Decimal("0.0000000001"), NOON + ahead, NOON)


def test_denial_of_a_raised_budget_states_its_end() -> None:
    """The amount is the raised one; the message says until when, and what follows."""
    message = denial_message(
        raised(NOON),
        amount=Decimal(40),
        owner="token",
        left=Decimal(1),
        needed=Decimal(2),
        ends_at=NOON + timedelta(days=8),
        raised_until=NOON,
    )
    assert "1.00 USD left of 40.00 USD this month" in message
    assert "It is raised until 2024-05-17T12:00:00Z, and then 20.00 USD again." in message
