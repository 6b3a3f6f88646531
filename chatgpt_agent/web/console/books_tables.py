"""The tables of the page on the books."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.admin.books import Books
from chatgpt_agent.admin.ledger import AgentState
from chatgpt_agent.core.archive import show_month
from chatgpt_agent.core.ledger import UNCERTAIN, State
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import Also, Button, Chart, Column, Kind, Link, Mark, Table
from chatgpt_agent.web.console.request_details import state_sentences, uncertain_sentences
from chatgpt_agent.web.console.requests import state_mark
from chatgpt_agent.web.console.routing import ConsoleRequest, page_url

COMPARE = f"{command_line('ledger', 'reconcile')} FILE... --month YYYY-MM --key KEYID=USER"
WAITING = timedelta(seconds=60)  # that a row may wait without a mark


def uncertain_table(request: ConsoleRequest, books: Books) -> Table:
    """The rows of this month whose cost may differ from OpenAI's, by reason."""
    _ = request._
    reasons = uncertain_sentences(request)
    states = {state.value: state_sentences(request)[state] for state in UNCERTAIN}
    return Table(
        name="uncertain",
        title=_("Uncertain cost this month, by reason"),
        note=_("The cost of a row is what is known of it. This is how much higher it may be, at most."),
        columns=[
            Column("reason", _("Code")),
            Column("text", _("Why")),
            Column("rows", _("Rows"), Kind.NUMBER),
            Column("uncertain_cost", _("Uncertain"), Kind.USD),
        ],
        rows=[
            [
                Link(each.reason, _rows_url(books, each.reason)) if each.reason in states else each.reason,
                reasons.get(each.reason) or states.get(each.reason),
                each.rows,
                each.uncertain_cost,
            ]
            for each in books.uncertain
        ],
        total=[_("In all"), None, sum(each.rows for each in books.uncertain), books.uncertain_cost],
        empty=_("The cost of every row of this month is certain."),
        also=_status(request, books),
    )


def _status(request: ConsoleRequest, books: Books) -> Also:
    since = datetime.combine(books.month, time(), ZoneInfo(request.zone)).isoformat()
    return Also(
        command=command_line("ledger", "status", "--since", since),
        rest=rest_request("GET", "ledger", "status", since=since),
    )


def _rows_url(books: Books, state: str) -> str:
    return page_url("requests", state=state, since=f"{books.month}T00:00")


def states_table(request: ConsoleRequest, books: Books) -> Table:
    """The rows of this month by state."""
    _ = request._
    sentences = state_sentences(request)
    return Table(
        name="states",
        title=_("Rows of this month, by state"),
        columns=[
            Column("state", _("State")),
            Column("text", _("What it means")),
            Column("rows", _("Rows"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
        ],
        rows=[
            [
                Link(state_mark(request, each.state), _rows_url(books, each.state)),
                sentences[each.state],
                each.rows,
                each.cost,
            ]
            for each in books.states
        ],
        total=[
            _("In all"),
            None,
            sum(each.rows for each in books.states),
            exact_sum([each.cost for each in books.states]),
        ],
        empty=_("There are no rows of this month yet."),
        also=_status(request, books),
    )


def days_table(request: ConsoleRequest, books: Books) -> Table:
    """What each day cost by the ledger and by OpenAI's figures."""
    _ = request._
    note, check = _("Days are in UTC, as OpenAI's are."), books.last_reconcile
    if check is not None:
        text = request.ngettext(
            "The last comparison, at %(time)s by %(name)s, has %(n)s difference (%(days)s).",
            "The last comparison, at %(time)s by %(name)s, has %(n)s differences (%(days)s).",
            check.findings,
        )
        number = request.formats.number(check.findings)
        values = {"time": request.formats.time(check.at), "name": check.actor, "n": number, "days": check.summary}
        note = f"{text % values} {note}"
    return Table(
        name="days",
        title=_("Compared with OpenAI's bill, by day"),
        note=note,
        columns=[
            Column("day", _("Day"), Kind.DAY),
            Column("ledger_cost", _("Ledger"), Kind.USD),
            Column("openai_cost", _("OpenAI"), Kind.USD),
            Column("difference", _("OpenAI has more"), Kind.USD),
            Column("at", _("Compared"), Kind.TIME),
        ],
        rows=[[day.day, day.ledger_cost, day.openai_cost, day.difference, day.at] for day in reversed(books.days)],
        total=[
            _("In all"),
            exact_sum([day.ledger_cost for day in books.days]),
            exact_sum([day.openai_cost for day in books.days]),
            exact_sum([day.difference for day in books.days]),
            None,
        ],
        chart=Chart("lines", label="day", values=["ledger_cost", "openai_cost"]) if len(books.days) > 1 else None,
        empty=_("The costs of the last 60 days have not been compared with OpenAI's bill."),
        empty_button=Button(_("Compare"), page_url("books", "compare"), for_viewers=True),
        also=Also(command=COMPARE, rest=rest_request("POST", "ledger", "reconcile")),
    )


def agents_table(request: ConsoleRequest, agents: Sequence[AgentState]) -> Table:
    """What each agent last reported, with the rows that wait in its outbox."""
    _, now = request._, datetime.now(UTC)
    columns = [
        Column("id", _("Agent"), Kind.CODE),
        Column("state", _("State")),
        Column("version", _("Version")),
        Column("seen_at", _("Last report"), Kind.TIME),
        Column("in_progress", _("In progress"), Kind.NUMBER),
        Column("backlog", _("Rows that wait"), Kind.NUMBER),
        Column("oldest_at", _("The oldest since"), Kind.TIME),
    ]
    if any(agent.lost_rows for agent in agents):
        columns.append(Column("lost_rows", _("Lost rows"), Kind.NUMBER))
    cells = [{**msgspec.structs.asdict(agent), "state": _agent_mark(request, agent, now)} for agent in agents]
    return Table(
        name="agents",
        title=_("Agents and their outboxes"),
        note=_("A row is written to the disk of its agent first, and shipped to PostgreSQL from there."),
        columns=columns,
        rows=[[each[column.name] for column in columns] for each in reversed(cells)],
        empty=_("No agent has reported yet."),
        also=Also(command=command_line("ledger", "status"), rest=rest_request("GET", "ledger", "status")),
    )


def _agent_mark(request: ConsoleRequest, agent: AgentState, now: datetime) -> Mark:
    """Whether an agent runs. One that stopped must not leave rows behind: they wait until it starts again."""
    _ = request._
    if agent.ended_at is not None:
        return Mark(_("stopped"), "bad" if agent.backlog else "plain")
    if not agent.runs(now):
        return Mark(_("silent"), "bad")
    late = agent.backlog and agent.oldest_at is not None and now - agent.oldest_at > WAITING
    return Mark(_("late"), "warning") if late else Mark(_("runs"), "good")


def dead_letters_table(request: ConsoleRequest, books: Books) -> Table:
    """The newest rows that PostgreSQL refused."""
    _ = request._
    return Table(
        name="dead-letters",
        title=_("Rows that PostgreSQL refused (dead letters)"),
        note=_("They are stored, and missing in the ledger and in all sums. The newest are listed."),
        columns=[
            Column("rejected_at", _("Time"), Kind.TIME),
            Column("request_id", _("Request"), Kind.CODE),
            Column("error", _("Why")),
        ],
        rows=[[each.rejected_at, each.request_id, each.error] for each in books.dead_letters],
        also=Also(command=command_line("ledger", "verify"), rest=rest_request("GET", "ledger", "findings")),
    )


def corrections_table(request: ConsoleRequest, books: Books) -> Table:
    """The newest corrections, with their reasons."""
    _ = request._
    return Table(
        name="corrections",
        title=_("The newest corrections"),
        note=_("Each has the differences to the row that it corrects, which itself never changes."),
        columns=[
            Column("started_at", _("Time"), Kind.TIME),
            Column("user", _("User")),
            Column("model", _("Model")),
            Column("input_tokens", _("Input"), Kind.NUMBER),
            Column("output_tokens", _("Output"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
            Column("uncertain_cost", _("Uncertain cost"), Kind.USD),
            Column("reason", _("Reason")),
        ],
        rows=[
            [
                Link(row.started_at, page_url("requests", row.corrects)),
                Link(row.user, page_url("users", row.user)),
                row.model,
                row.input_tokens,
                row.output_tokens,
                row.cost,
                row.uncertain_cost,
                row.reason,
            ]
            for row in books.corrections
        ],
        empty=_("No row has been corrected."),
        more=Link(_("All corrections"), page_url("requests", state=State.CORRECTION)) if books.corrections else None,
        also=Also(
            command=command_line("ledger", "list", "--state", "correction"),
            rest=rest_request("GET", "ledger", "rows", state="correction"),
        ),
    )


def unknown_fields_table(request: ConsoleRequest, books: Books) -> Table:
    """What OpenAI reports and no agent knows."""
    _ = request._
    return Table(
        name="unknown-fields",
        title=_("Unknown fields of usage"),
        note=_("OpenAI reports something new, which may be charged. A newer version of this program may know it."),
        columns=[Column("field", _("Field")), Column("answers", _("Answers"), Kind.NUMBER)],
        rows=[[name, answers] for name, answers in books.unknown_usage_fields.items()],
        also=Also(command=command_line("ledger", "status"), rest=rest_request("GET", "ledger", "status")),
    )


def archives_table(request: ConsoleRequest, books: Books) -> Table:
    """The months whose rows are in files."""
    _ = request._
    archives = books.archives
    return Table(
        name="archives",
        title=_("Archived months"),
        note=_("Their rows are in files, and their sums are in every report."),
        columns=[
            Column("month", _("Month")),
            Column("rows", _("Rows"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
            Column("file", _("File")),
            Column("sha256", "SHA-256"),
            Column("archived_at", _("Archived"), Kind.TIME),
            Column("archived_by", _("By")),
        ],
        rows=[
            [
                show_month(each.month), each.sums.rows, each.sums.cost, each.file, each.sha256, each.archived_at,
                each.archived_by,
            ]
            for each in archives
        ],
        also=Also(command=command_line("ledger", "archives"), rest=rest_request("GET", "ledger", "archives")),
    )  # fmt: skip
