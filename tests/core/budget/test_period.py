"""Tests of budget periods, and of the message of a denied request."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.period import Budget, Period, denial_message, midnight, window
from chatgpt_agent.core.money.exact import format_short

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe",
     "Pacific/Apia", "Asia/Beirut", "America/Asuncion", "Pacific/Kiritimati"]
)  # fmt: skip
MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
CALENDAR = [Period.DAY, Period.WEEK, Period.MONTH]


@given(st.sampled_from(CALENDAR), MOMENTS, ZONES)
def test_window_begins_and_ends_with_its_days(period: Period, now: datetime, name: str) -> None:
    """A window begins with its first day and ends where the next one begins."""
    zone = ZoneInfo(name)
    current = window(period, now, zone)
    assert current.first_day is not None
    assert current.begins_at is not None
    assert current.ends_at is not None
    assert current.begins_at <= now < current.ends_at
    assert current.begins_at.astimezone(zone).date() >= current.first_day
    assert (current.begins_at - timedelta(microseconds=1)).astimezone(zone).date() < current.first_day
    assert window(period, current.ends_at, zone).begins_at == current.ends_at


@given(st.dates(date(1995, 1, 1), date(2035, 1, 1)), ZONES)
def test_midnight_is_the_first_moment_of_a_day(day: date, name: str) -> None:
    """This holds where the clock skips midnight or repeats it; a skipped day begins with the next one."""
    zone = ZoneInfo(name)
    begin = midnight(day, zone)
    assert begin.astimezone(zone).date() >= day
    assert (begin - timedelta(microseconds=1)).astimezone(zone).date() < day


@pytest.mark.parametrize(
    ("period", "first"), [(Period.DAY, "2026-11-25"), (Period.WEEK, "2026-11-23"), (Period.MONTH, "2026-11-01")]
)
def test_weeks_begin_on_mondays_and_months_on_the_first(period: Period, first: str) -> None:
    """2026-11-25 is a Wednesday, which has begun already in Auckland."""
    current = window(period, datetime(2026, 11, 24, 12, tzinfo=UTC), ZoneInfo("Pacific/Auckland"))
    assert str(current.first_day) == first


def test_total_has_no_window() -> None:
    """A total is spent once, so it has neither beginning nor end."""
    current = window(Period.TOTAL, datetime(2026, 11, 24, tzinfo=UTC), UTC)
    assert (current.first_day, current.begins_at, current.ends_at) == (None, None, None)


def test_denial_states_what_is_left_and_when_it_resets() -> None:
    """The message of a denied request holds the amounts, the period and the time of the reset."""
    budget = Budget(id=1, user_id=1, token_id=None, period=Period.MONTH, amount=Decimal(20))
    message = denial_message(
        budget,
        amount=Decimal(20),
        owner="token",
        left=Decimal("0.0123"),
        needed=Decimal("0.5"),
        ends_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert "token" in message
    assert "0.012 USD left of 20.00 USD this month" in message
    assert "up to 0.50 USD" in message
    assert "It resets at 2026-12-01T00:00:00Z." in message


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0.00"), ("0.00001234", "0.000012"), ("0.5", "0.50"), ("12.345", "12.34"), ("1e-10", "0.00000000010")],
)
def test_short_amount_keeps_two_significant_digits(amount: str, text: str) -> None:
    """Less than a dollar is shown with two digits, since a request may cost a millionth."""
    assert format_short(Decimal(amount)) == text
