"""How times and days of PostgreSQL become Python's: in UTC, and never with an error.

PostgreSQL's calendar is longer than Python's. psycopg2 raises for a year before 1 or after 9999, and with it fails the
whole result. Here such a value becomes the nearest end of Python's calendar.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from psycopg2.extensions import new_type, register_type

T = TypeVar("T", datetime, date)

# Their numbers in pg_type, which never change.
_TIMESTAMPTZ, _DATE = 1184, 1082


def _or_edge(read: Callable[[str], T], first: T, last: T) -> Callable[[Any, Any], T | None]:
    def cast(text: str | None, _: Any) -> T | None:
        if text is None:
            return None
        try:
            return read(text)
        except (ValueError, OverflowError):
            return first if text.startswith(("-", "0001-")) or text.endswith("BC") else last

    return cast


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


_TYPES = (
    new_type(
        (_TIMESTAMPTZ,),
        "TIMESTAMPTZ",
        _or_edge(_utc, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    ),
    new_type((_DATE,), "DATE", _or_edge(date.fromisoformat, date.min, date.max)),
)


def register_casts(connection: Any) -> None:
    """Makes a connection of psycopg2 read times and days as above."""
    for kind in _TYPES:
        register_type(kind, connection)
