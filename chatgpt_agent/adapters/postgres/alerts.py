"""The table `budget_alerts`: each alert is added once for all agents, and sent by one of them. When the next attempt is
due depends on the server's clock: those of the agents may differ."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import Store

_KEY = "budget_id, window_start, percent, amount"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that reached a threshold (percent) in a window, or refused a request (0). `amount` is the budget's, in
    USD; `body` is the JSON text for the webhook."""

    budget_id: int
    window_start: datetime
    percent: int
    amount: Decimal
    body: str
    attempts: int = 0


async def add_alert(store: Store, alert: Alert, *, sent: bool) -> bool:
    """Adds an alert; returns False if an agent has added it before. `sent`: the webhook does not receive it."""
    sql = f"""
        INSERT INTO budget_alerts ({_KEY}, body, next_attempt_at, sent_at)
        VALUES (%s, %s, %s, %s, %s, CURRENT_TIMESTAMP, CASE WHEN %s THEN CURRENT_TIMESTAMP END)
        ON CONFLICT DO NOTHING RETURNING budget_id"""
    return bool(await store.fetch(sql, [*_key(alert), alert.body, sent]))


async def count_waiting(store: Store) -> int:
    """Returns the number of alerts that are not sent yet."""
    [(count,)] = await store.fetch("SELECT count(*) FROM budget_alerts WHERE sent_at IS NULL")
    return int(count)


async def claim_due_alerts(store: Store, claim: timedelta, limit: int) -> list[Alert]:
    """Claims alerts that are due and returns them. Until the claim ends no other agent claims them."""
    sql = f"""
        UPDATE budget_alerts a SET attempts = a.attempts + 1, next_attempt_at = CURRENT_TIMESTAMP + %s
        FROM (SELECT {_KEY} FROM budget_alerts WHERE sent_at IS NULL AND next_attempt_at <= CURRENT_TIMESTAMP
              ORDER BY next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED) due
        WHERE (a.budget_id, a.window_start, a.percent, a.amount)
              = (due.budget_id, due.window_start, due.percent, due.amount)
        RETURNING a.budget_id, a.window_start, a.percent, a.amount, a.body, a.attempts"""
    rows = await store.fetch(sql, [claim, limit])
    return [
        Alert(budget_id=budget, window_start=start, percent=percent, amount=amount, body=body, attempts=attempts)
        for budget, start, percent, amount, body, attempts in rows
    ]


async def close_alert(store: Store, alert: Alert, sent_at: datetime) -> None:
    """Stores when an alert was sent; it is not sent again."""
    sql = f"UPDATE budget_alerts SET sent_at = %s WHERE ({_KEY}) = (%s, %s, %s, %s)"
    await store.fetch(sql, [sent_at, *_key(alert)])


async def postpone_alert(store: Store, alert: Alert, delay: timedelta) -> None:
    """Stores after which time an alert is to be sent again."""
    sql = f"UPDATE budget_alerts SET next_attempt_at = CURRENT_TIMESTAMP + %s WHERE ({_KEY}) = (%s, %s, %s, %s)"
    await store.fetch(sql, [delay, *_key(alert)])


def _key(alert: Alert) -> list[object]:
    return [alert.budget_id, alert.window_start, alert.percent, alert.amount]
