"""The commands `chatgpt-agent price surcharge …`: fees of tools, and factors of hosts."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.surcharges import surcharge_record
from chatgpt_agent.cli.common import WrongOptions, echo_json, usd, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.price_changes import ALL
from chatgpt_agent.cli.price_options import from_option, second
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import ID
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.surcharges import MULTIPLIER, SURCHARGE_KINDS, Surcharge, parse_amount


@click.group()
def surcharge() -> None:
    """Fees of tools, and factors of hosts."""


@surcharge.command(name="set")
@click.argument("kind", type=click.Choice(SURCHARGE_KINDS))
@click.argument("amount")
@click.option("--per-1000", is_flag=True, help="AMOUNT is USD for 1,000 calls.")
@click.option("--model", metavar="MODEL", default="", help="Only with this model; else with every one without its own.")
@click.option("--host", metavar="HOST", help="Of a multiplier: the upstream's host; default: the configured one.")
@from_option
@json_option
@with_administration
async def set_(
    administration: Administration,
    *,
    kind: str,
    amount: str,
    per_1000: bool,
    model: str,
    host: str | None,
    since: datetime | None,
    json: bool,
) -> None:
    """Set a surcharge, which supersedes the one before. Recorded requests keep the cost they were charged.

    AMOUNT is USD for a call, or, of a multiplier, the factor of all tokens and time; `none` ends a surcharge.

    Example: chatgpt-agent price surcharge set file_search 2.50 --per-1000
    """
    if host is not None and kind != MULTIPLIER:
        raise click.UsageError("--host is for a multiplier")
    if per_1000 and kind == MULTIPLIER:
        raise click.UsageError("--per-1000 is not for a multiplier")
    try:
        value = parse_amount(amount, "AMOUNT", per_1000=per_1000)
        added = await administration.surcharges.set(kind, value, host=host, model=model, since=since)
    except InvalidValue as error:
        raise WrongOptions(error.message) from None
    if json:
        echo_json(surcharge_record(added))
        return
    verb = "is set" if added.amount is not None else "ends"
    click.echo(f"{_name(added)} {verb} from {second(added.effective_at)} UTC on.")
    for other in await administration.surcharges.upcoming():
        if other.scope == added.scope and other.id != added.id:
            change = "it ends" if other.amount is None else f"it is {usd(other.amount)}"
            click.echo(f"From {second(other.effective_at)} UTC on, {change} (id {other.id}).")


@surcharge.command(name="list")
@click.option("--history", is_flag=True, help="Also surcharges that are superseded, ended or of a later date.")
@click.option("--upcoming", is_flag=True, help="Only surcharges of a later date.")
@table_option
@with_administration
@reads
async def list_(administration: Administration, history: bool, upcoming: bool, json: bool) -> None:
    """List the surcharges in force, and below them those to come.

    JSON has the surcharges in force, those to come with --upcoming, or all with --history.

    Example: chatgpt-agent price surcharge list
    """
    if history and upcoming:
        raise click.UsageError("give --history or --upcoming, not both")
    use_case = administration.surcharges
    to_come = await use_case.upcoming()
    listed = to_come if upcoming else await (use_case.history() if history else use_case.in_force())
    if json:
        echo_json([surcharge_record(each) for each in listed])
        return
    if upcoming:
        _echo_table(to_come)
        return
    now = datetime.now(UTC)
    _echo_table([each for each in listed if each.cancelled_at is None and each.effective_at <= now])
    if to_come:
        click.echo("\nTo come; `price surcharge cancel ID` cancels one:\n")
        _echo_table(to_come)


@surcharge.command()
@click.argument("id", type=ID)
@json_option
@with_administration
async def cancel(administration: Administration, id: int, json: bool) -> None:
    """Cancel a surcharge of a later date. `price surcharge list` shows the ID.

    Example: chatgpt-agent price surcharge cancel 12
    """
    cancelled = await administration.surcharges.cancel(id)
    if json:
        echo_json(surcharge_record(cancelled))
        return
    end = "The end of the" if cancelled.amount is None else "The"
    name = _name(cancelled).removeprefix("The ")
    click.echo(f"{end} {name} (id {id}) from {second(cancelled.effective_at)} UTC on is cancelled.")


def _name(surcharge: Surcharge) -> str:
    host = f" on {surcharge.host}" if surcharge.host else ""
    return f"The surcharge {surcharge.kind}{host} for {surcharge.model or ALL}"


def _echo_table(surcharges: Sequence[Surcharge]) -> None:
    lines = [
        (
            each.id,
            each.kind,
            each.host,
            each.model or ALL,
            "ended" if each.amount is None else usd(each.amount),
            second(each.effective_at),
        )
        for each in surcharges
    ]
    headers = ["id", "surcharge", "host", "model", "usd or factor", "from (UTC)"]
    echo_table(headers, lines, keep=("id", "surcharge", "model", "usd or factor"))
