"""`chatgpt-agent ledger …`: what the ledger holds, what is wrong with it, and what still waits."""

import sys
from datetime import UTC, datetime

import click
import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.outbox import OutboxState, read_state
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.usage_rows import ROW_FIELDS, UsageRow, list_rows, rows_by_state
from chatgpt_agent.admin import ledger as ledger_use_cases
from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, json_option, on_books, usd
from chatgpt_agent.cli.reconcile import correct, reconcile
from chatgpt_agent.core.ledger import State

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)


@click.group()
def ledger() -> None:
    """The ledger: its rows, its health, and its proof."""


ledger.add_command(reconcile)
ledger.add_command(correct)


@ledger.command()
@click.option("--since", type=_MOMENT, help="Count rows from here on, in UTC; else all.")
@json_option
@on_books
async def status(store: Store, config: Config, since: datetime | None, json: bool) -> None:
    """Show what waits in the outbox, the rows by state, the agents, and the dead letters.

    Example: chatgpt-agent ledger status
    """
    outbox = read_state(config.data_dir)
    states = await rows_by_state(store, since.replace(tzinfo=UTC) if since else None)
    agents = await agent_states(store)
    dead = await count_dead_letters(store)
    if json:
        rows = [{"state": line.state, "rows": line.rows, "cost_usd": usd(line.cost)} for line in states]
        echo_json({"outbox": outbox, "rows": rows, "agents": agents, "dead_letters": dead})
        return
    click.echo(_outbox_line(outbox))
    click.echo(f"Dead letters: {dead}")
    click.echo()
    echo_table(["state", "rows", "cost usd"], [(line.state, line.rows, usd(line.cost)) for line in states])
    click.echo()
    echo_table(["agent", "seen", "last shipped", "backlog", "oldest"], map(_agent_cells, agents))


@ledger.command(name="list")
@click.option(
    "--state",
    "states",
    type=click.Choice([*map(str, State)]),
    multiple=True,
    help="Of this state; more than once: any.",
)
@click.option("--since", type=_MOMENT, help="From here on, in UTC.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@_FORMAT
@on_books
async def list_(
    store: Store, config: Config, states: tuple[str, ...], since: datetime | None, limit: int, form: str
) -> None:
    """List rows, the newest first, by the request id that the client got in X-Agent-Request-Id.

    Example: chatgpt-agent ledger list --state unknown --state incomplete --since 2026-11-01
    """
    moment = since.replace(tzinfo=UTC) if since else None
    rows = await list_rows(store, states=states, since=moment, limit=limit)
    headers = list(ROW_FIELDS)
    if form == "json":
        echo_json([dict(zip(headers, _row_cells(row), strict=True)) for row in rows])
    elif form == "csv":
        echo_csv(headers, map(_row_cells, rows))
    else:
        shown = ["request_id", "started_at", "user", "token", "endpoint", "model", "state", "status", "error", "cost"]
        at = [headers.index(name) for name in shown]
        echo_table(
            [name.replace("_", " ") for name in shown], [[_row_cells(row)[index] for index in at] for row in rows]
        )


@ledger.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Of each kind.")
@click.option(
    "--waiting",
    type=click.IntRange(1),
    default=ledger_use_cases.MAX_WAITING,
    show_default=True,
    metavar="SECONDS",
    help="How long a row may wait to be shipped.",
)
@json_option
@on_books
async def verify(store: Store, config: Config, limit: int, waiting: int, json: bool) -> None:
    """Prove the books: sums, costs, prices, partitions, and that nothing waits or was refused.

    Exit code 0 where all is right, 1 where there is a finding, each with its request id.

    Example: chatgpt-agent ledger verify
    """
    found = await ledger_use_cases.verify(store, limit=limit, waiting=waiting, data_dir=config.data_dir)
    if json:
        echo_json(found)
    elif found:
        echo_table(["check", "subject", "finding"], [(line.check, line.subject, line.text) for line in found])
    else:
        click.echo("The books are right.")
    if found:
        sys.exit(1)


def _outbox_line(outbox: OutboxState | None) -> str:
    if outbox is None:
        return "Outbox: there is none in this data_dir"
    line = f"Outbox: {outbox.rows} rows to be shipped, {outbox.intents} requests under way"
    if outbox.oldest_at is None:
        return line
    age = (datetime.now(UTC) - outbox.oldest_at).total_seconds()
    return f"{line}; the oldest row began {age:.0f} s ago"


def _agent_cells(agent: AgentState) -> tuple[object, ...]:
    moments = [f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "" for moment in (agent.seen_at, agent.last_shipped_at)]
    oldest = f"{agent.oldest_at:%Y-%m-%d %H:%M:%S}" if agent.oldest_at else ""
    return (agent.id, *moments, agent.backlog, oldest)


def _row_cells(row: UsageRow) -> list[object]:
    cells = msgspec.structs.asdict(row) | {
        "started_at": f"{row.started_at:%Y-%m-%d %H:%M:%S}",
        "cost": usd(row.cost),
        "uncertain_cost": usd(row.uncertain_cost),
    }
    return [cells[name] for name in ROW_FIELDS]
