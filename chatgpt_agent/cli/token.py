"""`chatgpt-agent token …`"""

import click

from chatgpt_agent.cli.common import as_json, echo_json, echo_table, on_accounts
from chatgpt_agent.services.accounts import Accounts


@click.group()
def token() -> None:
    """Tokens: what users call the agent with."""


@token.command()
@click.argument("user")
@click.option("--label", default="", help="A word to tell tokens apart.")
@as_json
@on_accounts
async def issue(accounts: Accounts, user: str, label: str, json: bool) -> None:
    """Issue one more token and print it, once, on the last line.

    Example: chatgpt-agent token issue alice --label laptop
    """
    issued = await accounts.issue_token(user, label=label)
    if json:
        echo_json(issued)
        return
    click.echo(f"A token for user {user}, which is shown only now:", err=True)
    click.echo(issued.token)


@token.command(name="list")
@click.argument("user", required=False)
@as_json
@on_accounts
async def list_(accounts: Accounts, user: str | None, json: bool) -> None:
    """List tokens by their first characters, of all users or of one.

    Example: chatgpt-agent token list alice
    """
    tokens = sorted(await accounts.tokens(user), key=lambda token: (token.user, token.id))
    if json:
        echo_json(tokens)
        return
    echo_table(
        ["id", "user", "token", "label", "state", "since"],
        [
            (t.id, t.user, f"{t.shown}…", t.label, "revoked" if t.revoked_at else "active", t.created_at.date())
            for t in tokens
        ],
    )


@token.command()
@click.argument("id", type=click.IntRange(1, 2**63 - 1))
@on_accounts
async def revoke(accounts: Accounts, id: int) -> None:
    """End a token for good; ID is what `token list` shows.

    Example: chatgpt-agent token revoke 7
    """
    await accounts.revoke_token(id)
    click.echo(f"Token {id} is revoked.")
