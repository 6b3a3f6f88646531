"""`chatgpt-agent user import`: a table of people, all of them or nobody."""

import sys
from pathlib import Path
from typing import IO

import click

from chatgpt_agent.adapters.csv_reader import MAX_FILE, read_rows
from chatgpt_agent.adapters.files import remove_file, write_secret
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.user_import import FirstToken, Imported, UserImport
from chatgpt_agent.cli.common import echo_json, json_option, with_administration
from chatgpt_agent.core.access.user_import import NewUserRow, ReportLine, Result, read_people
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.errors import AgentError, InvalidValue, StoreUnavailable


@click.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--skip-existing", is_flag=True, help="Pass over users who are there already.")
@click.option(
    "--tokens-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the tokens to a new file that its owner alone can read, and not to standard output.",
)
@json_option
@with_administration
async def import_(
    administration: Administration,
    file: IO[bytes],
    dry_run: bool,
    skip_existing: bool,
    tokens_file: Path | None,
    json: bool,
) -> None:
    """Add all users of a CSV file, or nobody where a line has a fault. Their tokens are printed as CSV, once.

    The first line names the columns, in any order: name and openai_key, and where wanted comment, models, budget (USD)
    and budget_period (day, week, month, total; else a month). Commas or semicolons, UTF-8; `-` is standard input.

    Example: chatgpt-agent user import team.csv --tokens-file tokens.csv
    """
    newcomers, faults = read_people(read_rows(file.read(MAX_FILE + 1)))
    done = await _add(
        administration.user_import, newcomers, faults, tokens_file, skip_existing=skip_existing, dry_run=dry_run
    )
    shown = [] if tokens_file else done.tokens
    if json:
        echo_json({"lines": done.lines, "tokens": shown})
    else:
        _show(done.lines, shown)
    if done.bad:
        raise InvalidValue(f"{done.bad} of {len(done.lines)} users cannot be added, so nobody is")


async def _add(
    people: UserImport, newcomers: list[NewUserRow], faults: list[ReportLine], tokens_file: Path | None, **options: bool
) -> Imported:
    written: list[Path] = []

    def keep(tokens: list[FirstToken]) -> None:
        if tokens_file is not None:
            write_secret(tokens_file, _tokens_csv(tokens))
            written.append(tokens_file)

    try:
        return await people.import_table(newcomers, faults, **options, keep=keep)
    except StoreUnavailable:  # which may have come behind the commit
        for path in written:
            click.echo(f"See with `user list` whether they were added: their tokens would be those in {path}.",
                       err=True)  # fmt: skip
        raise
    except AgentError:
        for path in written:
            remove_file(path)
        raise


def _show(lines: list[ReportLine], issued: list[FirstToken]) -> None:
    """The report goes to standard error, so that the tokens alone are in standard output."""
    for line in lines:
        click.echo(f"line {line.line}: {line.name}: {line.fault or line.result}", err=True)
    for result in Result:
        if count := sum(line.result is result for line in lines):
            click.echo(f"{count} {result}", err=True)
    if issued:
        click.echo("Their tokens, which are shown only now:", err=True)
        sys.stderr.flush()
        click.echo(_tokens_csv(issued), nl=False)


def _tokens_csv(issued: list[FirstToken]) -> str:
    return csv_text(["name", "token"], [(found.user, found.token) for found in issued])
