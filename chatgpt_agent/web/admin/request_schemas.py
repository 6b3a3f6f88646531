"""What requests of several kinds have in common: paths, pages, and the error envelope."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.web.admin import cursors as pages

MAX_ID = 2**63 - 1
MAX_PAGE = 500


Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's part: a field that is not here is refused."""


def given(value: Any) -> Any:
    """A parameter, or None where it was not given."""
    return None if value is UNSET else value


class ErrorBody(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class Failure(Struct, frozen=True):
    """OpenAI's error envelope."""

    error: ErrorBody


# Paths and queries.


class Nothing(Strict, frozen=True, kw_only=True):
    """No parameters, or no body."""


class UserPath(Strict, frozen=True, kw_only=True):
    name: Name


class ById(Strict, frozen=True, kw_only=True):
    id: Id


class IdPage(Strict, frozen=True, kw_only=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.ID_CURSOR)] | UnsetType = UNSET


class TextPage(Strict, frozen=True, kw_only=True):
    limit: PageSize = 100
    after: Annotated[str, Meta(pattern=pages.TEXT_CURSOR)] | UnsetType = UNSET
