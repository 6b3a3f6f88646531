"""`chatgpt-agent user …`"""

import click

from chatgpt_agent.cli.common import as_json, echo_json, echo_table, on_accounts, read_secret
from chatgpt_agent.core.accounts import check_upstream_key
from chatgpt_agent.edges.store.accounts import UserLine
from chatgpt_agent.services.accounts import Accounts

_from_stdin = click.option("--openai-key-stdin", is_flag=True, help="Read the OpenAI key from standard input.")


@click.group()
def user() -> None:
    """Users, each with an OpenAI key of their own."""


@user.command()
@click.argument("name")
@_from_stdin
@as_json
@on_accounts
async def add(accounts: Accounts, name: str, openai_key_stdin: bool, json: bool) -> None:
    """Add a user and print a token for them, once, on the last line.

    Example: chatgpt-agent user add alice
    """
    await accounts.check_new_user(name)  # before anybody types a key for nothing
    issued = await accounts.add_user(name, _read_key(openai_key_stdin))
    if json:
        echo_json(issued)
        return
    click.echo(f"User {name} is added. Their token, which is shown only now:", err=True)
    click.echo(issued.token)


@user.command(name="list")
@as_json
@on_accounts
async def list_(accounts: Accounts, json: bool) -> None:
    """List all users.

    Example: chatgpt-agent user list
    """
    users = await accounts.users()
    if json:
        echo_json(users)
    else:
        echo_table(["name", "state", "tokens", "since"], [_line(found) for found in users])


@user.command()
@click.argument("name")
@as_json
@on_accounts
async def show(accounts: Accounts, name: str, json: bool) -> None:
    """Show a user and their tokens.

    Example: chatgpt-agent user show alice
    """
    found = await accounts.user(name)
    tokens = await accounts.tokens(name)
    if json:
        echo_json({"user": found, "tokens": tokens})
        return
    echo_table(["name", "state", "tokens", "since"], [_line(found)])
    click.echo()
    echo_table(
        ["id", "token", "label", "state", "since"],
        [(t.id, f"{t.shown}…", t.label, "revoked" if t.revoked_at else "active", t.created_at.date()) for t in tokens],
    )


@user.command()
@click.argument("name")
@on_accounts
async def disable(accounts: Accounts, name: str) -> None:
    """Stop a user's tokens from working, until `enable`.

    Example: chatgpt-agent user disable alice
    """
    await accounts.set_enabled(name, False)
    click.echo(f"User {name} is disabled.")


@user.command()
@click.argument("name")
@on_accounts
async def enable(accounts: Accounts, name: str) -> None:
    """Let a disabled user's tokens work again.

    Example: chatgpt-agent user enable alice
    """
    await accounts.set_enabled(name, True)
    click.echo(f"User {name} is enabled.")


@user.command(name="set-key")
@click.argument("name")
@_from_stdin
@on_accounts
async def set_key(accounts: Accounts, name: str, openai_key_stdin: bool) -> None:
    """Replace a user's OpenAI key.

    Example: chatgpt-agent user set-key alice
    """
    await accounts.user(name)
    await accounts.set_upstream_key(name, _read_key(openai_key_stdin))
    click.echo(f"The OpenAI key of user {name} is replaced.")


def _read_key(from_stdin: bool) -> str:
    key = read_secret("OpenAI key", from_stdin=from_stdin)
    check_upstream_key(key)
    return key


def _line(found: UserLine) -> tuple[object, ...]:
    return (found.name, "disabled" if found.disabled_at else "active", found.tokens, found.created_at.date())
