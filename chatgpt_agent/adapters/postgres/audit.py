"""Reading the audit log, which triggers of the database write."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.money.kinds import RATE_NAMES

Object = Literal["users", "tokens", "prices", "budgets", "admins", "usage"]
OBJECTS: tuple[str, ...] = get_args(Object)
_MONEY = frozenset({*RATE_NAMES, "amount", "cost", "uncertain_cost", "reserved"})  # `reserved`: before migration 0004


class AuditRow(msgspec.Struct, frozen=True):
    """One change. `name`: what people call the object, as far as it is still known; `before` and `after`: the columns
    that changed, amounts as texts, which no reader rounds."""

    id: int
    at: datetime
    actor: str
    via: str
    address: str
    action: str
    object: str
    object_id: int
    name: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def list_audit(
    store: AnyStore,
    *,
    since: datetime | None = None,
    actor: str | None = None,
    object: str | None = None,
    object_id: int | None = None,
    before_id: int | None = None,
    limit: int,
) -> list[AuditRow]:
    """The newest changes, or those older than the one of `before_id`."""
    sql = """
        SELECT a.id, a.at, a.actor, a.via, a.address, a.action, a.object, a.object_id,
               CASE a.object
                   WHEN 'users' THEN (SELECT u.name FROM users u WHERE u.id = a.object_id)
                   WHEN 'tokens' THEN
                       (SELECT u.name FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.id = a.object_id)
                   WHEN 'prices' THEN (SELECT p.model FROM prices p WHERE p.id = a.object_id)
                   WHEN 'budgets' THEN
                       (SELECT u.name FROM budgets b LEFT JOIN tokens t ON t.id = b.token_id
                        JOIN users u ON u.id = coalesce(b.user_id, t.user_id) WHERE b.id = a.object_id)
                   WHEN 'usage' THEN a.after ->> 'corrects'
                   WHEN 'admins' THEN (SELECT m.name FROM admins m WHERE m.id = a.object_id)
               END, a.before::text, a.after::text
        FROM audit_log a
        WHERE (%s::timestamptz IS NULL OR a.at >= %s) AND (%s::text IS NULL OR a.actor = %s)
          AND (%s::text IS NULL OR a.object = %s) AND (%s::bigint IS NULL OR a.object_id = %s)
          AND (%s::bigint IS NULL OR a.id < %s)
        ORDER BY a.id DESC LIMIT %s"""
    asked = (since, actor, object, object_id, before_id)
    lines = await store.fetch(sql, [value for each in asked for value in (each, each)] + [limit])
    return [AuditRow(*[*first, _columns(before), _columns(after)]) for *first, before, after in lines]


def _columns(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    found = json.loads(text, parse_float=Decimal)
    return {name: str(value) if name in _MONEY and value is not None else value for name, value in found.items()}
