"""What the page of a user shows of their tokens, budgets, spend and requests."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.admin.ledger import UsageRow
from chatgpt_agent.admin.reports import Report, UsageFilter
from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.budget_changes import budget_url, periods
from chatgpt_agent.web.console.budgets import in_force, level, pace
from chatgpt_agent.web.console.parts import Also, Bar, Button, Column, Kind, Link, Mark, Table
from chatgpt_agent.web.console.requests import row_cells, row_columns
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, page_url
from chatgpt_agent.web.console.spend import spend_table
from chatgpt_agent.web.console.user_fields import limits_text, list_text

DAYS = 30  # of spend
REQUESTS = 20


def token_mark(request: ConsoleRequest, token: TokenRow) -> Mark:
    """Returns whether a token is in force."""
    _ = request._
    if token.revoked_at:
        return Mark(_("revoked"))
    if not is_in_force(token):
        return Mark(_("expired"))
    return Mark(_("active"), "good") if token.replaced_by is None else Mark(_("replaced"), "warning")


def is_in_force(token: TokenRow) -> bool:
    """Whether clients may use a token now, if its user is not disabled."""
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > datetime.now(UTC))


def token_name(token: TokenRow) -> str:
    """Returns what tells a token apart: its label, else its first characters, else its id."""
    return token.label or (f"{token.token_prefix}…" if token.token_prefix else f"token {token.id}")


def tokens_table(request: ConsoleRequest, user: str, tokens: Sequence[TokenRow], *, new: Button | None) -> Table:
    """Returns the tokens of a user: those in force first, then the newest."""
    _ = request._
    tokens = sorted(tokens, key=lambda token: (not is_in_force(token), -token.id))
    page, following = _page(request, tokens)
    return Table(
        name="tokens",
        title=_("Tokens"),
        columns=[
            Column("label", _("Label")),
            Column("token_prefix", _("Begins with"), Kind.TEXT),
            Column("state", _("State")),
            Column("created_at", _("Issued"), Kind.TIME),
            Column("expires_at", _("Expires"), Kind.TIME),
            Column("last_used_at", _("Last used"), Kind.TIME),
            Column("allowed_models", _("Models")),
            Column("allowed_networks", _("Networks")),
            Column("limits", _("Limits")),
            Column("replaced_by", _("Replaced by")),
        ],
        rows=[_token_row(request, token) for token in page],
        empty=_("This user has no tokens, so no client can send requests for them."),
        empty_button=new,
        next=following,
        also=Also(command=command_line("token", "list", user), rest=rest_request("GET", "users", user, "tokens")),
    )


def _page(request: ConsoleRequest, tokens: list[TokenRow]) -> tuple[list[TokenRow], str | None]:
    """Returns one page of a list that is in memory, and the address of the next one; all of it for CSV."""
    if "csv" in request.query:
        return tokens, None
    text = request.query.get("tokens_from", "")
    first = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    more = first + PAGE_SIZE < len(tokens)
    return tokens[first : first + PAGE_SIZE], request.with_query(tokens_from=str(first + PAGE_SIZE)) if more else None


def _token_row(request: ConsoleRequest, token: TokenRow) -> list[Any]:
    every = request._("all")
    return [
        Link(token.label or request._("without a label"), page_url("tokens", token.id)),
        f"{token.token_prefix}…" if token.token_prefix else None,
        token_mark(request, token),
        token.created_at,
        token.expires_at,
        token.last_used_at,
        list_text(token.allowed_models, every),
        list_text(token.allowed_networks, every),
        limits_text(request, token),
        None if token.replaced_by is None else Link(token.replaced_by, page_url("tokens", token.replaced_by)),
    ]


def budgets_table(request: ConsoleRequest, user: str, budgets: Sequence[BudgetRow], *, active: bool) -> Table:
    """Returns the budgets of a user and of their tokens. `active`: the user can get one."""
    _ = request._
    return Table(
        name="budgets",
        title=_("Budgets"),
        columns=[
            Column("of", _("Of")),
            Column("period", _("Period")),
            Column("spent", _("Spent"), Kind.USD),
            Column("amount", _("Budget"), Kind.USD),
            Column("left", _("Left"), Kind.USD),
            Column("pace", _("At this week's pace")),
            Column("resets_at", _("Resets at"), Kind.TIME),
            Column("raised_until", _("Raised until"), Kind.TIME),
        ],
        rows=[
            [
                Link(_budget_owner(request, row), budget_url(row.id)),
                periods(request)[row.period],
                Bar(row.spent, in_force(row), level(row)),
                in_force(row),
                row.left,
                pace(request, row),
                row.resets_at,
                row.raised_until,
            ]
            for row in budgets
        ],
        empty=_("Nothing limits what this user spends."),
        empty_button=Button(_("Set a budget"), page_url("budgets", user=user)) if active else None,
        also=Also(command=command_line("budget", "list", user), rest=rest_request("GET", "budgets", user=user)),
    )


def _budget_owner(request: ConsoleRequest, budget: BudgetRow) -> str:
    _ = request._
    return _("the user") if budget.token_id is None else _("token %(id)d") % {"id": budget.token_id}


def last_days(request: ConsoleRequest) -> tuple[date, date]:
    """Returns the first and the last of the days of spend, in the time zone of reports."""
    today = datetime.now(request.formats.zone).date()
    return today - timedelta(days=DAYS - 1), today


async def read_spend(request: ConsoleRequest, user: str) -> Report:
    """Returns the spend of a user by day and model, of this month and of the last days."""
    first, today = last_days(request)
    filter_ = UsageFilter(user=user, since=min(first, today.replace(day=1)), until=today)
    return await request.administration.reports.report(("day", "model"), filter_)


def user_spend_table(request: ConsoleRequest, user: str, report: Report) -> Table:
    """Returns the spend of a user by model in the last days."""
    _ = request._
    first, today = last_days(request)
    costs = [(date.fromisoformat(row.group[0]), row.group[1], row.cost) for row in report.rows]
    return spend_table(
        request,
        [each for each in costs if each[0] >= first],
        first,
        today,
        name="spend",
        title=_("Spend by model, last %(n)d days") % {"n": DAYS},
        empty=_("No requests in this time."),
        also=Also(
            command=command_line("usage", "report", "--by", "day,model", "--user", user, "--since", first),
            rest=rest_request("GET", "usage", by="day,model", user=user, since=first),
        ),
    )


def requests_table(request: ConsoleRequest, user: str, rows: Sequence[UsageRow]) -> Table:
    """Returns the newest requests of a user."""
    columns = row_columns(request)
    user_column = next(place for place, column in enumerate(columns) if column.name == "user")

    def without_user(cells: list[Any]) -> list[Any]:
        return cells[:user_column] + cells[user_column + 1 :]

    return Table(
        name="requests",
        title=request._("Last requests"),
        columns=without_user(columns),
        rows=[without_user(row_cells(request, row)) for row in rows],
        empty=request._("No requests yet."),
        also=Also(
            command=command_line("ledger", "list", "--user", user, "--limit", REQUESTS),
            rest=rest_request("GET", "ledger", "rows", user=user, limit=REQUESTS),
        ),
    )
