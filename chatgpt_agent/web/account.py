"""What a user sees with their token: their account, what they may spend, and their usage."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.admin import reports
from chatgpt_agent.admin.reports import UsageFilter
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.errors import InvalidApiKey, InvalidRequest, InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.runtime.account_limiter import AccountLimiter
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.web.base import TokenHandler

MAX_DAYS = 3660
MAX_ROWS = 2000  # of a report
WEEK = timedelta(days=7)
CLOCKS_DIFFER = timedelta(minutes=5)  # of the agent that wrote a row, and of the one that answers
WEEK_ROWS = 10_000  # if a week has more, the newest

_encoder = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


class AccountHandler(TokenHandler):
    """A handler that reads a user's own data from PostgreSQL. `directory.time_zone` is that of the reports' days."""

    def initialize(
        self,
        *,
        authenticator: Authenticator,
        rate_limiter: RateLimiter,
        account_limiter: AccountLimiter,
        read_pool: ReadPool,
        directory: Directory,
        budgets: Budgets,
    ) -> None:
        self.set_services(authenticator, rate_limiter)
        self._account_limiter = account_limiter
        self._read_pool = read_pool
        self._directory = directory
        self._budgets = budgets

    def check(self) -> None:
        super().check()
        self._account_limiter.count(self.identity.token.id)

    def parameter(self, name: str, default: str) -> str:
        """Returns a query parameter. Raises InvalidRequest if it is repeated."""
        values = self.get_query_arguments(name, strip=False)
        if len(values) > 1:
            raise InvalidRequest(f"Duplicate query parameter '{name}'.", param=name)
        return values[0] if values else default

    def reject_unknown_parameters(self, *allowed: str) -> None:
        """Raises InvalidRequest if the query has other parameters, which may be misspelled."""
        for name in self.request.query_arguments:
            if name not in allowed:
                text = f"allowed: {', '.join(allowed)}" if allowed else "none is allowed"
                raise InvalidRequest(f"Unknown query parameter {name[:40]!r}; {text}.", param=name[:40])


class MeHandler(AccountHandler):
    """`GET /me`: user, token, models, limits and budgets."""

    async def get(self) -> None:
        self.reject_unknown_parameters()
        token = self.identity.token
        async with self._read_pool.store() as store:
            facts = await reports.token_details(store, token.id)
        if facts is None:  # a moment ago its row was deleted in the database
            raise InvalidApiKey
        answer = {
            "user": self.identity.user.name,
            "token": {
                "id": token.id,
                "label": facts.label,
                "token_prefix": facts.token_prefix,
                "created_at": facts.created_at,
                "expires_at": token.expires_at,
                "allowed_networks": facts.allowed_networks,
            },
            "models": [price.model for price in self._directory.models(self.identity)],
            "limits": self._rate_limiter.status(self.identity),
            "budgets": [_budget(status) for status in self._budgets.status(self.identity)],
            "time_zone": self._directory.time_zone,
        }
        self.write_json(_encoder.encode(answer))

    head = get


def _budget(status: Status) -> dict[str, object]:
    fields = msgspec.structs.asdict(status)
    return {name: format_usd(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


class MyUsageHandler(AccountHandler):
    """`GET /me/usage?days=7&by=day,model&scope=token`: sums of the last days, including today."""

    async def get(self) -> None:
        self.reject_unknown_parameters("days", "by", "scope")
        days = self._days()
        scope = self.parameter("scope", "token")
        if scope not in ("token", "user"):
            raise InvalidRequest("scope must be 'token' or 'user'.", param="scope")
        zone = self._directory.time_zone
        today = datetime.now(ZoneInfo(zone)).date()
        since = today - timedelta(days=days - 1)
        try:
            by = reports.parse_groups(self.parameter("by", "day,model"))
            async with self._read_pool.store() as store:
                usage_filter = UsageFilter(
                    since=since,
                    until=today,
                    user_id=self.identity.user.id,
                    token_id=self.identity.token.id if scope == "token" else None,
                )
                report = await reports.Reports(store).report(by, usage_filter, max_rows=MAX_ROWS)
        except InvalidValue as error:
            raise InvalidRequest(f"by: {error.message}", param="by") from None
        answer = {
            "scope": scope,
            "since": str(since),
            "until": str(today),
            "time_zone": zone,
            "by": by,
            "rows": await reports.encode_rows(report.rows, lambda row: reports.row_record(by, row)),
            "total": reports.sums_record(report.total),
        }
        self.write_json(_encoder.encode(answer))

    head = get

    def _days(self) -> int:
        text = self.parameter("days", "7")
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_DAYS:
            raise InvalidRequest(f"days must be a whole number from 1 to {MAX_DAYS}.", param="days")
        return int(text)


class WeekHandler(AccountHandler):
    """`GET /data/week`: the token's requests of the last seven days, in the original program's JSON."""

    async def get(self) -> None:
        now = datetime.now(UTC)
        async with self._read_pool.store() as store:
            rows = await reports.token_rows(
                store, self.identity.token.id, since=now - WEEK, until=now + CLOCKS_DIFFER, limit=WEEK_ROWS
            )
        self.write_json(rows.encode())

    head = get
