"""One user: what they may do, and what they have done."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.admin.reports import Report
from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.admin.user_list import ListedUser
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Fact,
    Facts,
    Figure,
    Figures,
    Kind,
    Link,
    Mark,
    Part,
    Result,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user_fields import setting_facts
from chatgpt_agent.web.console.user_parts import (
    REQUESTS,
    budgets_table,
    last_days,
    read_spend,
    requests_table,
    tokens_table,
    user_spend_table,
)


async def show_user(request: ConsoleRequest) -> Result:
    """A user, with tokens, budgets, spend and the last requests."""
    _ = request._
    name, administration = request.path["name"], request.administration
    user = await administration.users.get(name)
    tokens = await administration.tokens.list(name)
    budgets = await administration.budgets.list(user=name)
    spend = await read_spend(request, name)
    rows = await administration.ledger.rows(user=name, limit=REQUESTS)
    new_token = None if user.removed_at else Button(_("Issue a token"), page_url("users", name, "new-token"))
    more = [
        Button(_("All budgets"), page_url("budgets", user=name), for_viewers=True),
        Button(_("All requests"), page_url("requests", user=name), for_viewers=True),
        Button(_("Changes of this user"), page_url("audit", object="users", object_id=user.id), for_viewers=True),
    ]
    parts: list[Part] = [
        _facts(request, user),
        _figures(request, user, spend, tokens),
        tokens_table(request, name, tokens, new=new_token),
        Buttons(buttons=[new_token] if new_token else []),
        budgets_table(request, name, budgets, active=user.removed_at is None),
        user_spend_table(request, name, spend),
        requests_table(request, name, rows),
        Buttons(buttons=more),
    ]
    return View(title=name, section="users", up=users_link(request), parts=parts)


def users_link(request: ConsoleRequest) -> Link:
    """Returns the link to the list."""
    return Link(request._("Users"), page_url("users"))


def user_mark(request: ConsoleRequest, user: UserRow | ListedUser) -> Mark:
    """Returns whether a user may send requests."""
    if user.removed_at:
        return Mark(request._("removed"))
    return Mark(request._("disabled"), "warning") if user.disabled_at else Mark(request._("active"), "good")


def _facts(request: ConsoleRequest, user: UserRow) -> Facts:
    _ = request._
    facts = [
        Fact(_("State"), user_mark(request, user)),
        Fact(_("Comment"), user.comment or None),
        *setting_facts(request, user),
        Fact(_("Standard service tier only"), _("yes") if user.standard_tier_only else _("no")),
        Fact(_("Added"), user.created_at, Kind.TIME),
    ]
    if user.disabled_at:
        facts.append(Fact(_("Disabled"), user.disabled_at, Kind.TIME))
    if user.removed_at:
        facts.append(Fact(_("Removed"), user.removed_at, Kind.TIME))
    return Facts(
        facts=facts,
        buttons=_actions(request, user),
        also=Also(command=command_line("user", "show", user.name), rest=rest_request("GET", "users", user.name)),
    )


def _actions(request: ConsoleRequest, user: UserRow) -> list[Button]:
    _ = request._

    def page(action: str) -> str:
        return page_url("users", user.name, action)

    rename = Button(_("Rename"), page("rename"))
    if user.removed_at:
        return [rename]
    enable, disable = {"disabled": "false"}, {"disabled": "true"}
    return [
        Button(_("Change"), page("change")),
        rename,
        Button(_("Replace the OpenAI key"), page("key")),
        Button(_("Enable"), page("state"), fields=enable)
        if user.disabled_at
        else Button(_("Disable"), page("state"), fields=disable),
        Button(_("Remove"), page("remove"), danger=True),
    ]


def _figures(request: ConsoleRequest, user: UserRow, spend: Report, tokens: list[TokenRow]) -> Figures:
    _ = request._
    month = f"{last_days(request)[1]:%Y-%m}"
    rows = [row for row in spend.rows if row.group[0].startswith(month)]
    uncertain: Decimal = exact_sum(row.uncertain_cost for row in rows)
    note = _("and at most %(usd)s that is uncertain") % {"usd": request.formats.usd(uncertain)} if uncertain else ""
    formats, now = request.formats, datetime.now(UTC)
    used: list[datetime] = [token.last_used_at for token in tokens if token.last_used_at]
    return Figures(
        figures=[
            Figure(label=_("Spend this month"), value=exact_sum(row.cost for row in rows), kind=Kind.USD, note=note),
            Figure(label=_("Requests this month"), value=sum(row.requests for row in rows)),
            Figure(label=_("Tokens in force"), value=user.tokens),
            Figure(label=_("Last used"), value=formats.ago(max(used), now) if used else None, kind=Kind.TEXT),
        ]
    )


PAGES = [Page(path="/users/{name}", get=show_user)]
