"""Tests of the pace of a budget: when it will be empty if spending goes on as in the last seven days."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.pace import empty_at, week_begins
from chatgpt_agent.core.budget.period import Budget, Period, midnight, window

NOW = datetime(2026, 11, 18, 0, 0, tzinfo=UTC)  # the seven days are six whole ones, and an empty one
AMOUNTS = st.decimals("0.01", 10**6, places=2)
MINUTE = timedelta(minutes=1)


def budget(amount: str, raised_amount: str | None = None, raised_until: datetime | None = None) -> Budget:
    """A budget in total, which may be raised."""
    raised = None if raised_amount is None else Decimal(raised_amount)
    return Budget(
        id=1, user_id=1, token_id=None, period=Period.TOTAL, amount=Decimal(amount), raised_amount=raised,
        raised_until=raised_until,
    )  # fmt: skip


def empty(
    budget: Budget, used: str, week_spent: str, resets_at: datetime | None = None, now: datetime = NOW
) -> datetime | None:
    """When a budget is empty, in UTC."""
    return empty_at(
        budget,
        used=Decimal(used),
        week_spent=Decimal(week_spent),
        week_began_at=midnight(week_begins(now, UTC), UTC),
        resets_at=resets_at,
        now=now,
    )


@pytest.mark.parametrize(
    ("used", "week_spent", "day"),
    [("5", "6", "2026-12-03"), ("5", "30", "2026-11-21"), ("20", "6", "2026-11-18"), ("25", "6", "2026-11-18")],
)
def test_rest_is_spent_at_the_pace_of_the_last_days(used: str, week_spent: str, day: str) -> None:
    """At 1 USD a day, 15 USD last 15 days; what is spent already is empty now."""
    expected = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    assert empty(budget("20"), used, week_spent) == expected


def test_budget_that_resets_before_is_not_empty() -> None:
    """A budget that would be empty at its reset, or later, lasts."""
    assert empty(budget("20"), "5", "6", resets_at=datetime(2026, 12, 3, tzinfo=UTC)) is None
    assert empty(budget("20"), "5", "6", resets_at=datetime(2026, 12, 3, 0, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize("used", ["0", "20"])
def test_budget_without_spending_has_no_pace(used: str) -> None:
    """Nothing was spent in the last seven days."""
    assert empty(budget("20"), used, "0") is None


def test_end_beyond_a_year_is_none() -> None:
    """The pace of a week says nothing about years, and a date may not exist."""
    assert empty(budget("1000000000"), "0", "0.000001") is None


def test_raised_budget_is_empty_when_its_raise_ends() -> None:
    """25 USD are less than the raised 40, and more than the plain 20."""
    until = NOW + timedelta(days=3)
    assert empty(budget("20", "40", until), "25", "6") == until
    assert empty(budget("20", "40", until), "25", "60") == NOW + timedelta(days=1.5)
    assert empty(budget("20", "40", until), "10", "6") == NOW + timedelta(days=10)


@given(AMOUNTS, AMOUNTS, AMOUNTS, st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))
def test_amount_is_reached_at_the_moment_and_not_before(
    amount: Decimal, used: Decimal, week_spent: Decimal, moment: datetime
) -> None:
    """At the pace of today and the six days before it, the budget is used up within that minute."""
    now = moment.replace(tzinfo=UTC)
    end = empty(budget(str(amount)), str(used), str(week_spent), now=now)
    if end is None:
        return
    pace = week_spent / Decimal((now - midnight(week_begins(now, UTC), UTC)) / MINUTE)
    reached = used + pace * Decimal((end - now) / MINUTE)
    assert reached <= max(amount, used)
    assert reached + pace * Decimal("1.02") >= amount


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_week_is_today_and_the_six_days_before(moment: datetime, name: str) -> None:
    """Today is that of the ledger's time zone."""
    now, zone = moment.replace(tzinfo=UTC), ZoneInfo(name)
    assert window(Period.DAY, now, zone).first_day == week_begins(now, zone) + timedelta(days=6)
