"""The first page: is all well, what is spent, who spends it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chatgpt_agent.admin.overview import NEARLY_SPENT, Attention, Concern, DayCost, Overview, Spend
from chatgpt_agent.web.console.books import check_names
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Chart,
    Column,
    Figure,
    Figures,
    Kind,
    Link,
    Message,
    Part,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

BAD = frozenset({Concern.FINDINGS, Concern.DEAD_LETTERS, Concern.KEY_REFUSED, Concern.OUTBOX})
MAX_CONCERNS = 12  # that are listed


async def show_overview(request: ConsoleRequest) -> Result:
    """The page."""
    _ = request._
    overview = await request.administration.overview.read(request.services.nearly_spent(NEARLY_SPENT))
    parts: list[Part] = [*_attention(request, overview), _figures(request, overview)]
    if not overview.models_by_day:
        setup = Button(_("Set up"), page_url("setup"))
        text = _("No request has been recorded in the last 30 days. The guide leads to the first one.")
        parts.insert(0, Message(text=text, button=setup))
        return View(title=_("Overview"), section="overview", parts=parts)
    parts += [
        _by_day(request, overview, "models", _("Cost by day and model"), overview.models_by_day, "model"),
        _top_users(request, overview),
        _top_models(request, overview),
        _by_day(request, overview, "users", _("Cost by day and user"), overview.users_by_day, "user"),
        _latencies(request, overview),
    ]
    return View(title=_("Overview"), section="overview", parts=parts)


def _figures(request: ConsoleRequest, overview: Overview) -> Figures:
    _ = request._
    month, before = overview.month, overview.last_month_so_far
    verify = overview.last_verify
    return Figures(
        figures=[
            Figure(
                label=_("Spent today"),
                value=overview.today_spend.cost,
                kind=Kind.USD,
                note=_count(request, overview.today_spend.requests),
            ),
            Figure(
                label=_("Spent this month"),
                value=month.cost,
                kind=Kind.USD,
                before=before.cost,
                before_label=_("last month, same days"),
                note=_("last month in all: %(cost)s") % {"cost": request.formats.usd(overview.last_month.cost)},
            ),
            Figure(
                label=_("Requests this month"),
                value=month.requests,
                before=before.requests,
                before_label=_("last month, same days"),
                href=page_url("requests"),
            ),
            Figure(
                label=_("Not done"),
                value=month.not_done / month.requests if month.requests else None,
                kind=Kind.PERCENT,
                note=_count(request, month.not_done),
                href=page_url("requests", state="upstream_error"),
            ),
            Figure(
                label=_("In progress"),
                value=overview.in_progress,
                note=request.ngettext("%(n)d agent runs", "%(n)d agents run", overview.agents) % {"n": overview.agents},
            ),
            Figure(
                label=_("Books"),
                value=None if verify is None else verify.findings,
                note=_("findings of the last check") if verify else _("not checked yet"),
                level="bad" if verify and verify.findings else "plain",
                href=page_url("books"),
            ),
        ],
        also=Also(command="chatgpt-agent usage report --by month", rest="GET /api/v1/usage?by=month"),
    )


def _count(request: ConsoleRequest, requests: int) -> str:
    number = request.formats.number(requests)
    return request.ngettext("%(n)s request", "%(n)s requests", requests) % {"n": number}


# What needs attention.


def _attention(request: ConsoleRequest, overview: Overview) -> list[Part]:
    _ = request._
    concerns = overview.attention
    if not concerns:
        return []
    items: list[Any] = [_sentence(request, each) for each in concerns[:MAX_CONCERNS]]
    if len(concerns) > MAX_CONCERNS:
        items.append(_("and %(n)d more") % {"n": len(concerns) - MAX_CONCERNS})
    level = "bad" if any(each.concern in BAD for each in concerns) else "warning"
    return [Message(title=_("Needs attention"), items=items, level=level)]


def _sentence(request: ConsoleRequest, each: Attention) -> Link:
    _, ngettext, formats = request._, request.ngettext, request.formats
    count = each.count or 0
    values = {
        "name": check_names(request, each.subject) if each.concern is Concern.FINDINGS else each.subject,
        "count": formats.number(count),
        "amount": formats.usd(each.amount or Decimal(0)),
        "of": formats.usd(each.of or Decimal(0)),
        "at": _moment(request, each.at),
    }
    texts = {
        Concern.UNCERTAIN_COST: _("Requests of this month with an unknown cost may have cost up to %(amount)s more."),
        Concern.BUDGET: _("%(name)s has spent %(amount)s of a budget of %(of)s."),
        Concern.UNPRICED_MODEL: ngettext(
            "The model %(name)s has no price; it was asked for once.",
            "The model %(name)s has no price; it was asked for %(count)s times.",
            count,
        ),
        Concern.SHUTDOWN: ngettext(
            "OpenAI shuts %(name)s down on %(at)s; %(count)s user used it in the last 30 days.",
            "OpenAI shuts %(name)s down on %(at)s; %(count)s users used it in the last 30 days.",
            count,
        ),
        Concern.KEY_REFUSED: _("OpenAI refuses the key of %(name)s, last at %(at)s."),
        Concern.OUTBOX: ngettext(
            "%(count)s row waits at agent %(name)s, since %(at)s.",
            "%(count)s rows wait at agent %(name)s, since %(at)s.",
            count,
        ),
        Concern.DEAD_LETTERS: ngettext(
            "PostgreSQL has refused %(count)s row (a dead letter).",
            "PostgreSQL has refused %(count)s rows (dead letters).",
            count,
        ),
        Concern.NOT_VERIFIED: _("The books have not been checked in the last week."),
        Concern.OLD_BACKUP: _("The last backup was made at %(at)s."),
        Concern.FINDINGS: ngettext(
            "The last check of the books has %(count)s finding: %(name)s",
            "The last check of the books has %(count)s findings: %(name)s",
            count,
        ),
        Concern.UNKNOWN_FIELDS: _("OpenAI reports %(name)s, which is not known here; it may be charged."),
    }
    return Link(texts[each.concern] % values, _HREFS[each.concern](each))


_HREFS: dict[Concern, Any] = {
    Concern.UNCERTAIN_COST: lambda _: page_url("books"),
    Concern.BUDGET: lambda each: page_url("budgets", user=each.subject),
    Concern.UNPRICED_MODEL: lambda each: page_url("new-price", model=each.subject),
    Concern.SHUTDOWN: lambda each: page_url("prices", each.subject),
    Concern.KEY_REFUSED: lambda each: page_url("users", each.subject),
    Concern.OUTBOX: lambda _: page_url("system"),
    Concern.DEAD_LETTERS: lambda _: page_url("books"),
    Concern.NOT_VERIFIED: lambda _: page_url("books"),
    Concern.OLD_BACKUP: lambda _: page_url("system"),
    Concern.FINDINGS: lambda _: page_url("books"),
    Concern.UNKNOWN_FIELDS: lambda _: page_url("books"),
}


def _moment(request: ConsoleRequest, at: Any) -> str:
    if at is None:
        return ""
    return request.formats.value(at, Kind.TIME if hasattr(at, "hour") else Kind.DAY)


# Tables.


def _by_day(
    request: ConsoleRequest, overview: Overview, name: str, title: str, costs: Sequence[DayCost], group: str
) -> Table:
    _ = request._
    others = _("others")
    label = {"model": _("Model"), "user": _("User")}[group]
    return Table(
        name=name,
        title=title,
        columns=[Column("day", _("Day"), Kind.DAY), Column(group, label), Column("cost", _("Cost"), Kind.USD)],
        rows=[[each.day, each.name or others, each.cost] for each in costs],
        chart=Chart("stacked", label="day", values=["cost"], group=group),
        empty=_("Nothing was spent in the last 30 days."),
        also=Also(command=f"chatgpt-agent usage report --by day,{group}", rest=f"GET /api/v1/usage?by=day,{group}"),
    )


_SPEND = ("cost", "requests", "tokens")


def _spend_columns(request: ConsoleRequest) -> list[Column]:
    _ = request._
    return [
        Column("cost", _("Cost"), Kind.USD),
        Column("requests", _("Requests"), Kind.NUMBER),
        Column("tokens", _("Token count"), Kind.NUMBER),
    ]


def _spend_cells(spend: Spend) -> list[Any]:
    return [getattr(spend, name) for name in _SPEND]


def _top_users(request: ConsoleRequest, overview: Overview) -> Table:
    _ = request._
    return Table(
        name="top-users",
        title=_("Users who spent most this month"),
        columns=[Column("user", _("User")), *_spend_columns(request)],
        rows=[[Link(user.user, page_url("users", user.user)), *_spend_cells(user)] for user in overview.top_users],
        empty=_("Nothing was spent this month."),
        also=Also(command="chatgpt-agent usage report --by user", rest="GET /api/v1/usage?by=user"),
    )


def _top_models(request: ConsoleRequest, overview: Overview) -> Table:
    _ = request._
    return Table(
        name="top-models",
        title=_("Models that cost most this month"),
        columns=[Column("model", _("Model")), *_spend_columns(request)],
        rows=[
            [Link(model, page_url("requests", model=model)), *_spend_cells(spend)]
            for model, spend in overview.top_models
        ],
        empty=_("Nothing was spent this month."),
        also=Also(command="chatgpt-agent usage report --by model", rest="GET /api/v1/usage?by=model"),
    )


def _latencies(request: ConsoleRequest, overview: Overview) -> Table:
    _ = request._
    columns = [
        Column("day", _("Day"), Kind.DAY),
        Column("requests", _("Requests"), Kind.NUMBER),
        Column("first_byte", _("First byte, median"), Kind.MILLISECONDS),
        Column("first_byte_95", _("First byte, 95 %"), Kind.MILLISECONDS),
        Column("duration", _("Whole answer, median"), Kind.MILLISECONDS),
        Column("duration_95", _("Whole answer, 95 %"), Kind.MILLISECONDS),
    ]
    return Table(
        name="latency",
        title=_("How long answers take"),
        note=_("Of answered requests, from our sending until OpenAI's first byte, and until the end."),
        columns=columns,
        rows=[[getattr(day, column.name) for column in columns] for day in overview.latencies],
        chart=Chart("lines", label="day", values=["first_byte", "first_byte_95", "duration", "duration_95"]),
        empty=_("No request was answered in the last 30 days."),
    )


PAGES = [Page(path="", get=show_overview)]
