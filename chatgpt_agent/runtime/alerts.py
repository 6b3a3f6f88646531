"""Alerts: a budget that crosses a threshold, or refuses a request, is reported in the log and to a webhook, which is
tried until it answers.

An alert is a row in PostgreSQL before it is sent: of several agents one sends it, and none is lost with the process.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.alerts import Alert, add_alert, claim_due_alerts, close_alert, postpone_alert
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.webhook import Webhook, read_webhook_secret
from chatgpt_agent.core.budget.events import BudgetEvent, Crossing, Refusal
from chatgpt_agent.core.budget.period import Budget
from chatgpt_agent.core.errors import StoreError, WebhookFailed
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop

log = logging.getLogger(__name__)

REFUSED = 0  # as an alert's percent: a refused request
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the start of a window that has none
BATCH = 20  # alerts that are sent at once


class AlertTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When alerts are sent."""

    poll: float = 5.0  # seconds between two checks for due alerts
    claim: timedelta = timedelta(seconds=60)  # for which no other agent sends a claimed alert
    retry_delays: tuple[timedelta, ...] = tuple(
        timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
    )


def open_webhook(config: Config) -> Webhook | None:
    """The configured webhook, if there is one. Raises SetupError."""
    if config.webhook_url is None:
        return None
    secret = config.webhook_secret_file
    proxy = config.upstream.proxy if config.webhook_through_proxy else None
    return Webhook(config.webhook_url, None if secret is None else read_webhook_secret(secret), proxy)


class Alerts:
    """Stores and sends alerts. `user_of`: the name of a budget's user. `now` is the time of day in UTC."""

    def __init__(
        self,
        store: Store,
        webhook: Webhook | None,
        *,
        user_of: Callable[[Budget], str],
        times: AlertTimes = AlertTimes(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._former_webhooks: list[Webhook] = []  # to be closed once none of their posts is in progress
        self._user_of = user_of
        self._times = times
        self._now = now
        self._unstored: deque[tuple[Alert, str]] = deque()  # with the line for the log
        self._wake = asyncio.Event()
        self.background = Background(on_death)

    def set_webhook(self, webhook: Webhook | None) -> None:
        """Sends alerts to another webhook from now on, or to none."""
        if self._webhook is not None:
            self._former_webhooks.append(self._webhook)
        self._webhook = webhook
        self._wake.set()

    @property
    def unstored(self) -> int:
        """The number of alerts that are not in PostgreSQL yet."""
        return len(self._unstored)

    def on_threshold(self, event: Crossing) -> None:
        """Notes that a budget has crossed a threshold. Called on the request path: it neither waits nor raises."""
        percent = event.percent
        data = self._data(event, percent)
        type_ = "budget.exhausted" if percent >= 100 else "budget.threshold"
        predicate = f"is at {percent}%: {event.spent:f} of {event.amount:f} USD"
        self._note(event, percent=percent, type=type_, data=data, predicate=predicate)

    def on_refusal(self, event: Refusal) -> None:
        """Notes that a budget has refused a request, first in this window. Called on the request path, as above."""
        percent = int(event.spent * 100 / event.amount) if event.amount else 100
        data = {
            **self._data(event, percent),
            "reserved_usd": f"{event.reserved:f}",
            "needed_usd": f"{event.needed:f}",
        }
        predicate = (
            f"has refused a request that may cost up to {event.needed:f} USD: of {event.amount:f} USD, {event.spent:f} "
            f"are spent and {event.reserved:f} reserved"
        )
        self._note(event, percent=REFUSED, type="budget.refused", data=data, predicate=predicate)

    def _data(self, event: BudgetEvent, percent: int) -> dict[str, object]:
        budget = event.budget
        return {
            "budget_id": budget.id,
            "user": self._user_of(budget),
            "token_id": budget.token_id,
            "period": budget.period,
            "amount_usd": f"{event.amount:f}",
            "spent_usd": f"{event.spent:f}",
            "percent": percent,
            "resets_at": event.window.ends_at,
            "raised_until": event.raised_until,
        }

    def _note(self, event: BudgetEvent, *, percent: int, type: str, data: dict[str, object], predicate: str) -> None:
        """Queues an alert, and its line for the log with this predicate."""
        budget = event.budget
        body = {"type": type, "timestamp": self._now(), "data": data}
        alert = Alert(
            budget_id=budget.id,
            window_start=event.window.begins_at or EPOCH,
            percent=percent,
            amount=event.amount,
            body=msgspec.json.encode(body).decode(),
        )
        user = data["user"]
        owner = f"user {user}" if budget.token_id is None else f"token {budget.token_id} of user {user}"
        self._unstored.append((alert, f"the budget of {owner} {predicate} ({budget.period})"))
        self._wake.set()

    def start(self) -> None:
        """Starts to store and send alerts."""
        self.background.start("alerts", self._send_forever())

    async def close(self) -> None:
        """Stops. Alerts that are not sent yet are sent by another agent, or after the next start."""
        await self.background.close()
        try:
            async with asyncio.timeout(1):
                await self._store_all()
        except (StoreError, TimeoutError):
            log.warning("%d alerts could not be stored", len(self._unstored))
        if self._webhook is not None:
            self._webhook.close()
        self._close_former_webhooks()
        await self._store.close()

    async def _send_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._times.poll if self._webhook else None):
                    await self._wake.wait()
            except TimeoutError:
                pass  # alerts of other agents, and retries, may be due
            self._wake.clear()
            try:
                await self._store_all()
                await self._send_due()
            except StoreError:  # logged by the directory, which uses the same server
                await asyncio.sleep(self._times.poll)
                self._wake.set()
            self._close_former_webhooks()

    def _close_former_webhooks(self) -> None:
        while self._former_webhooks:
            self._former_webhooks.pop().close()

    async def _store_all(self) -> None:
        while self._unstored:
            alert, line = self._unstored[0]
            if await add_alert(self._store, alert, sent=self._webhook is None):
                log.warning("%s", line)
            self._unstored.popleft()

    async def _send_due(self) -> None:
        while (webhook := self._webhook) is not None and (
            due := await claim_due_alerts(self._store, self._times.claim, BATCH)
        ):
            tasks = [
                asyncio.create_task(self._send(webhook, alert), name=f"alert of budget {alert.budget_id}")
                for alert in due
            ]
            # All attempts end before an error is raised, so that none runs on without an owner.
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if error is not None:
                    raise error

    async def _send(self, webhook: Webhook, alert: Alert) -> None:
        key = f"{alert.budget_id} {alert.window_start.isoformat()} {alert.percent} {alert.amount}"
        delays = self._times.retry_delays
        try:
            await webhook.post(f"msg_{uuid5(NAMESPACE_URL, key).hex}", int(time.time()), alert.body.encode())
        except WebhookFailed as error:
            if alert.attempts > len(delays):
                log.error("webhook alert dropped after %d retries: %s", len(delays), error)
                await close_alert(self._store, alert, EPOCH)
            else:
                log.warning("webhook alert failed, attempt %d: %s", alert.attempts, error)
                await postpone_alert(self._store, alert, delays[alert.attempts - 1])
        else:
            await close_alert(self._store, alert, self._now())
