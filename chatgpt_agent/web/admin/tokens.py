"""Tokens over REST."""

from datetime import timedelta
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin.tokens import GRACE, MAX_GRACE, IssuedToken, TokenRow
from chatgpt_agent.core.access.settings import Name, TokenSettings
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import ById, IdPage, Nothing, Strict, UserPath, given
from chatgpt_agent.web.admin.routing import AnyCall, Call, Route


class TokenQuery(IdPage, frozen=True, kw_only=True):
    user: Name | UnsetType = UNSET


class Rotation(Strict, frozen=True, kw_only=True):
    """How long the old token still works."""

    grace_seconds: Annotated[int, Meta(ge=0, le=int(MAX_GRACE.total_seconds()))] = int(GRACE.total_seconds())


async def list_tokens(call: Call[Nothing, TokenQuery, None]) -> Page[TokenRow]:
    return await _page(call, call.query, given(call.query.user))


async def list_user_tokens(call: Call[UserPath, IdPage, None]) -> Page[TokenRow]:
    return await _page(call, call.query, call.path.name)


async def _page(call: AnyCall, query: IdPage, user: str | None) -> Page[TokenRow]:
    tokens = await call.administration.tokens.list(user, after=cursors.id_of(query.after), limit=query.limit + 1)
    return cursors.page(tokens, query.limit, lambda token: cursors.id_cursor(token.id))


async def issue_token(call: Call[UserPath, Nothing, TokenSettings]) -> IssuedToken:
    return await call.administration.tokens.issue(call.path.name, call.body)


async def get_token(call: Call[ById, Nothing, None]) -> TokenRow:
    return await call.administration.tokens.get(call.path.id)


async def change_token(call: Call[ById, Nothing, TokenSettings]) -> TokenRow:
    return await call.administration.tokens.change(call.path.id, call.body, version=call.version)


async def rotate_token(call: Call[ById, Nothing, Rotation]) -> IssuedToken:
    grace = timedelta(seconds=call.body.grace_seconds)
    return await call.administration.tokens.rotate(call.path.id, grace=grace)


async def revoke_token(call: Call[ById, Nothing, None]) -> None:
    await call.administration.tokens.revoke(call.path.id, version=call.version)


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
        path_params=ById, answer=TokenRow, tag="tokens",
    ),
    Route(
        method="PATCH", path="/tokens/{id}", handler=change_token, summary="Change a token",
        path_params=ById, body=TokenSettings, answer=TokenRow, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/revoke", handler=revoke_token, summary="Revoke a token for good",
        path_params=ById, status=204, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/rotate", handler=rotate_token,
        summary="Issue a token like this one, which works on for a while",
        path_params=ById, body=Rotation, answer=IssuedToken, status=201, tag="tokens",
    ),
]  # fmt: skip
