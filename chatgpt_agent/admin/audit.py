"""The audit log: which administrator changed what, and when."""

from collections.abc import Sequence
from datetime import datetime

from chatgpt_agent.adapters.postgres.audit import OBJECTS, AuditRow, Object, list_audit
from chatgpt_agent.adapters.postgres.connection import AnyStore

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
        """Lists at most `limit` changes, the newest first; with `before_id`, those older than that one."""
        return await list_audit(
            self._store,
            since=since,
            actor=actor,
            object=object,
            object_id=object_id,
            before_id=before_id,
            limit=limit,
        )
