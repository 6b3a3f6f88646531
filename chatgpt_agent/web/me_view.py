"""The page of a token, for its user: what it has used, what is left, how to set up a client, and a new token."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
from tornado.locale import Locale

from chatgpt_agent.admin.own_token import RotatedToken
from chatgpt_agent.admin.tokens import GRACE
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.web.account_reader import Account, Usage
from chatgpt_agent.web.console.budget_changes import periods
from chatgpt_agent.web.console.budgets import spent_level
from chatgpt_agent.web.console.formats import Formats
from chatgpt_agent.web.console.messages import translated
from chatgpt_agent.web.console.parts import (
    Bar,
    Column,
    Fact,
    Facts,
    Field,
    Figure,
    Figures,
    Form,
    Input,
    Kind,
    Message,
    Table,
    View,
)
from chatgpt_agent.web.console.parts import Code as CodePart
from chatgpt_agent.web.console.recipes import client_recipes, model_for_recipes
from chatgpt_agent.web.console.spend import spend_table

SHOW, ROTATE = "show", "rotate"  # the forms
DAYS = ("7", "30", "90")
PLACEHOLDER = "cga_…"  # in the examples, in the place of the token


class OwnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for the page. `url`: of the page, in its language; `api`: the base URL as this request reached it."""

    locale: Locale
    formats: Formats
    sent: Mapping[str, str]
    url: str
    api: str

    def _(self, text: str) -> str:
        """Returns a text in the language of the page."""
        return str(self.locale.translate(text))

    def message(self, text: str) -> str:
        """Returns a message of a use case in the language of the page."""
        return translated(text, self.locale)

    @property
    def days(self) -> int:
        """The number of days that were asked for."""
        return int(self.choice("days", DAYS, "30"))

    @property
    def scope(self) -> str:
        """Whether the usage is that of the token alone, or of all tokens of its user."""
        return self.choice("scope", ("token", "user"), "token")

    def choice(self, name: str, values: tuple[str, ...], default: str) -> str:
        """Returns one of these values of a field."""
        return text if (text := self.sent.get(name, default)) in values else default


def entry_view(request: OwnRequest) -> View:
    """Returns the page before a token is typed in."""
    _ = request._
    text = _("Paste your token to see what it has used and what is left. It is used for this answer only.")
    return View(title=_("Your token"), parts=[Message(text=text), show_form(request), rotate_form(request)], bare=True)


def show_form(request: OwnRequest, title: str = "") -> Form:
    """Returns the form that asks for the token."""
    _ = request._
    days = {each: _("%(n)s days") % {"n": each} for each in DAYS}
    scopes = {"token": _("this token"), "user": _("all of my tokens")}
    return Form(
        name=SHOW,
        title=title,
        action=request.url,
        fields=[
            _token_field(request),
            Field(name="days", label=_("Time"), input=Input.CHOICE, value="30", choices=days, required=True),
            Field(name="scope", label=_("Usage of"), input=Input.CHOICE, value="token", choices=scopes, required=True),
        ],
        submit=_("Show"),
        for_viewers=True,
    )


def rotate_form(request: OwnRequest) -> Form:
    """Returns the form that replaces the token. It asks for the token once more, which confirms it."""
    _ = request._
    hours = int(GRACE.total_seconds()) // 3600
    grace = {
        "0": _("not at all: it ends now"),
        "3600": _("1 hour"),
        str(hours * 3600): _("%(n)d hours") % {"n": hours},
        "604800": _("7 days"),
    }
    label = _("The old token still works for")
    return Form(
        name=ROTATE,
        title=_("Replace the token"),
        action=request.url,
        fields=[
            _token_field(request),
            Field(
                name="grace_seconds",
                label=label,
                input=Input.CHOICE,
                value=str(hours * 3600),
                choices=grace,
                required=True,
            ),
        ],
        submit=_("Replace the token"),
        danger=True,
        folded=True,
        for_viewers=True,
        effects=[
            _("You get a new token with the same limits and budgets; it is shown once."),
            _("Every client needs the new one before the time of the old one is over. This cannot be undone."),
        ],
    )


def _token_field(request: OwnRequest) -> Field:
    return Field(name="token", label=request._("Token"), input=Input.SECRET, required=True)


def account_view(request: OwnRequest, account: Account, by_day: Usage, by_model: Usage) -> View:
    """Returns the page of a token. `by_day`: by day and model."""
    _ = request._
    name = account.label or f"{account.token_prefix or ''}…"
    return View(
        title=_("Token %(name)s") % {"name": name},
        subtitle=account.user,
        parts=[
            _figures(request, by_model),
            _budgets(request, account.budgets),
            _spend(request, by_day),
            _models(request, by_model),
            _limits(request, account.limits),
            _facts(request, account),
            show_form(request, _("Another time, or another token")),
            rotate_form(request),
            *client_recipes(request, request.api, PLACEHOLDER, model_for_recipes(account.models)),
        ],
    )


def _figures(request: OwnRequest, usage: Usage) -> Figures:
    _ = request._
    total = usage.report.total
    scope = _("this token") if request.scope == "token" else _("all of my tokens")
    figures = [
        Figure(label=_("Spent"), value=total.cost, kind=Kind.USD, note=scope),
        Figure(label=_("Requests"), value=total.requests),
        Figure(label=_("Input tokens"), value=total.input_tokens),
        Figure(label=_("Output tokens"), value=total.output_tokens),
    ]
    if total.uncertain_cost:
        note = _("of requests whose usage is unknown, at most")
        figures.append(Figure(label=_("Uncertain"), value=total.uncertain_cost, kind=Kind.USD, note=note))
    return Figures(title=_("Last %(n)d days") % {"n": request.days}, figures=figures)


def _budgets(request: OwnRequest, budgets: list[Status]) -> Table:
    _ = request._
    owners = {"user": _("all of my tokens"), "token": _("this token")}
    names = periods(request)
    return Table(
        name="budgets",
        title=_("Budgets"),
        columns=[
            Column("owner", _("Budget of")),
            Column("period", _("Period")),
            Column("amount", _("Amount"), Kind.USD),
            Column("spent", _("Spent"), Kind.USD),
            Column("reserved", _("Reserved"), Kind.USD),
            Column("left", _("Left"), Kind.USD),
            Column("resets_at", _("Resets"), Kind.TIME),
        ],
        rows=[
            [
                owners[each.owner],
                names[each.period],
                each.amount,
                Bar(each.spent, each.amount, spent_level(each.spent, each.amount, each.left)),
                each.reserved,
                each.left,
                each.resets_at or _("never"),
            ]
            for each in budgets
        ],
        empty=_("No budget limits what you spend."),
        note=_("Reserved is for requests that are running."),
    )


def _spend(request: OwnRequest, usage: Usage) -> Table:
    _ = request._
    return spend_table(
        request,
        [(date.fromisoformat(row.group[0]), row.group[1], row.cost) for row in usage.report.rows],
        usage.since,
        usage.until,
        name="spend",
        title=_("Spend by day and model"),
        empty=_("No requests in this time."),
    )


def _models(request: OwnRequest, usage: Usage) -> Table:
    _ = request._
    rows = sorted(usage.report.rows, key=lambda row: (-row.cost, row.group))
    total = usage.report.total
    return Table(
        name="models",
        title=_("By model"),
        columns=[
            Column("model", _("Model")),
            Column("requests", _("Requests"), Kind.NUMBER),
            Column("input_tokens", _("Input tokens"), Kind.NUMBER),
            Column("output_tokens", _("Output tokens"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
        ],
        rows=[[row.group[0], row.requests, row.input_tokens, row.output_tokens, row.cost] for row in rows],
        total=[_("Total"), total.requests, total.input_tokens, total.output_tokens, total.cost],
        empty=_("No requests in this time."),
    )


def _limits(request: OwnRequest, limits: Mapping[str, Mapping[str, Any]]) -> Table:
    _ = request._
    owners = {"user": _("all of my tokens"), "token": _("this token")}
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    left = ("requests_left", "tokens_left")

    def cells(values: Mapping[str, Any]) -> list[Any]:
        own = [_("no limit") if values[name] is None else values[name] for name in names]
        return [own[0], values[left[0]], own[1], values[left[1]], own[2]]

    return Table(
        name="limits",
        title=_("Rate limits"),
        columns=[
            Column("owner", _("Limits of")),
            Column("requests_per_minute", _("Requests a minute"), Kind.NUMBER),
            Column("requests_left", _("left"), Kind.NUMBER),
            Column("tokens_per_minute", _("Tokens a minute"), Kind.NUMBER),
            Column("tokens_left", _("left"), Kind.NUMBER),
            Column("concurrent_requests", _("Requests at once"), Kind.NUMBER),
        ],
        rows=[[owners[owner], *cells(limits[owner])] for owner in ("token", "user")],
    )


def _facts(request: OwnRequest, account: Account) -> Facts:
    _ = request._
    expires = account.expires_at
    return Facts(
        title=_("This token"),
        facts=[
            Fact(_("User"), account.user),
            Fact(_("Label"), account.label or None),
            Fact(_("Begins with"), f"{account.token_prefix}…" if account.token_prefix else None),
            Fact(_("Issued"), account.created_at, Kind.TIME),
            Fact(_("Expires"), expires or _("never"), Kind.TIME if expires else Kind.TEXT),
            Fact(_("Allowed networks"), list(account.allowed_networks or [_("every network")])),
            Fact(_("Models that you may use"), account.models or None),
        ],
    )


def rotated_view(request: OwnRequest, rotated: RotatedToken) -> View:
    """Returns the page that shows a new token."""
    _ = request._
    return View(
        title=_("Your new token"),
        subtitle=rotated.user,
        parts=[
            Message(text=_("Copy the token now: it cannot be shown again."), level="warning"),
            CodePart(title=_("New token"), text=rotated.token, secret=True),
            Facts(facts=[Fact(_("The old token ends"), rotated.old_expires_at, Kind.TIME)]),
            *client_recipes(request, request.api, rotated.token),
        ],
    )
