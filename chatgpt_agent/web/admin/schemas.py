"""Schemas that several kinds of requests share: paths, pages and the error object."""

from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.web.admin import cursors

T = TypeVar("T")

MAX_ID = 2**63 - 1
MAX_PAGE = 500

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
_CURSOR = {"words": "the value of `next` from the page before"}
IdCursor = Annotated[str, Meta(pattern=cursors.ID_CURSOR, extra=_CURSOR)]
TextCursor = Annotated[str, Meta(pattern=cursors.TEXT_CURSOR, extra=_CURSOR)]
RowCursor = Annotated[str, Meta(pattern=cursors.ROW_CURSOR, extra=_CURSOR)]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a request. Unknown fields are refused."""


def or_none(value: T | UnsetType) -> T | None:
    """Returns the value of a parameter, or None if it is missing. Such a parameter has no default, which OpenAPI
    would show as null."""
    return None if isinstance(value, UnsetType) else value


class ErrorBody(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class Failure(Struct, frozen=True):
    """OpenAI's error object."""

    error: ErrorBody


# Paths and queries.


class Empty(Strict, frozen=True, kw_only=True):
    """No parameters."""


class UserPath(Strict, frozen=True, kw_only=True):
    name: Name


class IdPath(Strict, frozen=True, kw_only=True):
    id: Id


class IdPage(Strict, frozen=True, kw_only=True):
    """A page of a list in the order of ids."""

    limit: PageSize = 100
    after: IdCursor | UnsetType = UNSET


class TextPage(Strict, frozen=True, kw_only=True):
    """A page of a list in the order of names."""

    limit: PageSize = 100
    after: TextCursor | UnsetType = UNSET
