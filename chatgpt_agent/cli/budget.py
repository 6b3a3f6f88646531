"""The commands `chatgpt-agent budget …`."""

from datetime import datetime

import click

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.cli.common import echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.tables import Columns, echo_rows
from chatgpt_agent.cli.types import DATE, ID
from chatgpt_agent.core.budget.period import Period, parse_amount
from chatgpt_agent.core.moments import show_minute, show_second

_period = click.option(
    "--period", type=click.Choice([period.value for period in Period]), default="month", show_default=True,
    help="A day, week or month of the configured time zone, or the total.",
)  # fmt: skip
_EACH = {Period.DAY: " a day", Period.WEEK: " a week", Period.MONTH: " a month", Period.TOTAL: " in total"}

BUDGET_COLUMNS: Columns[BudgetRow] = {
    "id": lambda row: row.id,
    "owner": lambda row: row.user if row.token_id is None else f"{row.user}, token {row.token_id}",
    "period": lambda row: row.period,
    "amount": lambda row: usd(row.amount),
    "raised to": lambda row: usd(row.raised_amount),
    "spent": lambda row: usd(row.spent),
    "left": lambda row: usd(row.left),
    "empty at (UTC)": lambda row: show_minute(row.empty_at),
    "resets at (UTC)": lambda row: show_minute(row.resets_at) or "never",
    "raised until (UTC)": lambda row: show_minute(row.raised_until),
}
BUDGET_ESSENTIALS = ("id", "owner", "period", "amount", "raised to", "spent", "left")  # in a narrow terminal, too


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
    """Set the AMOUNT in USD that a user or a token may spend per period. This ends a raise of the budget.

    Example: chatgpt-agent budget set 20 --user alice --period month
    """
    _check_owner(user, token_id)
    row = await administration.budgets.set(
        user=user, token_id=token_id, period=Period(period), amount=parse_amount(amount, "AMOUNT")
    )
    if json:
        echo_json(row)
    else:
        click.echo(f"{_owner(row)} may spend {usd(row.amount)} USD{_EACH[row.period]}; spent: {usd(row.spent)} USD.")


@budget.command(name="raise")
@click.argument("amount", required=False)
@click.option("--user", metavar="NAME", help="Raise the budget of this user.")
@click.option("--token", "token_id", type=ID, metavar="ID", help="Raise the budget of this token alone.")
@_period
@click.option("--until", type=DATE, metavar="DATE", help="When the raise ends, at most 366 days ahead (UTC).")
@click.option("--end", is_flag=True, help="End the raise now.")
@json_option
@with_ledger
async def raise_(
    administration: LedgerAdministration,
    *,
    amount: str | None,
    user: str | None,
    token_id: int | None,
    period: str,
    until: datetime | None,
    end: bool,
    json: bool,
) -> None:
    """Raise a budget to AMOUNT in USD until a date, or --end its raise. Then the budget's own amount is in force again,
    by itself. Setting or removing the budget ends its raise, too.

    Example: chatgpt-agent budget raise 40 --user alice --until 2026-12-05
    """
    _check_owner(user, token_id)
    if end and (amount is not None or until is not None):
        raise click.UsageError("--end takes neither AMOUNT nor --until")
    budgets = administration.budgets
    if end:
        current = await budgets.find(user=user, token_id=token_id, period=Period(period))
        row = await budgets.end_raise(current.id)
    elif amount is None or until is None:
        raise click.UsageError("give AMOUNT and --until, or --end")
    else:
        to = parse_amount(amount, "AMOUNT")
        current = await budgets.find(user=user, token_id=token_id, period=Period(period))
        row = await budgets.raise_until(current.id, amount=to, until=until)
    if json:
        echo_json(row)
        return
    plain = f"{usd(row.amount)} USD{_EACH[row.period]}"
    if row.raised_until is None:
        click.echo(f"{_owner(row)} may spend {plain} again; spent: {usd(row.spent)} USD.")
    else:
        raised = f"{usd(row.raised_amount)} USD{_EACH[row.period]} until {show_second(row.raised_until)} UTC"
        click.echo(f"{_owner(row)} may spend {raised}, then {plain} again; spent: {usd(row.spent)} USD.")


@budget.command(name="list")
@click.argument("user", required=False)
@table_option
@with_ledger
@reads
async def list_(administration: LedgerAdministration, user: str | None, json: bool) -> None:
    """List budgets, and what is spent and left of them. USER: only those of this user and their tokens.

    A budget that spends on as in the last seven days is "empty at" that time, before it resets.

    Example: chatgpt-agent budget list alice
    """
    rows = await administration.budgets.list(user=user)
    if json:
        echo_json(rows)
    else:
        echo_rows(BUDGET_COLUMNS, rows, keep=BUDGET_ESSENTIALS)


@budget.command()
@click.argument("id", type=ID)
@json_option
@with_ledger
async def remove(administration: LedgerAdministration, id: int, json: bool) -> None:
    """Remove a budget and its raise; `budget list` shows its ID.

    Example: chatgpt-agent budget remove 3
    """
    row = await administration.budgets.remove(id)
    if json:
        echo_json(row)
    else:
        click.echo(f"{_owner(row)} no longer has a budget of {usd(row.amount)} USD{_EACH[row.period]}.")


def _check_owner(user: str | None, token_id: int | None) -> None:
    if (user is None) is (token_id is None):
        raise click.UsageError("give --user or --token, and not both")


def _owner(row: BudgetRow) -> str:
    return f"User {row.user}" if row.token_id is None else f"Token {row.token_id} of user {row.user}"
