"""The command `chatgpt-agent migrate`."""

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin.schema import (
    Loss,
    NotConfirmed,
    Rollback,
    SchemaStatus,
    apply_migrations,
    check_not_newer,
    distribute,
    roll_back,
    schema_status,
)
from chatgpt_agent.cli.common import config_option, echo_json
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import table_option
from chatgpt_agent.cli.tables import echo_table


@click.command()
@click.option("--status", is_flag=True, help="Show which migrations are applied, and change nothing.")
@click.option(
    "--rollback",
    "count",
    type=click.IntRange(1),
    metavar="N",
    help="Roll the last N migrations back. Without --yes, only say what would be lost.",
)
@click.option("--distribute", "distributed", is_flag=True, help="Also distribute the ledger over a Citus cluster.")
@click.option("--shards", type=click.IntRange(1, 1024), metavar="N", help="Parts to distribute it into; 8 by default.")
@click.option("--yes", "confirmation", metavar="DATABASE", help="Roll back the database of this name.")
@table_option
@config_option
@reads_with(status=True)
def migrate(
    config: Config,
    *,
    status: bool,
    count: int | None,
    distributed: bool,
    shards: int | None,
    confirmation: str | None,
    json: bool,
) -> None:
    """Migrate the database to this program's schema.

    A rollback loses what the newer tables and columns hold, and is for going back to an older program. Back up first,
    stop all agents, and look at what would be lost.

    Example: chatgpt-agent migrate --status
    """
    if bool(status) + bool(count) + distributed > 1:
        raise click.UsageError("give only one of --status, --rollback and --distribute")
    if shards is not None and not distributed:
        raise click.UsageError("--shards is for --distribute")
    if confirmation is not None and not count:
        raise click.UsageError("--yes confirms a --rollback")
    set_up_logging("warning")
    if status:
        schema = schema_status(config)
        _echo_status(schema, json=json)
        check_not_newer(schema)
    elif count:
        _roll_back(config, count, confirmation, json=json)
    elif distributed:
        _distribute(config, shards, json=json)
    else:
        _echo_changes("applied", apply_migrations(config), json=json)


def _distribute(config: Config, shards: int | None, *, json: bool) -> None:
    done = distribute(config, shards)
    if json:
        echo_json(done)
        return
    for name in done.tables:
        click.echo(f"distributed {name} into {done.shards} parts")
    if not done.tables:
        click.echo(f"nothing to do: the ledger is distributed into {done.shards} parts")


def _roll_back(config: Config, count: int, confirmation: str | None, *, json: bool) -> None:
    try:
        done = roll_back(config, count, confirmation=confirmation)
    except NotConfirmed as error:
        _echo_losses(error.rollback)
        raise
    _echo_losses(done)
    if json:
        echo_json({"rolled_back": done.migrations, "losses": done.losses})
    else:
        _echo_changes("rolled back", done.migrations, json=False)


def _echo_losses(rollback: Rollback) -> None:
    """Prints to standard error what a rollback loses and closes."""
    lines = [line for loss in rollback.losses for line in _loss_lines(loss)]
    if rollback.revoked_tokens:
        lines.append(f"{rollback.revoked_tokens} tokens are revoked: the older program does not know their limits")
    if rollback.disabled_users:
        lines.append(f"{rollback.disabled_users} removed users are disabled")
    if rollback.revoked_admins:
        lines.append(f"{rollback.revoked_admins} admins are revoked: the older program does not know their passwords")
    click.echo(f"Rolling back {', '.join(rollback.migrations)} in the database {rollback.database}:", err=True)
    for line in lines or ["no row is lost"]:
        click.echo(f"  {line}", err=True)


def _loss_lines(loss: Loss) -> list[str]:
    if loss.dropped:
        return [f"the table {loss.table} is dropped, with {_rows(loss.rows)}"]
    lines = [f"{loss.table} loses {_rows(loss.rows)}"] if loss.rows else []
    if loss.columns:
        columns = ", ".join(f"{column} (set in {_rows(rows)})" for column, rows in loss.columns.items())
        lines.append(f"{loss.table} loses columns: {columns}")
    return lines


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _echo_status(schema: SchemaStatus, *, json: bool) -> None:
    if json:
        echo_json(schema)
        return
    rows = [(name, "applied") for name in schema.applied]
    rows += [(name, "rolled back" if name in schema.rolled_back else "pending") for name in schema.pending]
    rows += [(name, "unknown: from a newer program") for name in schema.unknown]
    echo_table(["migration", "state"], rows)


def _echo_changes(verb: str, names: list[str], *, json: bool) -> None:
    if json:
        echo_json({verb.replace(" ", "_"): names})
        return
    for name in names:
        click.echo(f"{verb} {name}")
    if not names:
        click.echo("nothing to do: the schema is up to date")
