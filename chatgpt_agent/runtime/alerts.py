"""Who is told that a budget is nearly spent, or spent: a line in the log, and a webhook that is tried until it answers.

An alert is a row in PostgreSQL before it is sent: of several agents one tells it, and none is lost with the process.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import NAMESPACE_URL, uuid5

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.alerts import Alert, add_alert, claim_due_alerts, update_alert
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.webhook import Webhook, read_webhook_secret
from chatgpt_agent.core.budget.period import Budget, Window
from chatgpt_agent.core.errors import StoreError, WebhookFailed
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop

log = logging.getLogger(__name__)

EVER = datetime(1970, 1, 1, tzinfo=UTC)  # the beginning of a budget without an end
TRIES = [timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)]
BATCH = 20
LOOK_SECONDS = 5.0  # between two looks for alerts that are due
TAKEN = timedelta(seconds=60)  # what an agent took is its own for so long


def open_webhook(config: Config) -> Webhook | None:
    """The configured webhook, if there is one. Raises SetupError."""
    if config.webhook_url is None:
        return None
    secret = config.webhook_secret_file
    return Webhook(config.webhook_url, None if secret is None else read_webhook_secret(secret))


class Alerts:
    """What is to be told. `names`: the user of a budget, by name. `now` is the time of day in UTC."""

    def __init__(
        self,
        store: Store,
        webhook: Webhook | None,
        *,
        user_of: Callable[[Budget], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._user_of = user_of
        self._now = now
        self._new: deque[tuple[Alert, str]] = deque()
        self._wake = asyncio.Event()
        self.background = Background(on_death)

    def on_threshold(self, budget: Budget, window: Window, percent: int, spent: Decimal) -> None:
        """Takes note that a budget has passed a mark. Called on the request path: it waits for nothing."""
        assert budget.amount is not None
        user = self._user_of(budget)
        body = {
            "type": "budget.exhausted" if percent >= 100 else "budget.threshold",
            "timestamp": self._now(),
            "data": {
                "budget_id": budget.id,
                "user": user,
                "token_id": budget.token_id,
                "period": budget.period,
                "amount_usd": f"{budget.amount:f}",
                "spent_usd": f"{spent:f}",
                "percent": percent,
                "resets_at": window.ends_at,
            },
        }
        alert = Alert(
            budget_id=budget.id,
            window_start=window.begins_at or EVER,
            percent=percent,
            amount=budget.amount,
            body=msgspec.json.encode(body).decode(),
        )
        whose = f"user {user}" if budget.token_id is None else f"token {budget.token_id} of user {user}"
        words = f"the budget of {whose} is at {percent}%: {spent:f} of {budget.amount:f} USD ({budget.period})"
        self._new.append((alert, words))
        self._wake.set()

    def start(self) -> None:
        """Tells from here on."""
        self.background.start("alerts", self._tell_forever())

    async def close(self) -> None:
        """Stops. What is not told yet is told at the next start, or by another agent."""
        await self.background.close()
        try:
            async with asyncio.timeout(1):
                await self._write_down()
        except (StoreError, TimeoutError):
            log.warning("%d alerts could not be written down", len(self._new))
        if self._webhook is not None:
            self._webhook.close()
        await self._store.close()

    async def _tell_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS if self._webhook else None):
                    await self._wake.wait()
            except TimeoutError:
                pass  # others may be due
            self._wake.clear()
            try:
                await self._write_down()
                if self._webhook is not None:
                    await self._send_due(self._webhook)
            except StoreError:  # the directory, which asks the same server, says so
                await asyncio.sleep(LOOK_SECONDS)
                self._wake.set()

    async def _write_down(self) -> None:
        while self._new:
            alert, words = self._new[0]
            if await add_alert(self._store, alert, self._now(), sent=self._webhook is None):
                log.warning("%s", words)
            self._new.popleft()

    async def _send_due(self, webhook: Webhook) -> None:
        while due := await claim_due_alerts(self._store, self._now(), self._now() + TAKEN, BATCH):
            await asyncio.gather(*(self._send(webhook, alert) for alert in due))

    async def _send(self, webhook: Webhook, alert: Alert) -> None:
        key = f"{alert.budget_id} {alert.window_start.isoformat()} {alert.percent} {alert.amount}"
        sent_at, next_attempt_at = None, self._now()
        try:
            await webhook.post(f"msg_{uuid5(NAMESPACE_URL, key).hex}", int(time.time()), alert.body.encode())
            sent_at = self._now()
        except WebhookFailed as error:
            if alert.attempts > len(TRIES):
                log.error("the webhook was not reached for an alert, which is given up: %s", error)
                sent_at = EVER
            else:
                next_attempt_at += TRIES[alert.attempts - 1]
                log.warning("the webhook was not reached, try %d: %s", alert.attempts, error)
        await update_alert(self._store, alert, sent_at=sent_at, next_attempt_at=next_attempt_at)
