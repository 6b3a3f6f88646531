"""The commands `chatgpt-agent token …`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.tokens import GRACE, TokenRow
from chatgpt_agent.cli.common import echo_json, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.issued import committed_after_output, echo_issued
from chatgpt_agent.cli.options import (
    format_limits,
    format_list,
    format_minute,
    parse_duration,
    require_change,
    token_settings,
)
from chatgpt_agent.cli.tables import Columns, echo_rows
from chatgpt_agent.cli.types import ID
from chatgpt_agent.core.access.settings import TokenSettings

TOKEN_COLUMNS: Columns[TokenRow] = {
    "id": lambda token: token.id,
    "user": lambda token: token.user,
    "token": lambda token: f"{token.token_prefix}…",
    "label": lambda token: token.label,
    "state": lambda token: _state_cell(token),
    "expires": lambda token: format_minute(token.expires_at),
    "last used": lambda token: format_minute(token.last_used_at),
    "models": lambda token: format_list(token.allowed_models),
    "networks": lambda token: format_list(token.allowed_networks),
    "limits": lambda token: format_limits(token),
    "since": lambda token: token.created_at.date(),
}

TOKEN_ESSENTIALS = ("id", "user", "token", "state", "expires")  # what a narrow terminal shows, too

_id = click.argument("id", type=ID)


@click.group()
def token() -> None:
    """Tokens, which users present to the agent."""


@token.command()
@click.argument("user")
@token_settings
@json_option
@with_administration
async def issue(administration: Administration, user: str, json: bool, **settings: Any) -> None:
    """Issue one more token and print it, once, on the last line.

    Example: chatgpt-agent token issue alice --label laptop --expires 90d --models 'gpt-6*'
    """
    async with committed_after_output(administration):
        issued = await administration.tokens.issue(user, TokenSettings(**settings))
        echo_issued(issued, json=json)
    if not json:
        click.echo(f"This is token {issued.id} of user {user}, which is shown only now.", err=True)


@token.command(name="list")
@click.argument("user", required=False)
@table_option
@with_administration
@reads
async def list_(administration: Administration, user: str | None, json: bool) -> None:
    """List tokens by their first characters, of all users or of one. Times are UTC.

    Example: chatgpt-agent token list alice
    """
    tokens = sorted(await administration.tokens.list(user), key=lambda token: (token.user, token.id))
    if json:
        echo_json(tokens)
    else:
        echo_rows(TOKEN_COLUMNS, tokens, keep=TOKEN_ESSENTIALS)


@token.command(name="set")
@_id
@token_settings
@table_option
@with_administration
async def set_(administration: Administration, id: int, json: bool, **settings: Any) -> None:
    """Change what a token may do, within a second. `token list` shows the ID. An empty value removes a setting.

    Example: chatgpt-agent token set 7 --networks 192.0.2.0/24 --expires ''
    """
    require_change(settings)
    token = await administration.tokens.change(id, TokenSettings(**settings))
    if json:
        echo_json(token)
    else:
        echo_rows(TOKEN_COLUMNS, [token], keep=TOKEN_ESSENTIALS)


@token.command()
@_id
@click.option(
    "--grace",
    default=f"{GRACE // timedelta(hours=1)}h",
    show_default=True,
    metavar="TIME",
    help="How long the old token still works, such as 2d, 24h or 30m; 0: not at all.",
)
@json_option
@with_administration
async def rotate(administration: Administration, id: int, grace: str, json: bool) -> None:
    """Replace a token by a new one.

    The new token has the same settings and budgets. It is printed once, on the last line.

    Example: chatgpt-agent token rotate 7 --grace 2d
    """
    duration = timedelta(0) if grace == "0" else parse_duration(grace)
    if duration is None:
        raise click.BadParameter(f"{grace[:40]!r} is not a time such as 2d, 24h or 30m, or 0", param_hint="--grace")
    async with committed_after_output(administration):
        issued = await administration.tokens.rotate(id, grace=duration)
        echo_issued(issued, json=json)
    if not json:
        old = await administration.tokens.get(id)
        click.echo(f"This is token {issued.id}, which replaces token {id} and is shown only now.", err=True)
        click.echo(f"Token {id} works until {format_minute(old.expires_at)} UTC.", err=True)


@token.command()
@_id
@json_option
@with_administration
async def revoke(administration: Administration, id: int, json: bool) -> None:
    """Revoke a token for good. `token list` shows the ID.

    Example: chatgpt-agent token revoke 7
    """
    token = await administration.tokens.revoke(id)
    if json:
        echo_json(token)
    else:
        click.echo(f"Token {id} has been revoked.")
        await _warn_of_predecessor(administration, token)


async def _warn_of_predecessor(administration: Administration, token: TokenRow) -> None:
    """Says that the token before a rotation still works, if it does."""
    if token.replaces is None:
        return
    old = await administration.tokens.get(token.replaces)
    if token_state(old) == "active":
        click.echo(f"Token {old.id}, which it replaced, still works until {format_minute(old.expires_at)} UTC.")


def token_state(token: TokenRow) -> str:
    """Returns the state of a token: active, expired or revoked."""
    if token.revoked_at:
        return "revoked"
    return "expired" if token.expires_at and token.expires_at <= datetime.now(UTC) else "active"


def _state_cell(token: TokenRow) -> str:
    replaced = f" (replaced by {token.replaced_by})" if token.replaced_by else ""
    return token_state(token) + replaced
