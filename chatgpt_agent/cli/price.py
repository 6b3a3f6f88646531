"""`chatgpt-agent price …`"""

from datetime import UTC, datetime

import click
import msgspec

from chatgpt_agent.cli.common import as_json, echo_json, echo_table, on_accounts, usd
from chatgpt_agent.core.pricing import Price, PriceBook, Rates, parse_usd
from chatgpt_agent.services.accounts import Accounts


@click.group()
def price() -> None:
    """Prices per 1,000,000 tokens. A model without a price is refused."""


@price.command(name="set")
@click.argument("model")
@click.option("--input", "input_", required=True, metavar="USD", help="USD per 1,000,000 input tokens.")
@click.option("--output", required=True, metavar="USD", help="USD per 1,000,000 output tokens.")
@click.option("--cached-input", metavar="USD", help="USD per 1,000,000 cached input tokens; else as --input.")
@click.option(
    "--from",
    "since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="When it takes effect, in UTC; else now.",
)
@on_accounts
async def set_(
    accounts: Accounts, model: str, input_: str, output: str, cached_input: str | None, since: datetime | None
) -> None:
    """Set a model's price, which supersedes the one before. Rows that are written keep theirs.

    Example: chatgpt-agent price set gpt-4o-mini --input 0.15 --cached-input 0.075 --output 0.60
    """
    await accounts.set_price(
        model,
        Rates(
            input=parse_usd(input_, "--input"),
            output=parse_usd(output, "--output"),
            cached_input=None if cached_input is None else parse_usd(cached_input, "--cached-input"),
        ),
        since=since.replace(tzinfo=UTC) if since else None,
    )
    now = datetime.now(UTC)
    prices = [price for price in await accounts.prices() if price.model == model]
    added, current = max(prices, key=lambda price: price.id), PriceBook(prices).at(model, now)
    click.echo(f"The price of {model} is set from {added.effective_at:%Y-%m-%d %H:%M:%S} UTC on.")
    if current is None or current.id != added.id:
        other = f"the price of {current.effective_at:%Y-%m-%d %H:%M:%S}" if current else "no price"
        click.echo(f"Until then, there is {other}." if added.effective_at > now else f"Now in force is {other}.")


@price.command(name="list")
@click.option("--history", is_flag=True, help="Also those that are superseded, removed or still to come.")
@as_json
@on_accounts
async def list_(accounts: Accounts, history: bool, json: bool) -> None:
    """List the prices in force.

    Example: chatgpt-agent price list --history
    """
    prices = await accounts.prices()
    if not history:
        prices = PriceBook(prices).models(datetime.now(UTC))
    if json:
        echo_json([msgspec.structs.asdict(found) | _amounts(found) for found in prices])
    else:
        echo_table(["model", "input", "cached input", "output", "from (UTC)"], [_line(found) for found in prices])


@price.command()
@click.argument("model")
@on_accounts
async def remove(accounts: Accounts, model: str) -> None:
    """Take a model's price away, so that it is refused from now on. Rows that are written keep theirs.

    Example: chatgpt-agent price remove gpt-4o-mini
    """
    await accounts.remove_price(model)
    click.echo(f"The price of {model} is removed.")


def _amounts(found: Price) -> dict[str, str | None]:
    amounts = {"input": found.input, "output": found.output, "cached_input": found.cached_input}
    return {name: None if amount is None else usd(amount) for name, amount in amounts.items()}


def _line(found: Price) -> tuple[object, ...]:
    since = f"{found.effective_at:%Y-%m-%d %H:%M:%S}"
    if found.input is None:
        return (found.model, "removed", "", "", since)
    return (found.model, usd(found.input), usd(found.cached_input), usd(found.output), since)
