"""Administrators over REST, for those with the role admin alone. Tokens are issued on the command line: whoever can
read one must not be able to make another that lasts longer."""

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.web.admin import cursors as pages
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import Nothing, TextPage, UserPath
from chatgpt_agent.web.admin.response_schemas import AdminOut, same
from chatgpt_agent.web.admin.routing import Call


async def list_admins(call: Call[Nothing, TextPage, None]) -> Page[AdminOut]:
    limit, after = call.query.limit, pages.text_of(call.query.after) or ""
    found = sorted(
        await call.administration.admins.list(), key=lambda admin: admin.name
    )  # PostgreSQL's order is another one
    behind = [admin for admin in found if admin.name > after][: limit + 1]
    listed = [same(admin, AdminOut, role=Role(admin.role)) for admin in behind]
    return pages.page(listed, limit, lambda admin: pages.text_cursor(admin.name))


async def revoke_admin(call: Call[UserPath, Nothing, None]) -> None:
    await call.administration.admins.revoke_remotely(call.path.name)
