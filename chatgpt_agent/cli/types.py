"""Types of arguments and options that several groups of commands share."""

from datetime import datetime

import click

MAX_ID = 2**63 - 1
DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")


class Id(click.types.IntParamType):
    """The ID of a token, a budget or another object. click.IntRange would show its limit of 19 digits in help texts."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the ID, or fails if the text is not one."""
        text = str(value)
        if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) <= MAX_ID):
            self.fail(f"{text[:40]!r} is not an ID, a whole number from 1", param, ctx)
        return int(text)


class Moment(click.DateTime):
    """A time of the given formats; `allowed` is what its error says."""

    def __init__(self, allowed: str, *formats: str) -> None:
        super().__init__(formats)
        self.allowed = allowed

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the time, or fails; click's own error shows the formats of strptime."""
        try:
            moment: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{str(value)[:40]!r} is not {self.allowed}", param, ctx)
        return moment


ID = Id()
DAY = Moment("a day such as 2026-11-23", "%Y-%m-%d")
DATE = Moment("a date such as 2026-11-23 or 2026-11-23T18:00:00", *DATE_FORMATS)
MONTH = Moment("a month such as 2026-11", "%Y-%m")
