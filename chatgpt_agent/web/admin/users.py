"""Users over REST."""

import asyncio

import msgspec

from chatgpt_agent.admin.users import IssuedToken, UserRow
from chatgpt_agent.core.access.key_import import read_keys
from chatgpt_agent.core.access.settings import Name, NewUser, OpenAIKey, UserChanges
from chatgpt_agent.core.csv_reader import read_rows
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import CSV_FILE, MAX_FILE, AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, Strict, TextPage, UserPath


class ReplacedKeys(msgspec.Struct, frozen=True):
    """The names of the users whose OpenAI keys were replaced."""

    replaced: list[str]


class NewName(Strict, frozen=True, kw_only=True):
    name: Name


class NewKey(Strict, frozen=True, kw_only=True):
    openai_key: OpenAIKey


async def list_users(request: AdminRequest[Empty, TextPage, None]) -> Page[UserRow]:
    limit, after = request.query.limit, cursors.text_of(request.query.after)
    users = await request.administration.users.list(after=after, limit=limit + 1)
    return cursors.page(users, limit, lambda user: cursors.text_cursor(user.name))


async def add_user(request: AdminRequest[Empty, Empty, NewUser]) -> IssuedToken:
    return await request.administration.users.add(request.body)


async def get_user(request: AdminRequest[UserPath, Empty, None]) -> UserRow:
    return await request.administration.users.get(request.path.name)


async def change_user(request: AdminRequest[UserPath, Empty, UserChanges]) -> UserRow:
    return await request.administration.users.change(request.path.name, request.body, version=request.version)


async def rename_user(request: AdminRequest[UserPath, Empty, NewName]) -> UserRow:
    return await request.administration.users.rename(request.path.name, request.body.name, version=request.version)


async def remove_user(request: AdminRequest[UserPath, Empty, None]) -> None:
    await request.administration.users.remove(request.path.name, version=request.version)


async def import_keys(request: AdminRequest[Empty, Empty, bytes]) -> ReplacedKeys:
    # In a thread: checking 5,000 lines would hold the event loop up.
    keys = await asyncio.to_thread(lambda: read_keys(read_rows(request.body)))
    return ReplacedKeys(await request.administration.users.set_openai_keys(keys))


async def set_key(request: AdminRequest[UserPath, Empty, NewKey]) -> None:
    await request.administration.users.set_openai_key(request.path.name, request.body.openai_key)


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
        method="POST", path="/users/{name}/rename", handler=rename_user,
        summary="Give a user another name; tokens, budgets and rows stay theirs",
        path_params=UserPath, body=NewName, answer=UserRow, conditional=True, tag="users",
    ),
    Route(
        method="POST", path="/users/{name}/remove", handler=remove_user,
        summary="Remove a user: the key is destroyed, the usage stays",
        path_params=UserPath, status=204, conditional=True, tag="users",
    ),
    Route(
        method="PUT", path="/users/{name}/key", handler=set_key, summary="Replace a user's OpenAI key",
        path_params=UserPath, body=NewKey, status=204, tag="users",
    ),
    Route(
        method="POST", path="/key-import", handler=import_keys,
        summary="Replace the OpenAI keys of the users in a CSV file, or none if a line has an error",
        body=bytes, files=CSV_FILE, max_body=MAX_FILE, answer=ReplacedKeys, tag="users",
    ),
]  # fmt: skip
