"""`chatgpt-agent import-legacy`: the import from the original program."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.legacy_import import ImportResult, has_password
from chatgpt_agent.cli.common import echo_json, with_administration
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import table_option
from chatgpt_agent.cli.tables import echo_table

VARIABLE = "LEGACY_DATABASE_URL"
MAX_WARNINGS = 100  # in a table


@click.command(name="import-legacy")
@click.argument("database_url", required=False, metavar="[DATABASE_URL|-]")
@click.option("--database-url-file", type=click.Path(path_type=Path), metavar="FILE", help="A file with the URL.")
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and change nothing.")
@table_option
@with_administration
@reads_with(dry_run=True)
async def import_legacy(
    administration: Administration,
    *,
    database_url: str | None,
    database_url_file: Path | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Import the database of the original program.

    Users, tokens, prices and history are read; that database is not changed.

    Every user of this machine can read a URL on the command line. If it holds a password, give - and pipe it in, or
    name a file, or set LEGACY_DATABASE_URL. The import may be repeated: rows that are here already are not added again.
    Exit code 1 if a row could not be imported, each with its reason.

    Example: chatgpt-agent import-legacy --database-url-file old.url --dry-run
    """
    url = _url(database_url, database_url_file)
    with _progress() as (begin, advance):
        result = await administration.legacy_import.run(url, dry_run=dry_run, begin=begin, advance=advance)
    if json:
        echo_json({"dry_run": dry_run, "tables": result.tables, "warnings": result.warnings})
    else:
        _echo_result(result, dry_run=dry_run)
    if result.refused:
        sys.exit(1)


def _echo_result(result: ImportResult, *, dry_run: bool) -> None:
    lines = [
        (table, counts.read, counts.added, counts.existing, counts.refused) for table, counts in result.tables.items()
    ]
    echo_table(["table", "rows", "would be added" if dry_run else "added", "here already", "not imported"], lines)
    for warning in result.warnings[:MAX_WARNINGS]:
        row = " ".join(filter(None, [warning.table, warning.row]))
        click.echo(f"{row}: {'not imported: ' if warning.refused else ''}{warning.text}")
    if len(result.warnings) > MAX_WARNINGS:
        click.echo(f"and {len(result.warnings) - MAX_WARNINGS} more: --json shows all")


def _url(argument: str | None, file: Path | None) -> str:
    if argument is not None and file is not None:
        raise click.UsageError("give the URL of the old database once: as DATABASE_URL, or with --database-url-file")
    if argument == "-":
        url = sys.stdin.buffer.readline().decode("utf-8", "replace").strip()
    elif file is not None:
        try:
            url = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise click.UsageError(f"--database-url-file: {file} cannot be read") from None
    else:
        url = (argument or os.environ.get(VARIABLE, "")).strip()
    if not url:
        raise click.UsageError(
            f"give the URL of the old database: with - and a pipe, with --database-url-file, or in {VARIABLE}"
        )
    if argument == url and has_password(url):
        click.echo(
            "Warning: every user of this machine can read a password on the command line; give - and pipe it in.",
            err=True,
        )
    return url


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield (lambda rows: None), (lambda rows: None)
        return
    with click.progressbar(length=0, label="history", file=sys.stderr) as bar:

        def begin(rows: int) -> None:
            bar.length = rows

        yield begin, bar.update
