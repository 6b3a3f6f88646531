"""What a token's holder sees of themselves: who they are, what they may spend, and their own books."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.adapters.cooperative import map_cooperatively
from chatgpt_agent.adapters.postgres.reports import read_time_zone, rows_since, token_facts
from chatgpt_agent.admin import reports
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.errors import InvalidApiKey, InvalidRequest, InvalidValue
from chatgpt_agent.core.money.exact import plain
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import Limits
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.web.base import TokenHandler

MAX_DAYS = 3660
MAX_LINES = 2000  # of a report
WEEK = timedelta(days=7)
WEEK_ROWS = 10_000  # the newest of a week, at most

_encoder = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


class AccountHandler(TokenHandler):
    """A handler that reads a holder's own books."""

    def initialize(self, gate: Authenticator, desk: ReadPool, limits: Limits) -> None:  # type: ignore[override]
        super().initialize(gate, limits)
        self._desk = desk

    def parameter(self, name: str, default: str) -> str:
        """A parameter of the query. Raises InvalidRequest where it is there twice."""
        values = self.get_query_arguments(name, strip=False)
        if len(values) > 1:
            raise InvalidRequest(f"{name}: it is there more than once", param=name)
        return values[0] if values else default

    def only(self, *names: str) -> None:
        """Raises InvalidRequest where the query has other parameters: one that is mistyped would go unseen."""
        for name in self.request.query_arguments:
            if name not in names:
                allowed = f"; there are {', '.join(names)}" if names else ""
                raise InvalidRequest(f"There is no parameter {name[:40]!r}{allowed}.", param=name[:40])


class MeHandler(AccountHandler):
    """`GET /me`: user, token, models, limits, budgets."""

    def initialize(  # type: ignore[override]
        self, gate: Authenticator, desk: ReadPool, limits: Limits, directory: Directory, budgets: Budgets
    ) -> None:
        super().initialize(gate, desk, limits)
        self._directory = directory
        self._budgets = budgets

    async def get(self) -> None:
        self.only()
        user, token = self.identity.user, self.identity.token
        async with self._desk.store() as store:
            facts = await token_facts(store, token.id)
            zone = await read_time_zone(store)
        if facts is None:  # deleted by hand, a moment ago
            raise InvalidApiKey
        answer = {
            "user": user.name,
            "token": {
                "id": token.id,
                "label": facts.label,
                "token_prefix": facts.token_prefix,
                "created_at": facts.created_at,
                "expires_at": token.expires_at,
                "allowed_networks": facts.allowed_networks,
            },
            "models": [price.model for price in self._directory.models(self.identity)],
            "limits": self._limits.status(self.identity),
            "budgets": [_budget(found) for found in self._budgets.status(self.identity)],
            "time_zone": zone,
        }
        self.write_json(_encoder.encode(answer))

    head = get


def _budget(found: Status) -> dict[str, object]:
    fields = msgspec.structs.asdict(found)
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


class MyUsageHandler(AccountHandler):
    """`GET /me/usage?days=7&by=day,model&scope=token`: sums of the last days, today among them."""

    async def get(self) -> None:
        self.only("days", "by", "scope")
        days = self._days()
        scope = self.parameter("scope", "token")
        if scope not in ("token", "user"):
            raise InvalidRequest("scope: give token or user", param="scope")
        try:
            by = reports.parse_groups(self.parameter("by", "day,model"))
            async with self._desk.store() as store:
                zone = await read_time_zone(store)
                today = datetime.now(ZoneInfo(zone)).date()
                found = await reports.report(
                    store,
                    by,
                    since=today - timedelta(days=days - 1),
                    until=today,
                    user_id=self.identity.user.id,
                    token_id=self.identity.token.id if scope == "token" else None,
                    most=MAX_LINES,
                )
        except InvalidValue as error:
            raise InvalidRequest(f"by: {error.message}", param="by") from None
        rows = await map_cooperatively(
            lambda line: msgspec.Raw(_encoder.encode(reports.line_record(by, line))), found.lines
        )
        answer = {
            "scope": scope,
            "since": str(today - timedelta(days=days - 1)),
            "until": str(today),
            "time_zone": zone,
            "by": by,
            "rows": rows,
            "total": reports.sums_record(found.total),
        }
        self.write_json(_encoder.encode(answer))

    head = get

    def _days(self) -> int:
        text = self.parameter("days", "7")
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_DAYS:
            raise InvalidRequest(f"days: give a number from 1 to {MAX_DAYS}", param="days")
        return int(text)


class WeekHandler(AccountHandler):
    """`GET /data/week`: the token's last seven days as the original program told them, request by request."""

    async def get(self) -> None:
        async with self._desk.store() as store:
            since = datetime.now(UTC) - WEEK
            text = await rows_since(store, self.identity.token.id, since, limit=WEEK_ROWS)
        self.write_json(text.encode())

    head = get
