"""The commands `chatgpt-agent budget …`."""

from decimal import Decimal

import click
import msgspec

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.cli.common import echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import ID
from chatgpt_agent.core.budget.period import Period, parse_amount

_period = click.option(
    "--period", type=click.Choice([period.value for period in Period]), default="month", show_default=True,
    help="A day, week or month of the configured time zone, or the total.",
)  # fmt: skip
_EACH = {Period.DAY: " a day", Period.WEEK: " a week", Period.MONTH: " a month", Period.TOTAL: " in total"}


@click.group()
def budget() -> None:
    """Budgets: what users and tokens may spend, in USD. Without a budget there is no limit."""


@budget.command(name="set")
@click.argument("amount")
@click.option("--user", metavar="NAME", help="Set the budget of this user.")
@click.option("--token", "token_id", type=ID, metavar="ID", help="Set the budget of this token alone.")
@_period
@json_option
@with_ledger
async def set_(
    administration: LedgerAdministration,
    *,
    user: str | None,
    amount: str,
    token_id: int | None,
    period: str,
    json: bool,
) -> None:
    """Set the AMOUNT in USD that a user or a token may spend per period.

    Example: chatgpt-agent budget set 20 --user alice --period month
    """
    if (user is None) is (token_id is None):
        raise click.UsageError("give --user or --token, and not both")
    row = await administration.budgets.set(
        user=user, token_id=token_id, period=Period(period), amount=parse_amount(amount, "AMOUNT")
    )
    if json:
        echo_json(_fields(row))
    else:
        click.echo(f"{_owner(row)} may spend {usd(row.amount)} USD{_EACH[row.period]}; spent: {usd(row.spent)} USD.")


@budget.command(name="list")
@click.argument("user", required=False)
@table_option
@with_ledger
@reads
async def list_(administration: LedgerAdministration, user: str | None, json: bool) -> None:
    """List budgets and what is spent of them. USER: only those of this user and their tokens.

    Example: chatgpt-agent budget list alice
    """
    rows = await administration.budgets.list(user=user)
    if json:
        echo_json([_fields(row) for row in rows])
    else:
        headers = ["id", "owner", "period", "amount", "spent", "left", "resets at (UTC)"]
        echo_table(headers, map(_cells, rows), keep=headers[:-1])


@budget.command()
@click.argument("id", type=ID)
@json_option
@with_ledger
async def remove(administration: LedgerAdministration, id: int, json: bool) -> None:
    """Remove a budget; `budget list` shows its ID.

    Example: chatgpt-agent budget remove 3
    """
    row = await administration.budgets.remove(id)
    if json:
        echo_json(_fields(row))
    else:
        click.echo(f"{_owner(row)} no longer has a budget of {usd(row.amount)} USD{_EACH[row.period]}.")


def _owner(row: BudgetRow) -> str:
    return f"User {row.user}" if row.token_id is None else f"Token {row.token_id} of user {row.user}"


def _left(row: BudgetRow) -> Decimal:
    return max(Decimal(0), row.amount - row.spent)


def _fields(row: BudgetRow) -> dict[str, object]:
    return {**msgspec.structs.asdict(row), "left": _left(row)}


def _cells(row: BudgetRow) -> list[object]:
    owner = row.user if row.token_id is None else f"{row.user}, token {row.token_id}"
    resets = f"{row.resets_at:%Y-%m-%d %H:%M}" if row.resets_at else "never"
    return [row.id, owner, row.period, usd(row.amount), usd(row.spent), usd(_left(row)), resets]
