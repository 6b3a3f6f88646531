"""Users over REST."""

from chatgpt_agent.admin.users import IssuedToken, UserRow
from chatgpt_agent.core.access.settings import NewUser, OpenAIKey, UserChanges
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import Nothing, Strict, TextPage, UserPath
from chatgpt_agent.web.admin.routing import Call, Route


class NewKey(Strict, frozen=True, kw_only=True):
    openai_key: OpenAIKey


async def list_users(call: Call[Nothing, TextPage, None]) -> Page[UserRow]:
    limit, after = call.query.limit, cursors.text_of(call.query.after)
    users = await call.administration.users.list(after=after, limit=limit + 1)
    return cursors.page(users, limit, lambda user: cursors.text_cursor(user.name))


async def add_user(call: Call[Nothing, Nothing, NewUser]) -> IssuedToken:
    return await call.administration.users.add(call.body)


async def get_user(call: Call[UserPath, Nothing, None]) -> UserRow:
    return await call.administration.users.get(call.path.name)


async def change_user(call: Call[UserPath, Nothing, UserChanges]) -> UserRow:
    return await call.administration.users.change(call.path.name, call.body, version=call.version)


async def remove_user(call: Call[UserPath, Nothing, None]) -> None:
    await call.administration.users.remove(call.path.name, version=call.version)


async def set_key(call: Call[UserPath, Nothing, NewKey]) -> None:
    await call.administration.users.set_openai_key(call.path.name, call.body.openai_key)


ROUTES = [
    Route(
        method="GET", path="/users", handler=list_users, summary="List users by name",
        query=TextPage, answer=Page[UserRow], tag="users",
    ),
    Route(
        method="POST", path="/users", handler=add_user, summary="Add a user and issue a first token",
        body=NewUser, answer=IssuedToken, status=201, tag="users",
    ),
    Route(
        method="GET", path="/users/{name}", handler=get_user, summary="Show a user",
        path_params=UserPath, answer=UserRow, tag="users",
    ),
    Route(
        method="PATCH", path="/users/{name}", handler=change_user, summary="Change a user",
        path_params=UserPath, body=UserChanges, answer=UserRow, conditional=True, tag="users",
    ),
    Route(
        method="POST", path="/users/{name}/remove", handler=remove_user,
        summary="Remove a user: the key is destroyed, the books stay",
        path_params=UserPath, status=204, conditional=True, tag="users",
    ),
    Route(
        method="PUT", path="/users/{name}/key", handler=set_key, summary="Replace a user's OpenAI key",
        path_params=UserPath, body=NewKey, status=204, tag="users",
    ),
]  # fmt: skip
