"""`chatgpt-agent ledger …`: what the ledger holds, what is wrong with it, and what waits to be shipped."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.ledger import MAX_WAITING, ROW_FIELDS, AgentState, OutboxState, UsageRow, read_outbox
from chatgpt_agent.admin.reports import EXACT_NUMBERS, surcharges_text, with_former_names
from chatgpt_agent.cli.archives import archives, note_archives, prune
from chatgpt_agent.cli.common import CSV_FORMS, FORMATS, echo_csv, echo_findings, echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option, table_option
from chatgpt_agent.cli.reconcile import correct, reconcile
from chatgpt_agent.cli.tables import echo_table, newest
from chatgpt_agent.cli.types import DATE
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.moments import show_second
from chatgpt_agent.runtime.master_key import keyring_if_present

_FORMAT = format_option(*FORMATS)
_TABLE_COLUMNS = ("request_id", "started_at", "user", "token", "endpoint", "model", "state", "status", "error", "cost")
_RARE_COLUMNS = ("uncertain_cost", "uncertain_reason", "surcharges")  # left out if they are empty or 0 in all rows


@click.group()
def ledger() -> None:
    """The ledger: its rows, status, checks and corrections."""


ledger.add_command(reconcile)
ledger.add_command(correct)
ledger.add_command(prune)
ledger.add_command(archives)


@ledger.command()
@click.option("--since", type=DATE, metavar="DATE", help="Count the rows from this time on, in UTC; else all.")
@table_option
@with_ledger
@reads
async def status(administration: LedgerAdministration, since: datetime | None, json: bool) -> None:
    """Show outbox, rows by state, agents and dead letters.

    Example: chatgpt-agent ledger status
    """
    outbox = read_outbox(administration.config.data_dir)
    summary = await administration.ledger.status(since=since)
    if json:
        rows = [with_former_names(msgspec.structs.asdict(state)) for state in summary.rows]
        names = ("agents", "dead_letters", "unknown_usage_fields", "unpriced_models", "uncertain", "archives")
        others = {name: getattr(summary, name) for name in names}
        echo_json({"outbox": outbox, "rows": rows, **others})
        return
    click.echo(_outbox_line(outbox))
    click.echo(f"Dead letters: {summary.dead_letters}")
    for name, answers in summary.unknown_usage_fields.items():
        click.echo(f'unknown usage field "{name}": {answers} answers')
    for name, requests in summary.unpriced_models.items():
        click.echo(f'model without a price "{name}": {requests} requests refused')
    if summary.archives:
        archived = sum(archive.sums.rows for archive in summary.archives)
        click.echo(f"Archived: {archived} rows of {len(summary.archives)} months, which are not in the table below")
    click.echo()
    echo_table(["state", "rows", "cost usd"], [(state.state, state.rows, usd(state.cost)) for state in summary.rows])
    click.echo()
    if summary.uncertain:
        cells = [(each.reason, each.rows, usd(each.uncertain_cost)) for each in summary.uncertain]
        echo_table(["uncertain", "rows", "at most usd more"], cells)
        click.echo()
    echo_table(["agent", "seen", "last shipped", "backlog", "oldest"], map(_agent_cells, summary.agents))


@ledger.command(name="list")
@click.option(
    "--state",
    "states",
    type=click.Choice([*map(str, State)]),
    multiple=True,
    help="Only rows in this state. May be repeated.",
)
@click.option("--since", type=DATE, metavar="DATE", help="Only rows from this time on, in UTC.")
@click.option("--until", type=DATE, metavar="DATE", help="Only rows before this time, in UTC.")
@click.option("--user", metavar="NAME", help="Only rows of this user.")
@click.option("--token", "token_id", type=click.IntRange(1), metavar="ID", help="Only rows of this token.")
@click.option("--model", metavar="MODEL", help="Only rows of requests for this model.")
@click.option("--endpoint", metavar="PATH", help="Only rows of this endpoint, such as /v1/responses.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Rows to show.")
@_FORMAT
@with_ledger
@reads
async def list_(
    administration: LedgerAdministration,
    *,
    states: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    token_id: int | None,
    model: str | None,
    endpoint: str | None,
    limit: int,
    form: str,
) -> None:
    """List rows, the newest first. The request id is what the client got as X-Agent-Request-Id.

    Example: chatgpt-agent ledger list --state unknown --state incomplete --since 2026-11-01
    """
    matching = await administration.ledger.rows(
        states=[State(state) for state in states],
        since=since,
        until=until,
        user=user,
        token_id=token_id,
        model=model,
        endpoint=endpoint,
        limit=limit + 1,
    )
    rows = newest(matching, limit)
    if len(matching) <= limit:
        await note_archives(administration, since, until)
    if form == "json":
        echo_json(rows)
    elif form in CSV_FORMS:
        echo_csv(ROW_FIELDS, ([_cells(row)[name] for name in ROW_FIELDS] for row in rows), form)
    else:
        columns = [*_TABLE_COLUMNS, *(name for name in _RARE_COLUMNS if any(getattr(row, name) for row in rows))]
        headers = [name.replace("_", " ") for name in columns]
        lines = ([_cells(row)[name] for name in columns] for row in rows)
        echo_table(headers, lines, keep=("request id", "user", "state", "cost"))


@ledger.command()
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Findings of each check."
)
@click.option(
    "--waiting",
    type=click.IntRange(1),
    default=MAX_WAITING,
    show_default=True,
    metavar="SECONDS",
    help="How long a row may wait to be shipped.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also read the files of archived months in this folder.",
)
@table_option
@with_ledger
@reads
async def verify(
    administration: LedgerAdministration, *, limit: int, waiting: int, archive: Path | None, json: bool
) -> None:
    """Check that the ledger is consistent.

    Checks sums, costs, prices, partitions, dead letters, that no row waits too long, that the ledger has every row that
    an agent has shipped, that the sums of archived months are there, that agents can read every user, token, price and
    budget, and, where the master key is readable, every OpenAI key. Exit code 0 if it is consistent, 1 if there is a
    finding, each with its request id or its table and id.

    Example: chatgpt-agent ledger verify
    """
    config = administration.config
    findings = await administration.ledger.verify(
        limit=limit,
        waiting=waiting,
        data_dir=config.data_dir,
        keyring=keyring_if_present(config),
        archive=archive,
    )
    if json:
        echo_json(findings)
    else:
        echo_findings(findings)
    if findings:
        sys.exit(1)


def _outbox_line(outbox: OutboxState | None) -> str:
    if outbox is None:
        return "Outbox: there is none in this data_dir"
    line = f"Outbox: {outbox.rows} rows to ship, {outbox.intents} requests in progress"
    if outbox.oldest_at is None:
        return line
    age = (datetime.now(UTC) - outbox.oldest_at).total_seconds()
    return f"{line}; the oldest began {age:.0f} s ago"


def _agent_cells(agent: AgentState) -> list[object]:
    moments = [show_second(moment) for moment in (agent.seen_at, agent.last_shipped_at)]
    return [agent.id, *moments, agent.backlog, show_second(agent.oldest_at)]


def _cells(row: UsageRow) -> dict[str, object]:
    exact = {name: usd(getattr(row, name)) for name in EXACT_NUMBERS}
    changed = {"started_at": show_second(row.started_at), "surcharges": surcharges_text(row.surcharges)}
    return msgspec.structs.asdict(row) | changed | exact
