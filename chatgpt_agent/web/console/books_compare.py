"""The ledger compared with OpenAI's own figures, in files that an admin exports there."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from chatgpt_agent.admin import reconcile
from chatgpt_agent.admin.reconciled import notes
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.reconcile.lines import ComparedLine, Reconciliation
from chatgpt_agent.core.reconcile.sentences import item_text, kinds_text, sentence, sums_text, total_text
from chatgpt_agent.web.admin.ledger import FigureQuery
from chatgpt_agent.web.admin.routing import MAX_FILE
from chatgpt_agent.web.admin.schemas import or_none
from chatgpt_agent.web.console.also import rest_request
from chatgpt_agent.web.console.books_tables import COMPARE
from chatgpt_agent.web.console.parts import (
    Also,
    Column,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Message,
    Part,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

MAX_LINES = 200  # that are shown
MONTHS = 24  # to choose from


async def show_form(request: ConsoleRequest) -> Result:
    """The form."""
    _ = request._
    text = _(
        "In OpenAI's dashboard, export usage and costs of the days to compare, grouped by model or line item; or save "
        "the pages of its organization API (usage, costs) as JSON. Nothing in the ledger is changed."
    )
    return _view(request, [Message(text=text), _form(request)])


def _view(request: ConsoleRequest, parts: Sequence[Part]) -> View:
    _ = request._
    up = Link(_("Books"), page_url("books"))
    return View(title=_("Compare with OpenAI's figures"), section="books", up=up, parts=parts)


def _fields(request: ConsoleRequest) -> list[Field]:
    _ = request._
    today = datetime.now(UTC).date()
    months = [divmod(today.year * 12 + today.month - 1 - ago, 12) for ago in range(MONTHS)]
    texts = [f"{year}-{month + 1:02}" for year, month in months]
    return [
        Field(
            name="month",
            label=_("Month"),
            input=Input.CHOICE,
            choices={"": _("the days of the files"), **{text: text for text in texts}},
            hint=_("In UTC. A whole month also finds days of which OpenAI has nothing."),
        ),
        Field(
            name="key",
            label=_("Users of OpenAI keys"),
            input=Input.LINES,
            hint=_("One a line: key_abc=alice, or proj_abc=alice. With them, users are compared one by one."),
        ),
    ]


def _form(request: ConsoleRequest) -> Form:
    _ = request._
    files = Field(
        name="files",
        label=_("Files"),
        input=Input.FILE,
        several=True,
        required=True,
        hint=_("JSON or CSV, several at once, together at most 8 MiB. The command takes larger ones."),
    )
    month, keys = _fields(request)
    keys_file = Field(
        name="keys",
        label=_("or a table of them"),
        input=Input.FILE,
        hint=_("CSV with the columns user and api_key_id or project_id."),
    )
    return Form(
        name="compare",
        action=page_url("books", "compare"),
        fields=[files, month, keys, keys_file],
        submit=_("Compare"),
        for_viewers=True,
        cancel=page_url("books"),
        also=Also(command=COMPARE, rest=rest_request("POST", "ledger", "reconcile")),
    )


async def compare(request: ConsoleRequest) -> Result:
    """Compares, and shows what differs."""
    query = request.read(_fields(request), FigureQuery)
    keys = reconcile.parse_keys(query.key)
    if request.has_file("keys"):
        name, data = request.all_files("keys")[-1]
        keys = reconcile.merged_keys(reconcile.keys_in(trimmed(data, name), name), keys)
    figures = await reconcile.read_sent(request.all_files("files"))
    month = or_none(query.month)
    first = None if month is None else date.fromisoformat(f"{month}-01")
    result = await request.administration.reconciler.reconcile(figures, month=first, keys=keys)
    parts: list[Part] = [_verdict(request, result), _facts(request, result)]
    if result.lines:
        parts.append(_lines(request, result.lines))
    return _view(request, [*parts, _form(request)])


def _verdict(request: ConsoleRequest, result: Reconciliation) -> Message:
    _, items = request._, list(notes(result, request))
    if result.equal:
        text = _("Nothing differs: %(sums)s.") % {"sums": sums_text(result.total, request)}
        return Message(title=_("The ledger and OpenAI agree"), text=text, level="good", items=items)
    count = len(result.lines)
    text = request.ngettext("%(n)d difference. In all: %(total)s.", "%(n)d differences. In all: %(total)s.", count)
    return Message(
        title=_("The ledger and OpenAI differ"),
        text=text % {"n": count, "total": total_text(result.total, request)},
        level="warning",
        items=items,
    )


def _facts(request: ConsoleRequest, result: Reconciliation) -> Facts:
    _, total = request._, result.total
    facts = []
    if result.usage_days:
        facts.append(Fact(_("Days of usage (UTC)"), _span(request, result.usage_days)))
        facts.append(Fact(_("Kinds of usage"), kinds_text(result.kinds, request)))
    if result.cost_days:
        facts.append(Fact(_("Days of costs (UTC)"), _span(request, result.cost_days)))
        facts.append(Fact(_("Cost in the ledger"), total.ledger_cost, Kind.USD))
        facts.append(Fact(_("Cost at OpenAI"), total.openai_cost, Kind.USD))
        facts.append(Fact(_("OpenAI has more"), total.missing_cost, Kind.USD))
    return Facts(facts=facts)


def _span(request: ConsoleRequest, days: tuple[date, date]) -> str:
    first, last = map(request.formats.day, days)
    return first if days[0] == days[1] else f"{first} – {last}"


def _lines(request: ConsoleRequest, lines: Sequence[ComparedLine]) -> Table:
    _ = request._
    note = _("The largest amount first. The rows may explain the difference; OpenAI may have charged them otherwise.")
    if len(lines) > MAX_LINES:
        note += " " + _("The first %(n)d of %(all)d are shown; the command and REST have all.") % {
            "n": MAX_LINES,
            "all": len(lines),
        }
    return Table(
        name="differences",
        title=_("Differences"),
        note=note,
        columns=[
            Column("text", _("What differs")),
            Column("ledger_cost", _("Ledger"), Kind.USD),
            Column("openai_cost", _("OpenAI"), Kind.USD),
            Column("difference", _("OpenAI has more"), Kind.USD),
            Column("line_items", _("OpenAI's bill")),
            Column("candidate_rows", _("Rows to look at")),
        ],
        rows=[_line_cells(request, line) for line in lines[:MAX_LINES]],
        also=Also(command=COMPARE, rest=rest_request("POST", "ledger", "reconcile")),
    )


def _line_cells(request: ConsoleRequest, line: ComparedLine) -> list[Any]:
    candidates: list[Any] = [Link(id_, page_url("requests", id_)) for id_ in line.candidate_rows]
    if (more := line.candidate_count - len(candidates)) > 0 and candidates:
        candidates.append(request._("and %(n)d more") % {"n": more})
    text = sentence(line, request)
    if line.keys:
        text += " " + request._("(keys without a user: %(keys)s)") % {"keys": ", ".join(line.keys)}
    return [
        text,
        line.ledger_cost,
        line.openai_cost,
        line.missing_cost,
        "; ".join(item_text(item, request) for item in line.items) if line.name is None else "",
        candidates,
    ]


PAGES = [Page(path="/books/compare", get=show_form, post=compare, read_only=True, max_body=MAX_FILE)]
