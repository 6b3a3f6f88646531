"""The audit log: which administrator changed what, and when."""

from collections.abc import Sequence
from datetime import datetime

from chatgpt_agent.adapters.postgres.audit import OBJECTS, AuditRow, Object, list_audit
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.admin.lookups import check_actor
from chatgpt_agent.core.errors import NotFound

__all__ = ["OBJECTS", "AuditLog", "AuditRow", "Object"]


class AuditLog:
    """Reads the log, which triggers of the database write."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def list(
        self,
        *,
        since: datetime | None = None,
        actor: str | None = None,
        object: str | None = None,
        object_id: int | None = None,
        before_id: int | None = None,
        limit: int,
    ) -> Sequence[AuditRow]:
        """Lists at most `limit` changes, the newest first; with `before_id`, those older than that one. Raises NotFound
        for an actor or an object that no change names."""
        changes = await list_audit(
            self._store,
            since=since,
            actor=actor,
            object=object,
            object_id=object_id,
            before_id=before_id,
            limit=limit,
        )
        if not changes and actor is not None:
            await check_actor(self._store, actor)
        if not changes and object_id is not None:
            await self._check_object(object, object_id)
        return changes

    async def _check_object(self, object: str | None, id: int) -> None:
        if not await list_audit(self._store, object=object, object_id=id, limit=1):
            kinds = "any object" if object is None else object
            raise NotFound(f"there is no change of {kinds} with the id {id}")
