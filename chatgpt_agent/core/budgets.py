"""Budgets: how much may be spent in a day, a week, a month, or at all. Amounts in USD, days of a time zone."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.core.pricing import check_usd

MAX_AMOUNT = Decimal(1_000_000_000)  # USD
MAX_PLACES = 10


class Period(StrEnum):
    """What a budget is for. Weeks begin on Mondays (ISO 8601)."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class Budget(msgspec.Struct, frozen=True):
    """USD that a user or a token may spend in each period; `amount` None: no budget any more."""

    id: int
    user_id: int | None
    token_id: int | None
    period: Period
    amount: Decimal | None


class Window(msgspec.Struct, frozen=True):
    """The period that a moment lies in: its days, and when it began and ends (UTC); a total has neither."""

    first_day: date | None
    begins_at: datetime | None
    ends_at: datetime | None


def window(period: Period, now: datetime, zone: tzinfo) -> Window:
    """The period around a moment, in this zone's calendar."""
    if period is Period.TOTAL:
        return Window(None, None, None)
    today = now.astimezone(zone).date()
    if period is Period.DAY:
        first, following = today, today + timedelta(days=1)
    elif period is Period.WEEK:
        first = today - timedelta(days=today.weekday())
        following = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    return Window(first, midnight(first, zone), midnight(following, zone))


def midnight(day: date, zone: tzinfo) -> datetime:
    """The first moment of a day, in UTC. Where summer time begins at midnight, that is one o'clock on the wall."""
    begin = datetime.combine(day, time.min, zone)
    found = begin.astimezone(UTC)
    if found.astimezone(zone).replace(fold=0) == begin:
        return found
    # An hour that the clock skips: of its two readings the later moment is the one behind the gap (PEP 495).
    return max(found, begin.replace(fold=1).astimezone(UTC))


def check_amount(amount: Decimal) -> None:
    """Raises InvalidValue where this is no amount of a budget."""
    check_usd(amount, "the amount of a budget", MAX_AMOUNT, MAX_PLACES)
