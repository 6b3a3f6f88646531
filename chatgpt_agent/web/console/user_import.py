"""Files of users and of OpenAI keys: all lines are taken, or none if one has an error."""

import asyncio
from collections import Counter

from chatgpt_agent.admin.user_import import MAX_FILE, ImportedUsers, NewUserToken, tokens_csv
from chatgpt_agent.core.access.key_import import read_keys
from chatgpt_agent.core.access.user_import import COLUMNS, ReportLine
from chatgpt_agent.core.access.user_import import Result as LineResult
from chatgpt_agent.core.csv_reader import read_rows
from chatgpt_agent.web.console.also import command_line
from chatgpt_agent.web.console.aside import aside, give_way
from chatgpt_agent.web.console.parts import (
    Also,
    Code,
    Column,
    Field,
    Form,
    Input,
    Kind,
    Mark,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.recipes import api_url
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user import users_link

FILE = "file"
MULTIPART = 64 * 1024  # bytes around a file in a form, at most
MAX_LINES = 500  # that are listed: drawing 5,000 would hold the event loop up


def _file_field(request: ConsoleRequest, hint: str) -> Field:
    return Field(name=FILE, label=request._("CSV file"), input=Input.FILE, required=True, hint=hint)


# Users.


async def show_import(request: ConsoleRequest) -> View:
    """The form for a file of users."""
    _ = request._
    hint = _("The first line names the columns: %(columns)s. Only the first two are needed.") % {
        "columns": ", ".join(COLUMNS)
    }
    form = Form(
        name="import",
        action=page_url("user-import"),
        fields=[
            _file_field(request, hint),
            Field(name="skip_existing", label=_("Skip users who exist already"), input=Input.FLAG),
            Field(name="dry_run", label=_("Only check the file, and add no user"), input=Input.FLAG),
        ],
        submit=_("Import"),
        cancel=page_url("users"),
        also=Also(
            command=command_line("user", "import", "FILE", "--tokens-file", "tokens.csv"),
            rest="POST /api/v1/user-import",
        ),
    )
    text = _("Each user gets a token, and a budget if the file has one. If a line has an error, no user is added.")
    return View(title=_("Import users"), section="users", up=users_link(request), parts=[Message(text=text), form])


async def import_users(request: ConsoleRequest) -> Result:
    """Imports the users, and shows what has become of the lines, and the tokens once."""
    imported = await request.administration.user_import.run(
        request.file(FILE),
        skip_existing=request.sent.get("skip_existing") == "true",
        dry_run=request.sent.get("dry_run") == "true",
    )
    parts: list[Part] = [_summary(request, imported)]
    if imported.tokens:
        parts.append(_tokens(request, imported.tokens))
    else:
        parts += (await show_import(request)).parts[1:]
    if any(line.result is not LineResult.ADDED for line in imported.lines):
        parts.append(await aside(_lines_table, request, imported))  # each error is translated
    return View(
        title=request._("Import users"),
        section="users",
        up=users_link(request),
        parts=parts,
        status=422 if imported.errors else 200,
    )


def _summary(request: ConsoleRequest, imported: ImportedUsers) -> Message:
    _ = request._
    counts = Counter(line.result for line in imported.lines)
    number = request.formats.number
    if errors := counts[LineResult.ERROR]:
        text = request.ngettext(
            "%(n)s line has an error, so no user was added.", "%(n)s lines have an error, so no user was added.", errors
        )
        return Message(text=text % {"n": number(errors)}, level="bad")
    if would := counts[LineResult.WOULD_BE_ADDED]:
        text = request.ngettext("%(n)s user would be added.", "%(n)s users would be added.", would)
        return Message(text=text % {"n": number(would)}, level="good")
    added, skipped = counts[LineResult.ADDED], counts[LineResult.SKIPPED]
    texts = [
        request.ngettext("%(n)s user has been added.", "%(n)s users have been added.", added) % {"n": number(added)}
    ]
    if skipped:
        text = request.ngettext("%(n)s exists already.", "%(n)s exist already.", skipped)
        texts.append(text % {"n": number(skipped)})
    if added:
        texts.append(_("Save the tokens now, or print this page: they cannot be shown again."))
    return Message(text=" ".join(texts), level="warning" if added else "plain")


def _tokens(request: ConsoleRequest, tokens: list[NewUserToken]) -> Code:
    note = request._("Any OpenAI client works with this base URL and the token as its API key: %(url)s")
    return Code(
        title=request._("Tokens"),
        text=tokens_csv(tokens),
        note=note % {"url": api_url(request)},
        secret=True,
        file="tokens.csv",
    )


def _lines_table(request: ConsoleRequest, imported: ImportedUsers) -> Table:
    _ = request._
    results = {
        LineResult.ADDED: Mark(_("added"), "good"),
        LineResult.WOULD_BE_ADDED: Mark(_("would be added"), "good"),
        LineResult.NOT_ADDED: Mark(_("not added")),
        LineResult.SKIPPED: Mark(_("skipped")),
        LineResult.ERROR: Mark(_("error"), "bad"),
    }
    lines = sorted(imported.lines, key=lambda line: (line.result is not LineResult.ERROR, line.line))
    more = len(lines) - MAX_LINES
    note = _("Of %(n)s lines, these are the first; errors come first.") % {"n": request.formats.number(len(lines))}
    return Table(
        name="lines",
        title=_("Lines of the file"),
        columns=[
            Column("line", _("Line"), Kind.NUMBER),
            Column("name", _("Name")),
            Column("result", _("Result")),
            Column("error", _("What is wrong")),
        ],
        rows=[[line.line, line.name, results[line.result], _error(request, line)] for line in lines[:MAX_LINES]],
        note=note if more > 0 else "",
    )


def _error(request: ConsoleRequest, line: ReportLine) -> str:
    give_way()
    return request.message(line.error or "")


# OpenAI keys.


async def show_key_import(request: ConsoleRequest) -> View:
    """The form for a file of OpenAI keys."""
    _ = request._
    form = Form(
        name="import",
        action=page_url("key-import"),
        fields=[_file_field(request, _("The first line names the columns: name, openai_key."))],
        submit=_("Replace the keys"),
        cancel=page_url("users"),
        also=Also(command=command_line("user", "set-key", "--csv", "FILE"), rest="POST /api/v1/key-import"),
    )
    text = _(
        "The OpenAI keys of the users in the file are replaced; if a line has an error, none is. Requests in progress "
        "end with the key that they began with."
    )
    return View(
        title=_("Import OpenAI keys"), section="users", up=users_link(request), parts=[Message(text=text), form]
    )


async def import_keys(request: ConsoleRequest) -> Result:
    """Replaces the keys."""
    file = request.file(FILE)
    # In a thread: checking 5,000 lines would hold the event loop up.
    keys = await asyncio.to_thread(lambda: read_keys(read_rows(file)))
    names = await request.administration.users.set_openai_keys(keys)
    text = request.ngettext(
        "The OpenAI key of %(n)s user has been replaced.",
        "The OpenAI keys of %(n)s users have been replaced.",
        len(names),
    )
    notice = Notice(text=text % {"n": request.formats.number(len(names))})
    return Redirect(href=page_url("users"), notice=notice)


PAGES = [
    Page(path="/user-import", get=show_import, post=import_users, admins_only=True, max_body=MAX_FILE + MULTIPART),
    Page(path="/key-import", get=show_key_import, post=import_keys, admins_only=True, max_body=MAX_FILE + MULTIPART),
]
