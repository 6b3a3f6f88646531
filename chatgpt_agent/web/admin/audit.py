"""The audit log over REST."""

from msgspec import UNSET, UnsetType

from chatgpt_agent.admin.audit import AuditRow, Object
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import Id, IdPage, Nothing, given
from chatgpt_agent.web.admin.routing import Call, Route


class AuditQuery(IdPage, frozen=True, kw_only=True):
    since: Moment | UnsetType = UNSET
    actor: Name | UnsetType = UNSET
    object: Object | UnsetType = UNSET
    object_id: Id | UnsetType = UNSET


async def list_audit(call: Call[Nothing, AuditQuery, None]) -> Page[AuditRow]:
    query = call.query
    rows = await call.administration.audit.list(
        since=given(query.since),
        actor=given(query.actor),
        object=given(query.object),
        object_id=given(query.object_id),
        before_id=cursors.id_of(query.after),
        limit=query.limit + 1,
    )
    return cursors.page(rows, query.limit, lambda row: cursors.id_cursor(row.id))


ROUTES = [
    Route(
        method="GET", path="/audit", handler=list_audit, summary="List changes, the newest first",
        query=AuditQuery, answer=Page[AuditRow], tag="audit",
    ),
]  # fmt: skip
