"""Dates and times: which ones are allowed, in which forms they are read, and how they are shown. All in UTC.

Python's calendar ends with the years 1 and 9999, PostgreSQL's does not, and an offset may lead across the end. So every
date that enters is converted to UTC first and must then lie in the years 2000 to 9998.
"""

import re
from datetime import UTC, date, datetime, timedelta

from chatgpt_agent.core.errors import InvalidValue

FIRST = datetime(2000, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)  # the first moment that is too late
YEARS = "the years 2000 to 9998 (UTC)"
A_DATE = "a date such as 2026-11-23 or 2026-11-23T18:00:00"
A_DAY = "a day such as 2026-11-23"
A_MONTH = "a month such as 2026-11"

_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_EPOCH = re.compile(r"[0-9]{10}")  # seconds since 1970, as OpenAI writes times
_WEEK = re.compile(r"[0-9]{4}-W[0-9]{2}")
_DAY = re.compile(rf"[0-9]{{4}}-?[0-9]{{2}}-?[0-9]{{2}}|{_WEEK.pattern}|{_MONTH.pattern}")
_SUFFIX = re.compile(r" ?(UTC|GMT)$")
_MAX_TEXT = 40


class OutsideYears(InvalidValue):
    """A time that cannot be stored."""


def check_moment(field: str, moment: datetime) -> datetime:
    """Returns a time in UTC. Raises InvalidValue, which begins with the field, for one without an offset or outside of
    the allowed years."""
    if moment.tzinfo is None:
        raise InvalidValue(f"{field}: {moment.isoformat()} has no offset from UTC: add Z, or one such as +01:00")
    if not is_allowed(moment):
        raise OutsideYears(f"{field}: {moment.isoformat()} is not in {YEARS}")
    return moment.astimezone(UTC)


def is_allowed(moment: datetime) -> bool:
    """Whether a time with an offset lies in the allowed years."""
    return FIRST <= moment < END  # compares without converting, which fails at the edges of the calendar


def parse_moment(text: str, field: str) -> datetime:
    """Returns the time in a text, in UTC: in every form that this program prints, of ISO 8601 and of RFC 3339. Without
    an offset it is UTC; a day begins at midnight. Raises InvalidValue, which begins with the field."""
    return check_moment(field, _aware(_read(text, field, A_DATE)))


def parse_day(text: str, field: str, *, last: bool = False) -> date:
    """Returns the day in a text such as 2026-11-23; of a month or a week its first day, or its last one. Raises
    InvalidValue, which begins with the field."""
    plain = text.strip().upper()
    if not _DAY.fullmatch(plain):
        raise InvalidValue(f"{field}: {text[:_MAX_TEXT]!r} is not {A_DAY}")
    day = _in_years(_read(text, field, A_DAY), text, field)
    if last and _MONTH.fullmatch(plain):
        return (day + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return day + timedelta(days=6) if last and _WEEK.fullmatch(plain) else day


def parse_month(text: str, field: str) -> date:
    """Returns the first day of the month in a text such as 2026-11. Raises InvalidValue, which begins with the
    field."""
    if not _MONTH.fullmatch(text.strip()):
        raise InvalidValue(f"{field}: {text[:_MAX_TEXT]!r} is not {A_MONTH}")
    return _in_years(_read(text, field, A_MONTH), text, field)


def show_second(moment: datetime | None) -> str:
    """Returns a time in UTC, to the second; nothing for None."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else ""


def show_minute(moment: datetime | None) -> str:
    """Returns a time in UTC, to the minute; nothing for None."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def _read(text: str, field: str, form: str) -> datetime:
    plain = _SUFFIX.sub("", text.strip().upper()) if len(text) <= _MAX_TEXT else ""
    try:
        if _EPOCH.fullmatch(plain):
            return datetime.fromtimestamp(int(plain), UTC)
        return datetime.fromisoformat(f"{plain}-01" if _MONTH.fullmatch(plain) else plain)
    except (ValueError, OverflowError):
        raise InvalidValue(f"{field}: {text[:_MAX_TEXT]!r} is not {form}") from None


def _in_years(moment: datetime, text: str, field: str) -> date:
    if not is_allowed(moment.replace(tzinfo=UTC)):
        raise OutsideYears(f"{field}: {text[:_MAX_TEXT]!r} is not in {YEARS}")
    return moment.date()


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
