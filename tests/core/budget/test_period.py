"""Periods of a calendar, and what is said to whom a budget refuses."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.period import Budget, Period, insufficient, midnight, window
from chatgpt_agent.core.money.exact import format_short

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe",
     "Pacific/Apia", "Asia/Beirut", "America/Asuncion", "Pacific/Kiritimati"]
)  # fmt: skip
MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
CALENDAR = [Period.DAY, Period.WEEK, Period.MONTH]


@given(st.sampled_from(CALENDAR), MOMENTS, ZONES)
def test_a_window_holds_the_days_that_it_names(period: Period, now: datetime, name: str) -> None:
    """Its first moment is on its first day, the one before is not; its end is the next one's beginning."""
    zone = ZoneInfo(name)
    found = window(period, now, zone)
    assert found.first_day is not None
    assert found.begins_at is not None
    assert found.ends_at is not None
    assert found.begins_at <= now < found.ends_at
    assert found.begins_at.astimezone(zone).date() >= found.first_day
    assert (found.begins_at - timedelta(microseconds=1)).astimezone(zone).date() < found.first_day
    assert window(period, found.ends_at, zone).begins_at == found.ends_at


@given(st.dates(date(1995, 1, 1), date(2035, 1, 1)), ZONES)
def test_midnight_is_the_first_moment_of_a_day(day: date, name: str) -> None:
    """Also where the clock skips it, or strikes it twice; a day that is not there has that of the next."""
    zone = ZoneInfo(name)
    found = midnight(day, zone)
    assert found.astimezone(zone).date() >= day
    assert (found - timedelta(microseconds=1)).astimezone(zone).date() < day


@pytest.mark.parametrize(
    ("period", "first"), [(Period.DAY, "2026-11-25"), (Period.WEEK, "2026-11-23"), (Period.MONTH, "2026-11-01")]
)
def test_weeks_begin_on_mondays_and_months_on_the_first(period: Period, first: str) -> None:
    """2026-11-25 is a Wednesday; in Auckland it has begun already."""
    found = window(period, datetime(2026, 11, 24, 12, tzinfo=UTC), ZoneInfo("Pacific/Auckland"))
    assert str(found.first_day) == first


def test_a_total_has_no_end() -> None:
    """It is spent once."""
    found = window(Period.TOTAL, datetime(2026, 11, 24, tzinfo=UTC), UTC)
    assert (found.first_day, found.begins_at, found.ends_at) == (None, None, None)


def test_a_refusal_says_what_is_left_and_when_it_resets() -> None:
    """And how to ask for less."""
    budget = Budget(1, 1, None, Period.MONTH, Decimal(20))
    said = insufficient(budget, "token", Decimal("0.0123"), Decimal("0.5"), datetime(2026, 12, 1, tzinfo=UTC))
    assert "token" in said
    assert "0.012 USD left of 20.00 USD this month" in said
    assert "up to 0.50 USD" in said
    assert "It resets at 2026-12-01T00:00:00Z." in said


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0.00"), ("0.00001234", "0.000012"), ("0.5", "0.50"), ("12.345", "12.34"), ("1e-10", "0.00000000010")],
)
def test_small_amounts_keep_their_first_digits(amount: str, text: str) -> None:
    """A call may cost a millionth."""
    assert format_short(Decimal(amount)) == text
