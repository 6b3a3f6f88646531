"""Administrators over REST, only for the role admin. Only the command line issues their tokens: see admin/admins.py."""

from chatgpt_agent.admin.admins import AdminRow
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, TextPage, UserPath


async def list_admins(request: AdminRequest[Empty, TextPage, None]) -> Page[AdminRow]:
    limit, after = request.query.limit, cursors.text_of(request.query.after) or ""
    admins = [admin for admin in await request.administration.admins.list() if admin.name > after]
    return cursors.page(admins[: limit + 1], limit, lambda admin: cursors.text_cursor(admin.name))


async def revoke_admin(request: AdminRequest[UserPath, Empty, None]) -> None:
    await request.administration.admins.revoke_unless_last(request.path.name)


ROUTES = [
    Route(
        method="GET", path="/admins", handler=list_admins, summary="List admins by name",
        query=TextPage, answer=Page[AdminRow], admins_only=True, tag="admins",
    ),
    Route(
        method="POST", path="/admins/{name}/revoke", handler=revoke_admin,
        summary="Revoke an admin's token and password, except the last with the role admin",
        path_params=UserPath, status=204, tag="admins",
    ),
]  # fmt: skip
