"""The command `chatgpt-agent user import`."""

from pathlib import Path
from typing import IO

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.user_import import MAX_FILE, ImportedUsers, tokens_csv
from chatgpt_agent.cli.common import echo_json, with_administration
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import json_option
from chatgpt_agent.cli.output import no_change_without_output
from chatgpt_agent.core.access.user_import import Result
from chatgpt_agent.core.errors import InvalidValue


@click.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Report what would happen, and change nothing.")
@click.option("--skip-existing", is_flag=True, help="Skip users who exist already.")
@click.option(
    "--tokens-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the tokens to a new file that only its owner can read, instead of standard output.",
)
@json_option
@with_administration
@reads_with(dry_run=True)
async def import_(
    administration: Administration,
    *,
    file: IO[bytes],
    dry_run: bool,
    skip_existing: bool,
    tokens_file: Path | None,
    json: bool,
) -> None:
    """Add all users of a CSV file, or none if a line has an error. Print their tokens as CSV, once.

    The first line names the columns, in any order: name and openai_key, and optionally comment, models, budget (USD),
    budget_period (day, week, month, total; default: month) and standard_tier_only (yes, no; default: no). Commas or
    semicolons, UTF-8; `-` is standard input.

    Example: chatgpt-agent user import team.csv --tokens-file tokens.csv
    """

    def publish(imported: ImportedUsers) -> None:
        """Prints the tokens before the users are added: a token that is lost cannot be shown again."""
        tokens = imported.tokens if tokens_file is None else []
        with no_change_without_output():
            if json:
                echo_json(ImportedUsers(imported.lines, tokens))
            elif tokens:
                click.echo(tokens_csv(tokens), nl=False)

    imported = await administration.user_import.run(
        file.read(MAX_FILE + 1), skip_existing=skip_existing, dry_run=dry_run, tokens_file=tokens_file, publish=publish
    )
    if not json:
        _echo_report(imported, tokens_file)
    if errors := len(imported.errors):
        raise InvalidValue(f"{errors} of {len(imported.lines)} lines have an error, so no user was added")


def _echo_report(imported: ImportedUsers, tokens_file: Path | None) -> None:
    """Prints the report to standard error, so that standard output holds only the tokens."""
    for line in imported.lines:
        click.echo(f"line {line.line}: {line.name}: {line.error or line.result}", err=True)
    for result in Result:
        if count := sum(line.result is result for line in imported.lines):
            click.echo(f"{result}: {count}", err=True)
    if imported.tokens:
        place = "are shown only now" if tokens_file is None else "are in the file, and nowhere else"
        click.echo(f"The tokens {place}.", err=True)
