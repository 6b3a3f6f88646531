"""`chatgpt-agent user import`: a table of people, all of them or nobody."""

import sys
from pathlib import Path
from typing import IO

import click

from chatgpt_agent.cli.common import as_json, csv_text, echo_json, on_people
from chatgpt_agent.core.errors import AgentError, InvalidValue, StoreUnavailable
from chatgpt_agent.core.people import Newcomer, ReportLine, Result, read_people, report
from chatgpt_agent.edges.files import remove_file, write_secret
from chatgpt_agent.edges.people_file import MAX_FILE, read_rows
from chatgpt_agent.services.people import FirstToken, People


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
@as_json
@on_people
async def import_(
    people: People, file: IO[bytes], dry_run: bool, skip_existing: bool, tokens_file: Path | None, json: bool
) -> None:
    """Add all users of a CSV file, or nobody where a line has a fault. Their tokens are printed as CSV, once.

    The first line names the columns, in any order: name and openai_key, and where wanted comment, models, budget (USD)
    and budget_period (day, week, month, total; else a month). Commas or semicolons, UTF-8; `-` is standard input.

    Example: chatgpt-agent user import team.csv --tokens-file tokens.csv
    """
    newcomers, faults = read_people(read_rows(file.read(MAX_FILE + 1)))
    there = await people.who_is_there(newcomers, skip=skip_existing)
    names = {line.name for line in there}
    newcomers = [newcomer for newcomer in newcomers if newcomer.name not in names]
    bad = len(faults) + (0 if skip_existing else len(there))
    issued: list[FirstToken] = []
    if not bad and not dry_run and newcomers:
        issued = await _add(people, newcomers, tokens_file)
    result = Result.NOT_ADDED if bad else Result.WOULD_BE_ADDED if dry_run else Result.ADDED
    lines = report(newcomers, faults, there, result)
    if json:
        echo_json({"lines": lines, "tokens": [] if tokens_file else issued})
    else:
        _show(lines, [] if tokens_file else issued)
    if bad:
        raise InvalidValue(f"{bad} of {len(lines)} users cannot be added, so nobody is")


async def _add(people: People, newcomers: list[Newcomer], tokens_file: Path | None) -> list[FirstToken]:
    issued: list[FirstToken] = []

    def keep(tokens: list[FirstToken]) -> None:
        if tokens_file is not None:
            write_secret(tokens_file, _tokens_csv(tokens))
        issued.extend(tokens)

    try:
        await people.add(newcomers, keep)
    except StoreUnavailable:  # which may have come behind the commit
        if issued and tokens_file is not None:
            click.echo(f"See with `user list` whether they were added: their tokens would be those in {tokens_file}.",
                       err=True)  # fmt: skip
        raise
    except AgentError:
        if issued and tokens_file is not None:
            remove_file(tokens_file)
        raise
    return issued


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
