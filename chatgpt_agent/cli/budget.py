"""`chatgpt-agent budget …`"""

from decimal import Decimal

import click

from chatgpt_agent.adapters.postgres.budgets import BudgetRow
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.cli.common import caller, echo_json, echo_table, json_option, on_store, usd
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.money.pricing import parse_amount

_ID = click.IntRange(1, 2**63 - 1)
_period = click.option(
    "--period", type=click.Choice([period.value for period in Period]), default="month", show_default=True,
    help="Days, weeks and months of the books' time zone, or all of it.",
)  # fmt: skip


@click.group()
def budget() -> None:
    """Budgets: what users and tokens may spend, in USD. Without one there is no limit."""


@budget.command(name="set")
@click.argument("amount")
@click.option("--user", metavar="NAME", help="Whose it is;")
@click.option("--token", "token_id", type=_ID, metavar="ID", help="or that of one token alone.")
@_period
@json_option
@on_store
async def set_(store: Store, user: str | None, amount: str, token_id: int | None, period: str, json: bool) -> None:
    """Set what a user, or a token, may spend in each period: AMOUNT in USD.

    Example: chatgpt-agent budget set 20 --user alice --period month
    """
    if (user is None) is (token_id is None):
        raise click.UsageError("give --user or --token, and not both")
    accounts = BudgetAdmin(store, caller())
    found = await accounts.set(
        user=user, token_id=token_id, period=Period(period), amount=parse_amount(amount, "AMOUNT")
    )
    if json:
        echo_json(_fields(found))
    else:
        amounts = f"{usd(found.amount)} USD{_EACH[found.period]}; {usd(found.spent)} are spent"
        click.echo(f"{_owner(found)} may spend {amounts}.")


@budget.command(name="list")
@click.argument("user", required=False)
@json_option
@on_store
async def list_(store: Store, user: str | None, json: bool) -> None:
    """List budgets and what is spent of them, of all users or of one and their tokens.

    Example: chatgpt-agent budget list alice
    """
    found = await BudgetAdmin(store, caller()).list(user=user)
    if json:
        echo_json([_fields(line) for line in found])
    else:
        echo_table(
            ["id", "whose", "period", "amount", "spent", "left", "resets at (UTC)"], [_line(line) for line in found]
        )


@budget.command()
@click.argument("id", type=_ID)
@json_option
@on_store
async def remove(store: Store, id: int, json: bool) -> None:
    """Take a budget away; ID is what `budget list` shows.

    Example: chatgpt-agent budget remove 3
    """
    accounts = BudgetAdmin(store, caller())
    found = await accounts.get(id)
    await accounts.remove(id)
    if json:
        echo_json(_fields(found))
        return
    click.echo(f"{_owner(found)} has no budget{_EACH[found.period]} any more.")


_EACH = {Period.DAY: " a day", Period.WEEK: " a week", Period.MONTH: " a month", Period.TOTAL: " in total"}


def _owner(found: BudgetRow) -> str:
    return f"User {found.user}" if found.token_id is None else f"Token {found.token_id} of user {found.user}"


def _left(found: BudgetRow) -> Decimal:
    return max(Decimal(0), found.amount - found.spent)


def _fields(found: BudgetRow) -> dict[str, object]:
    amounts = {"amount": usd(found.amount), "spent": usd(found.spent), "left": usd(_left(found))}
    return {name: getattr(found, name) for name in found.__struct_fields__} | amounts


def _line(found: BudgetRow) -> tuple[object, ...]:
    whose = found.user if found.token_id is None else f"{found.user}, token {found.token_id}"
    resets = f"{found.resets_at:%Y-%m-%d %H:%M}" if found.resets_at else "never"
    return (found.id, whose, found.period, usd(found.amount), usd(found.spent), usd(_left(found)), resets)
