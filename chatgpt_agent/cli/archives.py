"""`chatgpt-agent ledger prune` and `ledger archives`: months whose rows are in files."""

from datetime import date, datetime
from pathlib import Path

import click

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.archives import Archive, StoredMonth, archived_text
from chatgpt_agent.cli.common import echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads, reads_with
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.tables import Columns, echo_rows
from chatgpt_agent.cli.types import MONTH
from chatgpt_agent.core.archive import show_month
from chatgpt_agent.core.moments import show_second

_ARCHIVES: Columns[Archive] = {
    "month": lambda archive: show_month(archive.month),
    "rows": lambda archive: archive.sums.rows,
    "cost usd": lambda archive: usd(archive.sums.cost),
    "file": lambda archive: archive.file,
    "archived": lambda archive: show_second(archive.archived_at),
    "by": lambda archive: archive.archived_by,
    "sha256": lambda archive: archive.sha256,
}
_MONTHS: Columns[StoredMonth] = {
    "month": lambda month: show_month(month.month),
    "rows": lambda month: month.rows,
    "cost usd": lambda month: usd(month.cost),
    "size in the database": lambda month: f"{month.bytes / 1024**2:.1f} MiB",
}


@click.command()
@click.option(
    "--before", type=MONTH, required=True, metavar="YYYY-MM", help="Archive all months before this one (UTC)."
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where the files are written; default: the folder archive in data_dir.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be archived, and change nothing.")
@json_option
@with_ledger
@reads_with(dry_run=True)
async def prune(
    administration: LedgerAdministration, *, before: date, folder: Path | None, dry_run: bool, json: bool
) -> None:
    """Archive the rows of old months in files.

    Each month becomes a compressed CSV file with a manifest. It is read back, and its rows are then deleted from the
    database. Sums by day stay, so reports and budgets go on as before. The command can be interrupted and run again. A
    month stays for 31 days after its end, and archived rows cannot be corrected.

    Example: chatgpt-agent ledger prune --before 2026-01 --dry-run
    """
    plan = await administration.archives.plan(before, folder or administration.config.data_dir / "archive")
    if dry_run:
        if json:
            echo_json(plan)
        else:
            echo_rows(_MONTHS, plan.months)
            click.echo(f"Nothing was changed. The files would be written to {plan.folder}.", err=True)
        return
    archives = await administration.archives.prune(plan, say=lambda text: click.echo(text, err=True))
    if json:
        echo_json(archives)
    elif archives:
        echo_rows(_ARCHIVES, archives, keep=("month", "sha256"))
        click.echo(f"Back up {plan.folder}: the rows are there only.", err=True)
    else:
        click.echo(f"Nothing to do: there are no rows of months before {show_month(before)}.")


@click.command()
@table_option
@with_ledger
@reads
async def archives(administration: LedgerAdministration, json: bool) -> None:
    """List the archived months.

    Example: chatgpt-agent ledger archives
    """
    archived = await administration.archives.between(None, None)
    if json:
        echo_json(archived)
    else:
        echo_rows(_ARCHIVES, archived, keep=("month", "sha256"))


async def note_archives(administration: LedgerAdministration, since: datetime | None, until: datetime | None) -> None:
    """Says on standard error which rows between two moments are archived, if there are any."""
    if archived := await administration.archives.between(since, until):
        click.echo(f"Note: {archived_text(archived)}.", err=True)
