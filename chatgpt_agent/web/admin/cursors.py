"""Cursors: the end of a page as a text that clients return without reading it.

The next page starts after the key of the last row, so that rows added in between neither shift nor repeat others.
Every text that matches a cursor's pattern is a position in its list, even if we have not issued it.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ID_CURSOR = "^[0-9a-f]{1,15}$"
TEXT_CURSOR = "^([0-9a-f]{2}){1,512}$"
ROW_CURSOR = "^000[0-9a-f]{45}$"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list. `next`: the value of `after` for the next page, null on the last one."""

    data: list[T]
    next: str | None


def page(rows: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """Returns the page of rows, of which the caller has read `limit` + 1: one more shows that there is a next page."""
    data = list(rows[:limit])
    return Page(data, cursor(data[-1]) if len(rows) > limit else None)


def id_cursor(id: int) -> str:
    """Returns the position after an id."""
    return f"{id:x}"


def id_of(cursor: str | msgspec.UnsetType) -> int | None:
    """Returns the id of a cursor, or None for the first page."""
    return int(cursor, 16) if isinstance(cursor, str) else None


def text_cursor(text: str) -> str:
    """Returns the position after a name."""
    return text.encode().hex()


def text_of(cursor: str | msgspec.UnsetType) -> str | None:
    """Returns the name of a cursor, or None for the first page."""
    if not isinstance(cursor, str):
        return None
    return bytes.fromhex(cursor).decode("utf-8", "replace").replace("\x00", "\ufffd")


def row_cursor(started_at: datetime, request_id: UUID) -> str:
    """Returns the position after a row of the ledger: microseconds since 1970, and the request id."""
    return f"{(started_at - _EPOCH) // timedelta(microseconds=1):016x}{request_id.hex}"


def row_of(cursor: str | msgspec.UnsetType) -> tuple[datetime, UUID] | None:
    """Returns time and request id of a cursor, or None for the first page."""
    if not isinstance(cursor, str):
        return None
    return _EPOCH + timedelta(microseconds=int(cursor[:16], 16)), UUID(cursor[16:])
