"""Dates: the allowed years after conversion to UTC, and the forms in which they are read."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import END, FIRST, is_allowed, parse_day, parse_moment, show_minute, show_second

EVENING = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23 18:00",
        "2026-11-23 18:00:00",
        "2026-11-23 18:00 UTC",
        "2026-11-23T18:00:00",
        "2026-11-23T18:00:00Z",
        "2026-11-23t18:00:00z",
        "2026-11-23T18:00:00+00:00",
        "2026-11-23T19:00:00.000000+01:00",
        "2026-11-23 18:00:00+00",
        "2026-11-23 18:00:00,000",
        "20261123T180000Z",
        " 2026-11-23 18:00 ",
        "1795456800",
    ],
)
def test_every_form_of_a_time_is_read(text: str) -> None:
    """Tables, JSON, CSV, psql and the log write times in these forms."""
    assert parse_moment(text, "at") == EVENING


@given(st.datetimes(FIRST.replace(tzinfo=None), END.replace(tzinfo=None)).filter(lambda moment: moment.year < 9999))
def test_what_is_shown_is_read(moment: datetime) -> None:
    """A time as tables and JSON show it is read as the same time."""
    moment = moment.replace(tzinfo=UTC)
    assert parse_moment(show_second(moment), "at") == moment.replace(microsecond=0)
    assert parse_moment(show_minute(moment), "at") == moment.replace(second=0, microsecond=0)
    assert parse_moment(moment.isoformat(), "at") == moment


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-23", date(2026, 11, 23), date(2026, 11, 23)),
        ("20261123", date(2026, 11, 23), date(2026, 11, 23)),
        ("2026-11", date(2026, 11, 1), date(2026, 11, 30)),
        ("2026-W48", date(2026, 11, 23), date(2026, 11, 29)),
    ],
)
def test_months_and_weeks_have_a_first_and_a_last_day(text: str, first: date, last: date) -> None:
    """Reports print months and weeks, and they can be given as their days."""
    assert (parse_day(text, "day"), parse_day(text, "day", last=True)) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-05:00",
        "9999-01-01T00:00:00Z",
        "9998-12-31T23:00:00-02:00",
        "0001-01-01T00:00:00+01:00",
        "2000-01-01T00:00:00+00:01",
        "1999-12-31",
    ],
)
def test_times_outside_of_the_years_are_refused(text: str) -> None:
    """The years 2000 to 9998 are meant in UTC, whatever offset a time has."""
    with pytest.raises(InvalidValue, match=r"at: .* is not in the years 2000 to 9998 \(UTC\)"):
        parse_moment(text, "at")


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-11-23T25:00", "infinity", "10000-01-01", "1" * 400])
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    """The message begins with the field and shows forms that are read."""
    with pytest.raises(InvalidValue, match=r"at: .* is not a date such as 2026-11-23"):
        parse_moment(text, "at")


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_can_be_compared(moment: datetime) -> None:
    """No time of Python's calendar fails, whatever its offset."""
    assert is_allowed(moment) in (True, False)
