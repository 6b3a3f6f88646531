"""Types of arguments and options that several groups of commands share."""

from datetime import date, datetime

import click

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import parse_day, parse_moment, parse_month

MAX_ID = 2**63 - 1


class Id(click.types.IntParamType):
    """The ID of a token, a budget or another object. click.IntRange would show its limit of 19 digits in help texts."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the ID, or fails if the text is not one."""
        text = str(value)
        if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) <= MAX_ID):
            self.fail(f"{text[:40]!r} is not an ID, a whole number from 1", param, ctx)
        return int(text)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A time in every form that is printed, in UTC unless it names an offset."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the time in UTC, or fails."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(str(value), "")
        except InvalidValue as error:
            self.fail(error.message.removeprefix(": "), param, ctx)


class Month(click.ParamType):  # type: ignore[type-arg]
    """A month, as its first day."""

    name = "month"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Returns the month's first day, or fails."""
        if isinstance(value, date):
            return value
        try:
            return parse_month(str(value), "")
        except InvalidValue as error:
            self.fail(error.message.removeprefix(": "), param, ctx)


class Day(click.ParamType):  # type: ignore[type-arg]
    """A day, or the first (or last) day of a month or week."""

    name = "day"

    def __init__(self, *, last: bool = False) -> None:
        self._last = last

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Returns the day, or fails."""
        if isinstance(value, date):
            return value
        try:
            return parse_day(str(value), "", last=self._last)
        except InvalidValue as error:
            self.fail(error.message.removeprefix(": "), param, ctx)


ID = Id()
DATE = Moment()
FIRST_DAY = Day()
LAST_DAY = Day(last=True)
MONTH = Month()
