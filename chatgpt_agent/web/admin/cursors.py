"""Cursors: where a page ended, as a text that clients hand back and do not read.

A page goes on behind the last line's own key, so that lines which come in between neither move nor repeat others.
Every text that matches a cursor's pattern is a place in its list, also one that was made up.
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
    """A part of a list; `next` is what `after` must be for the part behind it, null at the end."""

    data: list[T]
    next: str | None


def page(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """The page out of lines of which one more than `limit` was asked for: that one says whether there are more."""
    shown = list(found[:limit])
    return Page(shown, cursor(shown[-1]) if len(found) > limit else None)


def id_cursor(id: int) -> str:
    """The place behind a number."""
    return f"{id:x}"


def id_of(cursor: str | msgspec.UnsetType) -> int | None:
    """The number of a cursor; None at the beginning."""
    return int(cursor, 16) if isinstance(cursor, str) else None


def text_cursor(text: str) -> str:
    """The place behind a name."""
    return text.encode().hex()


def text_of(cursor: str | msgspec.UnsetType) -> str | None:
    """The name of a cursor; None at the beginning."""
    if not isinstance(cursor, str):
        return None
    return bytes.fromhex(cursor).decode("utf-8", "replace").replace("\x00", "\ufffd")


def row_cursor(started_at: datetime, request_id: UUID) -> str:
    """The place behind a row of the ledger: microseconds since 1970, and the request id."""
    return f"{(started_at - _EPOCH) // timedelta(microseconds=1):016x}{request_id.hex}"


def row_of(cursor: str | msgspec.UnsetType) -> tuple[datetime, UUID] | None:
    """Time and id of a cursor; None at the beginning."""
    if not isinstance(cursor, str):
        return None
    return _EPOCH + timedelta(microseconds=int(cursor[:16], 16)), UUID(cursor[16:])
