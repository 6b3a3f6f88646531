"""`chatgpt-agent import-legacy`: moving over from the original program."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.legacy import LegacyStore, has_password
from chatgpt_agent.admin.legacy_import import LegacyImport
from chatgpt_agent.cli.common import caller, echo_json, echo_table, json_option, on_books
from chatgpt_agent.runtime.master_key import open_keyring

VARIABLE = "LEGACY_DATABASE_URL"
SECONDS = 600.0  # for one statement on the old database
SHOWN_NOTES = 100


@click.command(name="import-legacy")
@click.argument("database_url", required=False, metavar="[DATABASE_URL|-]")
@click.option("--database-url-file", type=click.Path(path_type=Path), metavar="FILE", help="A file with the URL.")
@click.option("--dry-run", is_flag=True, help="Show what would be taken over, and change nothing.")
@json_option
@on_books
async def import_legacy(
    store: Store, config: Config, database_url: str | None, database_url_file: Path | None, dry_run: bool, json: bool
) -> None:
    """Take users, tokens, prices and history over from the original program's database, which stays as it is.

    A URL on the command line can be read by everybody on this machine. If it holds a password, give - and pipe it in,
    or name a file, or set LEGACY_DATABASE_URL. Run it as often as you like: what is here already is not added again.
    Exit code 1 where a row could not be taken over, each with its reason.

    Example: chatgpt-agent import-legacy --database-url-file old.url --dry-run
    """
    url = _url(database_url, database_url_file)
    keyring = await open_keyring(config, store)
    async with LegacyStore(url, seconds=SECONDS) as old:
        move = LegacyImport(old, store, keyring, caller(), dry_run=dry_run)
        with _progress() as (begin, advance):
            moved = await move.run(begin, advance)
    if json:
        echo_json({"dry_run": dry_run, "tables": moved.tables, "notes": moved.notes})
    else:
        verb = "would be added" if dry_run else "added"
        lines = [(table, c.read, c.added, c.there, c.refused) for table, c in moved.tables.items()]
        echo_table(["table", "rows", verb, "here already", "not taken"], lines)
        for note in moved.notes[:SHOWN_NOTES]:
            where = " ".join(filter(None, [note.table, note.row]))
            click.echo(f"{where}: {'not taken: ' if note.refused else ''}{note.text}")
        if len(moved.notes) > SHOWN_NOTES:
            click.echo(f"and {len(moved.notes) - SHOWN_NOTES} more: --json shows all")
    if moved.refused:
        sys.exit(1)


def _url(argument: str | None, file: Path | None) -> str:
    if argument is not None and file is not None:
        raise click.UsageError("give the URL of the old database once: as DATABASE_URL, or by --database-url-file")
    if argument == "-":
        found = sys.stdin.buffer.readline().decode("utf-8", "replace").strip()
    elif file is not None:
        try:
            found = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise click.UsageError(f"--database-url-file: {file} cannot be read") from None
    else:
        found = (argument or os.environ.get(VARIABLE, "")).strip()
    if not found:
        raise click.UsageError(
            f"give the URL of the old database: - and pipe it in, --database-url-file, or {VARIABLE}"
        )
    if argument == found and has_password(found):
        click.echo(
            "Warning: everybody on this machine can read a password on a command line; - takes it piped.", err=True
        )
    return found


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on standard error, where somebody looks at it."""
    if not sys.stderr.isatty():
        yield (lambda rows: None), (lambda rows: None)
        return
    with click.progressbar(length=0, label="history", file=sys.stderr) as bar:

        def begin(rows: int) -> None:
            bar.length = rows

        yield begin, bar.update
