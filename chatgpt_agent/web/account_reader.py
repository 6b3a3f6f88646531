"""What a token shows of itself and of its user, for `/me`, `/me/usage` and the page `/me/page`."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.admin import reports
from chatgpt_agent.admin.reports import Report, UsageFilter
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.errors import InvalidApiKey
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.read_pool import ReadPool

MAX_DAYS = 3660
MAX_ROWS = 2000  # of a report
SCOPES = ("token", "user")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user and a token, what they may do, and what is left of it. `limits` are those of RateLimiter.status."""

    user: str
    id: int
    label: str | None
    token_prefix: str | None
    created_at: datetime
    expires_at: datetime | None
    allowed_networks: Sequence[str] | None
    models: list[str]
    limits: dict[str, dict[str, Any]]
    budgets: list[Status]
    time_zone: str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of the days from `since` to `until`, both included."""

    since: date
    until: date
    time_zone: str
    report: Report


class AccountReader:
    """Reads accounts and usage. What is in memory takes no statement of PostgreSQL."""

    def __init__(
        self, *, read_pool: ReadPool, directory: Directory, rate_limiter: RateLimiter, budgets: Budgets
    ) -> None:
        self._read_pool = read_pool
        self._directory = directory
        self._rate_limiter = rate_limiter
        self._budgets = budgets

    @property
    def time_zone(self) -> str:
        """The name of the time zone of the reports' days."""
        return self._directory.time_zone

    async def account(self, identity: Identity) -> Account:
        """Returns the account of a token. Raises UsageUnavailable, Overloaded, and InvalidApiKey for a token whose row
        has just been deleted in the database."""
        token = identity.token
        async with self._read_pool.store() as store:
            facts = await reports.token_details(store, token.id)
        if facts is None:
            raise InvalidApiKey
        return Account(
            user=identity.user.name,
            id=token.id,
            label=facts.label,
            token_prefix=facts.token_prefix,
            created_at=facts.created_at,
            expires_at=token.expires_at,
            allowed_networks=facts.allowed_networks,
            models=[price.model for price in self._directory.models(identity)],
            limits=self._rate_limiter.status(identity),
            budgets=self._budgets.status(identity),
            time_zone=self.time_zone,
        )

    async def usage(self, identity: Identity, by: Sequence[str], *, days: int, scope: str) -> Usage:
        """Returns sums of the last days, including today, by the groups of reports; of the token, or with the scope
        `user` of all tokens of its user. Raises InvalidValue, UsageUnavailable, Overloaded."""
        until = datetime.now(ZoneInfo(self.time_zone)).date()
        since = until - timedelta(days=days - 1)
        usage_filter = UsageFilter(
            since=since,
            until=until,
            user_id=identity.user.id,
            token_id=identity.token.id if scope == "token" else None,
        )
        zone = self.time_zone
        async with self._read_pool.store() as store:
            report = await reports.Reports(store).report(tuple(by), usage_filter, max_rows=MAX_ROWS)
        return Usage(since=since, until=until, time_zone=zone, report=report)
