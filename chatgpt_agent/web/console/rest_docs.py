"""The documentation of REST: every request, and the OpenAPI document as a file."""

import asyncio
from typing import Any

from chatgpt_agent.web.admin.routes import PREFIX as REST
from chatgpt_agent.web.admin.routes import ROUTES, openapi_json
from chatgpt_agent.web.admin.routing import Route
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Code,
    Column,
    Download,
    Kind,
    Link,
    Message,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url


async def show_rest(request: ConsoleRequest) -> Result:
    """All requests, by subject."""
    _ = request._
    intro = _("Everything in this console can be done by REST, on this port, with a token of an admin.")
    example = f'curl {request.origin}{REST}/users -H "Authorization: Bearer cgm_…"'
    document = Button(_("OpenAPI document"), page_url("system", "openapi.json"), for_viewers=True)
    table = Table(
        name="requests",
        title=_("Requests"),
        columns=[
            Column("tag", _("Subject")),
            Column("request", _("Request")),
            Column("summary", _("What it does")),
            Column("viewers", _("Open to viewers"), Kind.FLAG),
        ],
        rows=[_row(request, route) for route in ROUTES],
        also=Also(rest=f"GET {REST}/openapi.json"),
    )
    return View(
        title=_("Documentation of REST"),
        section="system",
        up=Link(_("System"), page_url("system")),
        parts=[
            Message(text=intro),
            Buttons(buttons=[document]),
            Code(title=_("Example"), text=example, note=_("A token: `chatgpt-agent admin token NAME`.")),
            table,
        ],
    )


def _row(request: ConsoleRequest, route: Route) -> list[Any]:
    summary = request.message(route.summary)
    return [route.tag, f"{route.method} {REST}{route.path}", summary, route.for_viewers]


async def show_document(request: ConsoleRequest) -> Result:
    """The document, which REST gives to holders of a token alone."""
    return Download(name="openapi.json", content=await asyncio.to_thread(openapi_json), media_type="application/json")


PAGES = [
    Page(path="/system/rest", get=show_rest),
    Page(path="/system/openapi.json", get=show_document),
]
