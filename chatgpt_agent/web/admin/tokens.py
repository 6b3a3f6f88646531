"""Tokens over REST."""

from datetime import timedelta
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin.tokens import GRACE, MAX_GRACE, IssuedToken, TokenRow
from chatgpt_agent.core.access.settings import Name, TokenSettings
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import AdminRequest, AnyRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, IdPage, IdPath, Strict, UserPath, or_none


class TokenQuery(IdPage, frozen=True, kw_only=True):
    user: Name | UnsetType = UNSET


class Rotation(Strict, frozen=True, kw_only=True):
    """How long the old token still works."""

    grace_seconds: Annotated[int, Meta(ge=0, le=int(MAX_GRACE.total_seconds()))] = int(GRACE.total_seconds())


async def list_tokens(request: AdminRequest[Empty, TokenQuery, None]) -> Page[TokenRow]:
    return await _page(request, request.query, or_none(request.query.user))


async def list_user_tokens(request: AdminRequest[UserPath, IdPage, None]) -> Page[TokenRow]:
    return await _page(request, request.query, request.path.name)


async def _page(request: AnyRequest, query: IdPage, user: str | None) -> Page[TokenRow]:
    tokens = await request.administration.tokens.list(user, after=cursors.id_of(query.after), limit=query.limit + 1)
    return cursors.page(tokens, query.limit, lambda token: cursors.id_cursor(token.id))


async def issue_token(request: AdminRequest[UserPath, Empty, TokenSettings]) -> IssuedToken:
    return await request.administration.tokens.issue(request.path.name, request.body)


async def get_token(request: AdminRequest[IdPath, Empty, None]) -> TokenRow:
    return await request.administration.tokens.get(request.path.id)


async def change_token(request: AdminRequest[IdPath, Empty, TokenSettings]) -> TokenRow:
    return await request.administration.tokens.change(request.path.id, request.body, version=request.version)


async def rotate_token(request: AdminRequest[IdPath, Empty, Rotation]) -> IssuedToken:
    grace = timedelta(seconds=request.body.grace_seconds)
    return await request.administration.tokens.rotate(request.path.id, grace=grace)


async def revoke_token(request: AdminRequest[IdPath, Empty, None]) -> None:
    await request.administration.tokens.revoke(request.path.id, version=request.version)


ROUTES = [
    Route(
        method="GET", path="/users/{name}/tokens", handler=list_user_tokens, summary="List a user's tokens",
        path_params=UserPath, query=IdPage, answer=Page[TokenRow], tag="tokens",
    ),
    Route(
        method="POST", path="/users/{name}/tokens", handler=issue_token, summary="Issue one more token",
        path_params=UserPath, body=TokenSettings, answer=IssuedToken, status=201, tag="tokens",
    ),
    Route(
        method="GET", path="/tokens", handler=list_tokens, summary="List tokens",
        query=TokenQuery, answer=Page[TokenRow], tag="tokens",
    ),
    Route(
        method="GET", path="/tokens/{id}", handler=get_token, summary="Show a token",
        path_params=IdPath, answer=TokenRow, tag="tokens",
    ),
    Route(
        method="PATCH", path="/tokens/{id}", handler=change_token, summary="Change a token",
        path_params=IdPath, body=TokenSettings, answer=TokenRow, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/revoke", handler=revoke_token, summary="Revoke a token for good",
        path_params=IdPath, status=204, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/rotate", handler=rotate_token,
        summary="Replace a token, which still works for a grace period",
        path_params=IdPath, body=Rotation, answer=IssuedToken, status=201, tag="tokens",
    ),
]  # fmt: skip
