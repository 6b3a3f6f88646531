"""Budgets: how much may be spent in a day, a week, a month, or in total. Amounts in USD, days of a time zone."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from enum import StrEnum

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import ZERO, format_short, format_usd
from chatgpt_agent.core.money.pricing import check_usd

MAX_AMOUNT = Decimal(1_000_000_000)  # USD
MAX_PLACES = 10
MAX_RAISE = timedelta(days=366)  # for which a budget may be raised
THRESHOLDS = (80, 100)  # percent at which an alert is sent


class Period(StrEnum):
    """The period of a budget. Weeks begin on Mondays (ISO 8601)."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """USD that a user or a token may spend in each period; `amount` None: the budget is removed. Before `raised_until`,
    `raised_amount` may be spent instead."""

    id: int
    user_id: int | None
    token_id: int | None
    period: Period
    amount: Decimal | None
    raised_amount: Decimal | None = None
    raised_until: datetime | None = None

    def raise_at(self, moment: datetime) -> datetime | None:
        """Returns until when the raise is in force that is in force at a moment; None: none is."""
        return self.raised_until if self.raised_until is not None and moment < self.raised_until else None

    def amount_at(self, moment: datetime) -> Decimal:
        """Returns the USD that may be spent at a moment: the raised amount before its end, else the plain one; nothing
        of a removed budget."""
        amount = self.amount if self.raise_at(moment) is None else self.raised_amount
        return ZERO if self.amount is None or amount is None else amount


class Window(msgspec.Struct, frozen=True):
    """The period around a moment: its first day, its beginning and end in UTC, its last day. A total has none of
    them."""

    first_day: date | None
    begins_at: datetime | None
    ends_at: datetime | None
    last_day: date | None = None


def window(period: Period, now: datetime, zone: tzinfo) -> Window:
    """Returns the period around a moment, in this zone's calendar."""
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
    return Window(first, midnight(first, zone), midnight(following, zone), following - timedelta(days=1))


def midnight(day: date, zone: tzinfo) -> datetime:
    """Returns the first moment of a day, in UTC. Where summer time begins at midnight, the day begins at 1:00."""
    begin = datetime.combine(day, time.min, zone)
    moment = begin.astimezone(UTC)
    if moment.astimezone(zone).replace(fold=0) == begin:
        return moment
    # The clock skips this hour: of its two readings the later moment lies behind the gap (PEP 495).
    return max(moment, begin.replace(fold=1).astimezone(UTC))


def parse_amount(text: str, name: str) -> Decimal:
    """Returns the amount of a budget in a text, in USD. Raises InvalidValue."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        # The text is not repeated: in a table of users it may be an OpenAI key in the wrong column.
        raise InvalidValue(f"{name}: give USD as a number, such as 50 or 12.50") from None
    check_amount(amount, name)
    return amount


def check_amount(amount: Decimal, name: str = "amount") -> None:
    """Raises InvalidValue for an amount that a budget cannot have."""
    check_usd(amount, name, MAX_AMOUNT, MAX_PLACES)


def check_raise(amount: Decimal, raised_amount: Decimal, until: datetime, now: datetime) -> None:
    """Raises InvalidValue for a raise that a budget of this plain amount cannot have."""
    check_amount(raised_amount)
    if raised_amount <= amount:
        raise InvalidValue(
            f"amount: {format_usd(raised_amount)} is no raise: give more than the budget's {format_usd(amount)} USD"
        )
    if until <= now:
        raise InvalidValue(f"until: {until:%Y-%m-%dT%H:%M:%SZ} is not in the future")
    if until > now + MAX_RAISE:
        raise InvalidValue(f"until: {until:%Y-%m-%dT%H:%M:%SZ} is more than {MAX_RAISE.days} days ahead")


def denial_reason(budget: Budget, *, amount: Decimal, left: Decimal, needed: Decimal) -> str:
    """Returns why a budget denies a request, for the log. `amount`: what is in force."""
    owner = "user" if budget.token_id is None else "token"
    amounts = f"{format_short(max(left, ZERO))} of {format_short(amount)} USD left"
    return f"may cost {format_short(needed)} USD, {owner}'s budget ({budget.period}): {amounts}"


def denial_message(
    budget: Budget,
    *,
    amount: Decimal,
    owner: str,
    left: Decimal,
    needed: Decimal,
    ends_at: datetime | None,
    raised_until: datetime | None = None,
) -> str:
    """Returns the error of a request that a budget denies. `owner`: the owner of the budget, as clients read it;
    `amount`: what is in force, and `raised_until` when that is a raised one; amounts in USD."""
    spent = f"You have {format_short(max(left, ZERO))} USD left of {format_short(amount)} USD"
    period = "in total" if budget.period is Period.TOTAL else f"this {budget.period}"
    reset = "It does not reset." if ends_at is None else f"It resets at {ends_at:%Y-%m-%dT%H:%M:%SZ}."
    if raised_until is not None:
        plain = format_short(budget.amount or ZERO)
        reset += f" It is raised until {raised_until:%Y-%m-%dT%H:%M:%SZ}, and then {plain} USD again."
    return (
        f"The budget of your {owner} does not allow this request. {spent} {period}, and this request may cost up to "
        f"{format_short(needed)} USD. {reset} A lower limit of output tokens makes a request cost less."
    )
