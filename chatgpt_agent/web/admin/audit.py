"""The audit log over REST."""

from msgspec import UNSET, UnsetType

from chatgpt_agent.admin.audit import AuditRow, Object
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, Id, IdPage, or_none


class AuditQuery(IdPage, frozen=True, kw_only=True):
    since: Moment | UnsetType = UNSET
    actor: Name | UnsetType = UNSET
    object: Object | UnsetType = UNSET
    object_id: Id | UnsetType = UNSET


async def list_audit(request: AdminRequest[Empty, AuditQuery, None]) -> Page[AuditRow]:
    query = request.query
    rows = await request.administration.audit.list(
        since=or_none(query.since),
        actor=or_none(query.actor),
        object=or_none(query.object),
        object_id=or_none(query.object_id),
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
