"""The table `audit_log`. Triggers of the database write it."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.money.kinds import RATE_NAMES

Object = Literal["users", "tokens", "prices", "surcharges", "budgets", "admins", "usage", "settings", "archived_months"]
OBJECTS: tuple[str, ...] = get_args(Object)

# Columns with amounts. Migration 0004 renamed `reserved` to `uncertain_cost`; older entries keep the former name.
_AMOUNTS = frozenset({*RATE_NAMES, "amount", "cost", "uncertain_cost", "reserved"})


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `name` is the name of the object, if it still exists; `before` and `after` contain the columns that
    changed, with amounts as texts, so that no reader rounds them."""

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
    """Returns the newest changes that match, or those older than the one with `before_id`."""
    sql = """
        SELECT a.id, a.at, a.actor, a.via, a.address, a.action, a.object, a.object_id,
               CASE a.object
                   WHEN 'users' THEN (SELECT u.name FROM users u WHERE u.id = a.object_id)
                   WHEN 'tokens' THEN
                       (SELECT u.name FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.id = a.object_id)
                   WHEN 'prices' THEN (SELECT p.model FROM prices p WHERE p.id = a.object_id)
                   WHEN 'surcharges' THEN
                       (SELECT concat_ws(' ', s.kind, nullif(s.host, ''), nullif(s.model, ''))
                        FROM surcharges s WHERE s.id = a.object_id)
                   WHEN 'budgets' THEN
                       (SELECT u.name FROM budgets b LEFT JOIN tokens t ON t.id = b.token_id
                        JOIN users u ON u.id = coalesce(b.user_id, t.user_id) WHERE b.id = a.object_id)
                   WHEN 'usage' THEN a.after ->> 'corrects'
                   WHEN 'settings' THEN 'master key'
                   WHEN 'archived_months' THEN left(coalesce(a.after, a.before) ->> 'month', 7)
                   WHEN 'admins' THEN (SELECT m.name FROM admins m WHERE m.id = a.object_id)
               END, a.before::text, a.after::text
        FROM audit_log a
        WHERE (%s::timestamptz IS NULL OR a.at >= %s) AND (%s::text IS NULL OR a.actor = %s)
          AND (%s::text IS NULL OR a.object = %s) AND (%s::bigint IS NULL OR a.object_id = %s)
          AND (%s::bigint IS NULL OR a.id < %s)
        ORDER BY a.id DESC LIMIT %s"""
    filters = [value for each in (since, actor, object, object_id, before_id) for value in (each, each)]
    names = AuditRow.__struct_fields__
    rows = await store.fetch(sql, [*filters, limit])
    return [
        AuditRow(**dict(zip(names, [*columns, _decode(before), _decode(after)], strict=True)))
        for *columns, before, after in rows
    ]


def _decode(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    columns = json.loads(text, parse_float=Decimal)
    return {name: str(value) if name in _AMOUNTS and value is not None else value for name, value in columns.items()}
