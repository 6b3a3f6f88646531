"""The check of the whole ledger, which runs while the page is closed."""

from uuid import UUID

from chatgpt_agent.admin.checks import VERIFY
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.runtime.job import Run
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.books import check_sentence
from chatgpt_agent.web.console.errors import error_text
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Column,
    Link,
    Message,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

RELOAD = 4  # seconds
DEAD_LETTER = "dead letter"  # the check that finds rows which are not in the ledger

Check = Run[list[Finding]]


async def show_check(request: ConsoleRequest) -> Result:
    """The check that runs, which the page waits for, or what the last one has found."""
    _, job = request._, request.services.verification
    parts: list[Part] = [await _state(request, job.last)]
    if not job.running:
        again = Button(_("Check the ledger now"), page_url("books", "check"), for_viewers=True, fields={})
        parts.append(Buttons(buttons=[again]))
    if job.last is not None and job.last.result:
        parts.append(_findings(request, job.last.result))
    return View(
        title=_("Check of the ledger"),
        section="books",
        up=Link(_("Books"), page_url("books")),
        parts=parts,
        reload=RELOAD if job.running else None,
    )


async def _state(request: ConsoleRequest, run: Check | None) -> Message:
    _ = request._
    if run is not None and run.ended_at is None:
        values = {"time": request.formats.time(run.started_at), "name": run.by}
        text = _("Every row is being checked since %(time)s, for %(name)s. You may leave this page.") % values
        return Message(text=text, button=Button(_("Look again"), page_url("books", "check"), for_viewers=True))
    if run is not None and run.error is not None:
        values = {"error": error_text(request, public_error(run.error))}
        text = _("The check could not be finished: %(error)s") % values
        return Message(text=text, level="bad")
    last = (await request.administration.checks.last()).get(VERIFY)
    if last is None:
        return Message(text=_("The ledger has not been checked yet."), level="warning")
    if not last.findings:
        return Message(text=check_sentence(request, last), level="good")
    own = run is not None and run.result and len(run.result) == last.findings
    hint = "" if own else _("That check ran elsewhere: check again to see what it found.")
    return Message(text=f"{check_sentence(request, last)} {hint}".strip(), level="bad")


def _findings(request: ConsoleRequest, findings: list[Finding]) -> Table:
    _, say = request._, request.message
    return Table(
        name="findings",
        title=_("What was found"),
        note=_("At most 100 of each kind are listed."),
        columns=[Column("check", _("Check")), Column("subject", _("About")), Column("text", _("What is wrong"))],
        rows=[[say(each.check), _subject(request, each), say(each.text)] for each in findings],
        also=Also(command=command_line("ledger", "verify"), rest=rest_request("GET", "ledger", "findings")),
    )


def _subject(request: ConsoleRequest, finding: Finding) -> str | Link:
    """A request leads to its row, if it has one."""
    try:
        UUID(finding.subject)
    except ValueError:
        return request.message(finding.subject)
    if finding.check == DEAD_LETTER:
        return finding.subject
    return Link(finding.subject, page_url("requests", finding.subject))


async def start_check(request: ConsoleRequest) -> Result:
    """Starts the check, unless one runs."""
    keyring = request.services.api.authenticator.keyring
    ledger = request.administration.ledger
    request.services.verification.start(lambda: ledger.verify(keyring=keyring), by=request.admin.admin.name)
    return Redirect(href=page_url("books", "check"))


PAGES = [Page(path="/books/check", get=show_check, post=start_check, read_only=True)]
