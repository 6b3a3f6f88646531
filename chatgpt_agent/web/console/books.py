"""Are the books right: the last checks, what waits, what is not certain."""

from datetime import UTC, datetime, timedelta

from chatgpt_agent.admin.books import Books
from chatgpt_agent.admin.checks import LedgerCheck
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.books_tables import (
    agents_table,
    archives_table,
    corrections_table,
    days_table,
    dead_letters_table,
    states_table,
    uncertain_table,
    unknown_fields_table,
)
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Figure,
    Figures,
    Kind,
    Message,
    Part,
    Result,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

FRESH = timedelta(days=7)  # of a check


async def show_books(request: ConsoleRequest) -> Result:
    """The page."""
    _ = request._
    books = await request.administration.books.read()
    parts: list[Part] = [_verdict(request, books.last_verify), _buttons(request), _figures(request, books)]
    if books.unknown_usage_fields:
        parts.append(unknown_fields_table(request, books))
    if books.dead_letter_count:
        parts.append(dead_letters_table(request, books))
    parts += [
        uncertain_table(request, books),
        days_table(request, books),
        agents_table(request, books.agents),
        states_table(request, books),
        corrections_table(request, books),
    ]
    if books.archives:
        parts.append(archives_table(request, books))
    return View(title=_("Books"), subtitle=_("Are they right?"), section="books", parts=parts)


def _verdict(request: ConsoleRequest, check: LedgerCheck | None) -> Message:
    """What the last check has found."""
    _ = request._
    button = Button(_("Details"), page_url("books", "check"), for_viewers=True)
    running = request.services.verification.running
    if running:
        return Message(text=_("The ledger is being checked now."), button=button)
    if check is None:
        return Message(text=_("The ledger has not been checked yet."), level="warning")
    text = check_sentence(request, check)
    if check.findings:
        return Message(text=text, level="bad", button=button)
    if datetime.now(UTC) - check.at < FRESH:
        return Message(text=text, level="good")
    return Message(text=f"{text} {_('That is more than a week ago.')}", level="warning")


def check_names(request: ConsoleRequest, summary: str) -> str:
    """Returns the names of checks with findings."""
    return ", ".join(map(request.message, summary.split(", ")))


def check_sentence(request: ConsoleRequest, check: LedgerCheck) -> str:
    """Returns the time of a check, the admin who ran it, and its findings."""
    names = check_names(request, check.summary)
    values = {"time": request.formats.time(check.at), "name": check.actor, "checks": names}
    if not check.findings:
        return request._("Checked at %(time)s by %(name)s: every row adds up, and nothing is missing.") % values
    text = request.ngettext(
        "Checked at %(time)s by %(name)s: %(n)s finding (%(checks)s).",
        "Checked at %(time)s by %(name)s: %(n)s findings (%(checks)s).",
        check.findings,
    )
    return text % {**values, "n": request.formats.number(check.findings)}


def _buttons(request: ConsoleRequest) -> Buttons:
    _ = request._
    buttons = [Button(_("Compare with OpenAI's figures"), page_url("books", "compare"), for_viewers=True)]
    if not request.services.verification.running:
        buttons.insert(0, Button(_("Check the ledger now"), page_url("books", "check"), for_viewers=True, fields={}))
    return Buttons(buttons=buttons)


def _figures(request: ConsoleRequest, books: Books) -> Figures:
    _ = request._
    rows = sum(each.rows for each in books.states)
    uncertain = books.uncertain_cost
    lost = sum(agent.lost_rows for agent in books.agents)
    return Figures(
        figures=[
            Figure(label=_("Rows this month"), value=rows, href=page_url("requests", since=f"{books.month}T00:00")),
            Figure(
                label=_("Uncertain cost this month"),
                value=uncertain,
                kind=Kind.USD,
                note=_("at most this much more than the spend"),
                level="warning" if uncertain > ZERO else "plain",
            ),
            Figure(label=_("Rows that wait at agents"), value=books.waiting, href="#agents"),
            Figure(
                label=_("Refused rows"),
                value=books.dead_letter_count,
                note=_("dead letters"),
                level="bad" if books.dead_letter_count else "plain",
            ),
            Figure(label=_("Lost rows"), value=lost, level="bad" if lost else "plain"),
        ],
        also=Also(command=command_line("ledger", "status"), rest=rest_request("GET", "ledger", "status")),
    )


PAGES = [Page(path="/books", get=show_books)]
