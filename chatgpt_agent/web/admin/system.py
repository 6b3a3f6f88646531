"""The system over REST."""

from chatgpt_agent.admin.system import System
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty


async def show_system(request: AdminRequest[Empty, Empty, None]) -> System:
    return await request.administration.system.read(request.api.upstream)


ROUTES = [
    Route(
        method="GET", path="/system", handler=show_system,
        summary="Show versions, the configuration without secrets, and the health of database, outbox and upstream",
        answer=System, tag="system",
    ),
]  # fmt: skip
