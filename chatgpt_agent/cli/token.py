"""`chatgpt-agent token …`"""

from datetime import timedelta
from typing import Any

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.tokens import IssuedToken, TokenRow
from chatgpt_agent.cli.common import echo_json, echo_table, json_option, with_administration
from chatgpt_agent.cli.options import changed, given, limits, listed, minute, parse_duration, state, token_settings
from chatgpt_agent.core.access.user_changes import TokenChanges

TOKEN_COLUMNS = (
    "id",
    "user",
    "token",
    "label",
    "state",
    "expires",
    "last used",
    "models",
    "networks",
    "limits",
    "since",
)

_id = click.argument("id", type=click.IntRange(1, 2**63 - 1))


@click.group()
def token() -> None:
    """Tokens: what users call the agent with."""


@token.command()
@click.argument("user")
@token_settings
@json_option
@with_administration
async def issue(administration: Administration, user: str, json: bool, **options: Any) -> None:
    """Issue one more token and print it, once, on the last line.

    Example: chatgpt-agent token issue alice --label laptop --expires 90d --models 'gpt-4o*'
    """
    _show(await administration.tokens.issue(user, **given(options)), f"A token for user {user}", json=json)


@token.command(name="list")
@click.argument("user", required=False)
@json_option
@with_administration
async def list_(administration: Administration, user: str | None, json: bool) -> None:
    """List tokens by their first characters, of all users or of one. Times are UTC.

    Example: chatgpt-agent token list alice
    """
    tokens = sorted(await administration.tokens.list(user), key=lambda token: (token.user, token.id))
    if json:
        echo_json(tokens)
        return
    echo_table(TOKEN_COLUMNS, map(token_cells, tokens))


@token.command(name="set")
@_id
@token_settings
@json_option
@with_administration
async def set_(administration: Administration, id: int, json: bool, **options: Any) -> None:
    """Change what a token may do, within a second; ID is what `token list` shows. An empty value takes a setting away.

    Example: chatgpt-agent token set 7 --networks 192.0.2.0/24 --expires ''
    """
    found = await administration.tokens.change(id, TokenChanges(**changed(options)))
    if json:
        echo_json(found)
    else:
        echo_table(TOKEN_COLUMNS, [token_cells(found)])


@token.command()
@_id
@click.option("--grace", default="24h", show_default=True, metavar="TIME", help="How long the old one still works.")
@json_option
@with_administration
async def rotate(administration: Administration, id: int, grace: str, json: bool) -> None:
    """Issue a token with the same settings and budgets in place of one, and print it, once, on the last line.

    Example: chatgpt-agent token rotate 7 --grace 2d
    """
    duration = timedelta(0) if grace == "0" else parse_duration(grace)
    if duration is None:
        raise click.BadParameter(f"{grace[:40]!r} is not a time such as 2d, 24h or 30m, or 0", param_hint="--grace")
    issued = await administration.tokens.rotate(id, grace=duration)
    ends = (await administration.tokens.get(id)).expires_at
    _show(issued, f"Token {id} works until {minute(ends)} UTC. In its place: token {issued.id}", json=json)


@token.command()
@_id
@json_option
@with_administration
async def revoke(administration: Administration, id: int, json: bool) -> None:
    """End a token for good; ID is what `token list` shows.

    Example: chatgpt-agent token revoke 7
    """
    found = await administration.tokens.revoke(id)
    if json:
        echo_json(found)
    else:
        click.echo(f"Token {id} is revoked.")


def _show(issued: IssuedToken, text: str, *, json: bool) -> None:
    if json:
        echo_json(issued)
        return
    click.echo(f"{text}, which is shown only now:", err=True)
    click.echo(issued.token)


def token_cells(found: TokenRow) -> tuple[object, ...]:
    """A token's line in a table."""
    return (
        found.id,
        found.user,
        f"{found.token_prefix}…",
        found.label,
        state(found),
        minute(found.expires_at),
        minute(found.last_used_at),
        listed(found.allowed_models),
        listed(found.allowed_networks),
        limits(found),
    )
