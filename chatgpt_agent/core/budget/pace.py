"""When a budget will be empty if spending goes on as in the last seven days.

The pace is that of the last seven days, also where the budget's window is younger: it has a user's weekdays and
weekend, while the first hours of a month say little about its end. Spending is summed up by day, so these are today
and the six days before it, up to now.
"""

from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

from chatgpt_agent.core.budget.period import Budget
from chatgpt_agent.core.money.exact import ZERO

WEEK_DAYS = 7
HORIZON = timedelta(days=366)  # beyond it the pace of a week says nothing


def week_begins(now: datetime, zone: tzinfo) -> date:
    """Returns the first of the last seven days, of which today is the last one."""
    return now.astimezone(zone).date() - timedelta(days=WEEK_DAYS - 1)


def empty_at(
    budget: Budget,
    *,
    used: Decimal,
    week_spent: Decimal,
    week_began_at: datetime,
    resets_at: datetime | None,
    now: datetime,
) -> datetime | None:
    """Returns when a budget is empty at this week's pace, to the minute; now, if it is empty already. None: it lasts
    until it resets, or for a year, or nothing was spent this week. USD: `used`, what is spent in its window and
    reserved; `week_spent`, what was spent in the last seven days, which began at `week_began_at`. The end of a raise
    may empty it, too."""
    if week_spent <= 0:
        return None
    pace = week_spent / _minutes(now - week_began_at)
    horizon = now + HORIZON if resets_at is None else min(resets_at, now + HORIZON)
    empty = _reached(budget.amount_at(now) - used, pace, now)
    raised_until = budget.raise_at(now)
    if raised_until is not None and (empty is None or empty >= raised_until):
        plain = _reached((budget.amount or ZERO) - used, pace, now)
        empty = None if plain is None else max(plain, raised_until)
    return empty.replace(second=0, microsecond=0) if empty is not None and empty < horizon else None


def _reached(left: Decimal, pace: Decimal, now: datetime) -> datetime | None:
    """Returns when `left` is spent at a pace in USD a minute; None: not within the horizon."""
    minutes = max(left, ZERO) / pace
    return now + timedelta(minutes=float(minutes)) if minutes < _minutes(HORIZON) else None


def _minutes(time: timedelta) -> Decimal:
    return Decimal(time // timedelta(microseconds=1)) / 60_000_000
