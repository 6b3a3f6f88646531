"""What a user sees with their token: their account, what they may spend, and their usage."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from chatgpt_agent.admin import reports
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.errors import InvalidRequest, InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.runtime.account_limiter import AccountLimiter
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.web.account_reader import MAX_DAYS, SCOPES, AccountReader
from chatgpt_agent.web.base import TokenHandler

WEEK = timedelta(days=7)
CLOCKS_DIFFER = timedelta(minutes=5)  # of the agent that wrote a row, and of the one that answers
WEEK_ROWS = 10_000  # if a week has more, the newest

_encoder = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


class AccountHandler(TokenHandler):
    """A handler that reads a user's own data from PostgreSQL."""

    def initialize(
        self,
        *,
        authenticator: Authenticator,
        rate_limiter: RateLimiter,
        account_limiter: AccountLimiter,
        read_pool: ReadPool,
        reader: AccountReader,
    ) -> None:
        self.set_services(authenticator, rate_limiter)
        self._account_limiter = account_limiter
        self._read_pool = read_pool
        self._reader = reader

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
        account = await self._reader.account(self.identity)
        token = ("id", "label", "token_prefix", "created_at", "expires_at", "allowed_networks")
        answer = {
            "user": account.user,
            "token": {name: getattr(account, name) for name in token},
            "models": account.models,
            "limits": account.limits,
            "budgets": [_budget(status) for status in account.budgets],
            "time_zone": account.time_zone,
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
        if scope not in SCOPES:
            raise InvalidRequest("scope must be 'token' or 'user'.", param="scope")
        try:
            by = reports.parse_groups(self.parameter("by", "day,model"))
            usage = await self._reader.usage(self.identity, by, days=days, scope=scope)
        except InvalidValue as error:
            raise InvalidRequest(f"by: {error.message}", param="by") from None
        report = usage.report
        answer = {
            "scope": scope,
            "since": str(usage.since),
            "until": str(usage.until),
            "time_zone": usage.time_zone,
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
