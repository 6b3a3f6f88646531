"""Users and their tokens over REST. Each function is what a route does; the route table says what that is."""

from datetime import timedelta

import msgspec

from chatgpt_agent.core.access.user_changes import TokenChanges, UserChanges
from chatgpt_agent.web.admin import cursors as pages
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import (
    ById,
    IdPage,
    NewKey,
    NewToken,
    NewUser,
    Nothing,
    Rotation,
    TextPage,
    TokenPatch,
    TokenQuery,
    UserPatch,
    UserPath,
    given,
)
from chatgpt_agent.web.admin.response_schemas import IssuedOut, TokenOut, UserOut, same
from chatgpt_agent.web.admin.routing import Call


async def list_users(call: Call[Nothing, TextPage, None]) -> Page[UserOut]:
    limit = call.query.limit
    found = await call.administration.users.list(after=pages.text_of(call.query.after), limit=limit + 1)
    return pages.page([same(line, UserOut) for line in found], limit, lambda user: pages.text_cursor(user.name))


async def add_user(call: Call[Nothing, Nothing, NewUser]) -> IssuedOut:
    body = call.body
    issued = await call.administration.users.add(
        body.name, body.openai_key, comment=body.comment, allowed_models=body.allowed_models, limits=body.limits
    )
    return same(issued, IssuedOut)


async def get_user(call: Call[UserPath, Nothing, None]) -> UserOut:
    return same(await call.administration.users.get(call.path.name), UserOut)


async def change_user(call: Call[UserPath, Nothing, UserPatch]) -> UserOut:
    changes = UserChanges(**msgspec.structs.asdict(call.body))
    return same(await call.administration.users.change(call.path.name, changes, version=call.version), UserOut)


async def remove_user(call: Call[UserPath, Nothing, None]) -> None:
    await call.administration.users.remove(call.path.name, version=call.version)


async def set_key(call: Call[UserPath, Nothing, NewKey]) -> None:
    await call.administration.users.set_openai_key(call.path.name, call.body.openai_key)


async def list_user_tokens(call: Call[UserPath, IdPage, None]) -> Page[TokenOut]:
    return await _tokens(call, call.path.name)


async def list_tokens(call: Call[Nothing, TokenQuery, None]) -> Page[TokenOut]:
    return await _tokens(call, given(call.query.user))


async def _tokens(
    call: Call[UserPath, IdPage, None] | Call[Nothing, TokenQuery, None], user: str | None
) -> Page[TokenOut]:
    limit = call.query.limit
    found = await call.administration.tokens.list(user, after=pages.id_of(call.query.after), limit=limit + 1)
    return pages.page([same(line, TokenOut) for line in found], limit, lambda token: pages.id_cursor(token.id))


async def issue_token(call: Call[UserPath, Nothing, NewToken]) -> IssuedOut:
    body = call.body
    issued = await call.administration.tokens.issue(
        call.path.name,
        label=body.label,
        expires_at=body.expires_at,
        allowed_models=body.allowed_models,
        allowed_networks=body.allowed_networks,
        limits=body.limits,
    )
    return same(issued, IssuedOut)


async def get_token(call: Call[ById, Nothing, None]) -> TokenOut:
    return same(await call.administration.tokens.get(call.path.id), TokenOut)


async def change_token(call: Call[ById, Nothing, TokenPatch]) -> TokenOut:
    changes = TokenChanges(**msgspec.structs.asdict(call.body))
    return same(await call.administration.tokens.change(call.path.id, changes, version=call.version), TokenOut)


async def rotate_token(call: Call[ById, Nothing, Rotation]) -> IssuedOut:
    grace = timedelta(seconds=call.body.grace_seconds)
    return same(await call.administration.tokens.rotate(call.path.id, grace=grace), IssuedOut)


async def revoke_token(call: Call[ById, Nothing, None]) -> None:
    await call.administration.tokens.revoke(call.path.id, version=call.version)
