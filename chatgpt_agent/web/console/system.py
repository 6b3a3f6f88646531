"""The system: what runs here, how it is configured, and the health of what it depends on."""

from datetime import UTC, datetime, timedelta
from typing import Any

from chatgpt_agent.admin.backups import LastBackup
from chatgpt_agent.admin.system import DEFAULT, HIDDEN, DatabaseHealth, OutboxHealth, Setting, System, UpstreamHealth
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.books_tables import agents_table
from chatgpt_agent.web.console.parts import (
    Also,
    Bar,
    Button,
    Buttons,
    Column,
    Fact,
    Facts,
    Figure,
    Figures,
    Kind,
    Mark,
    Message,
    Part,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

ALSO = Also(rest=rest_request("GET", "system"))
CONNECTIONS = 0.8  # of those that PostgreSQL accepts, from which on they are marked
RECENT = timedelta(hours=1)  # in which a failure of OpenAI is marked


async def show_system(request: ConsoleRequest) -> Result:
    """The page."""
    _ = request._
    system = await request.administration.system.read(request.services.api.upstream)
    buttons = [
        Button(_("Admins"), page_url("admins")),
        Button(_("Documentation of REST"), page_url("system", "rest"), for_viewers=True),
        Button(_("Set up"), page_url("setup")),
    ]
    parts: list[Part] = [_figures(request, system), Buttons(buttons=buttons), *_errors(request, system)]
    parts.append(_upstream(request, system.upstream))
    if system.database is not None:
        parts.append(_database(request, system.database, system.last_backup))
    if system.outbox is not None:
        parts.append(_outbox(request, system.outbox))
    parts.append(agents_table(request, system.agents))
    parts.append(_versions(request, system))
    parts.append(_settings(request, system.settings))
    if system.database is not None:
        parts.append(_tables(request, system.database))
    return View(title=_("System"), section="system", parts=parts)


def _errors(request: ConsoleRequest, system: System) -> list[Part]:
    _ = request._
    errors = {_("Database"): system.database_error, _("Outbox"): system.outbox_error}
    return [Message(title=name, text=request.message(error), level="bad") for name, error in errors.items() if error]


def _figures(request: ConsoleRequest, system: System) -> Figures:
    _, outbox, upstream = request._, system.outbox, system.upstream
    now = datetime.now(UTC)
    running = sum(1 for agent in system.agents if agent.runs(now))
    return Figures(
        figures=[
            Figure(label=_("Version"), value=system.versions["chatgpt-agent"], kind=Kind.TEXT),
            Figure(label=_("Agents that run"), value=running, href="#agents"),
            Figure(
                label=_("Database"),
                value=None if system.database is None else system.database.bytes,
                kind=Kind.BYTES,
                level="bad" if system.database is None else "plain",
            ),
            Figure(
                label=_("Rows that wait here"),
                value=None if outbox is None else outbox.rows,
                level="bad" if system.outbox_error else "plain",
            ),
            Figure(
                label=_("OpenAI's last answer"),
                value=None if upstream.answered_at is None else request.formats.ago(upstream.answered_at, now),
                kind=Kind.TEXT,
                level="warning" if _fails(upstream, now) else "plain",
                note=_("to this agent"),
            ),
        ],
        also=ALSO,
    )


def _fails(upstream: UpstreamHealth, now: datetime) -> bool:
    """Whether OpenAI failed a short time ago, and has not answered since."""
    if upstream.failed_at is None or now - upstream.failed_at > RECENT:
        return False
    return upstream.answered_at is None or upstream.answered_at < upstream.failed_at


def _upstream(request: ConsoleRequest, upstream: UpstreamHealth) -> Facts:
    _ = request._
    state = Mark(_("fails"), "warning") if _fails(upstream, datetime.now(UTC)) else None
    if state is None and upstream.answered_at is not None:
        state = Mark(_("answers"), "good")
    return Facts(
        title=_("OpenAI, as this agent sees it"),
        facts=[
            Fact(_("Address"), upstream.url),
            Fact(_("State"), state or Mark(_("not asked since the start"))),
            Fact(_("Answered last"), upstream.answered_at, Kind.TIME),
            Fact(_("Failed last"), upstream.failed_at, Kind.TIME),
            Fact(_("Last error"), upstream.error),
        ],
    )


def _database(request: ConsoleRequest, database: DatabaseHealth, backup: LastBackup | None) -> Facts:
    _ = request._
    share = database.all_connections / database.max_connections if database.max_connections else 0
    used = Bar(database.all_connections, database.max_connections, "warning" if share >= CONNECTIONS else "good")
    return Facts(
        title="PostgreSQL",
        facts=[
            Fact(_("Database"), database.name),
            Fact(_("Version"), database.version),
            Fact(_("Size"), database.bytes, Kind.BYTES),
            Fact(_("Connections of agents and commands"), database.connections, Kind.NUMBER),
            Fact(_("Connections of all programs"), used, Kind.NUMBER),
            Fact(_("It accepts at most"), database.max_connections, Kind.NUMBER),
            Fact(_("Last backup"), backup.at if backup else None, Kind.TIME),
            Fact(_("File of the backup"), f"{backup.path} ({backup.host})" if backup else None),
        ],
    )


def _outbox(request: ConsoleRequest, outbox: OutboxHealth) -> Facts:
    _ = request._
    return Facts(
        title=_("Outbox of this agent"),
        facts=[
            Fact(_("Requests in progress"), outbox.requests, Kind.NUMBER),
            Fact(_("Rows that wait to be shipped"), outbox.rows, Kind.NUMBER),
            Fact(_("The oldest since"), outbox.oldest_at, Kind.TIME),
            Fact(_("Size on disk"), outbox.bytes, Kind.BYTES),
        ],
        also=Also(command=command_line("ledger", "status"), rest=rest_request("GET", "ledger", "status")),
    )


def _versions(request: ConsoleRequest, system: System) -> Facts:
    versions = dict(system.versions)
    if system.database is not None:
        versions["PostgreSQL"] = system.database.version
    return Facts(
        title=request._("Versions"),
        facts=[Fact(name, version) for name, version in versions.items()],
        also=Also(command=command_line("version"), rest=ALSO.rest),
    )


def _settings(request: ConsoleRequest, settings: list[Setting]) -> Table:
    _ = request._
    return Table(
        name="settings",
        title=_("Configuration of this agent"),
        note=_("As it was read at the start; secrets are not shown. A change needs a restart."),
        columns=[Column("key", _("Key")), Column("value", _("Value")), Column("source", _("Source"))],
        rows=[[setting.key, _value(request, setting), _source(request, setting)] for setting in settings],
        also=ALSO,
    )


def _value(request: ConsoleRequest, setting: Setting) -> Any:
    return Mark(request._("not shown")) if setting.value == HIDDEN else setting.value


def _source(request: ConsoleRequest, setting: Setting) -> Any:
    return request._("default") if setting.source == DEFAULT else Mark(setting.source)


def _tables(request: ConsoleRequest, database: DatabaseHealth) -> Table:
    _ = request._
    return Table(
        name="tables",
        title=_("Tables by size"),
        note=_("With indexes; the rows of the ledger are in usage."),
        columns=[Column("name", _("Table")), Column("bytes", _("Size"), Kind.BYTES)],
        rows=[[table.name, table.bytes] for table in database.tables],
        total=[_("Database"), database.bytes],
        also=ALSO,
    )


PAGES = [Page(path="/system", get=show_system)]
