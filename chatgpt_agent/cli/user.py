"""`chatgpt-agent user …`"""

from typing import Any

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.cli.common import confirm_name, echo_json, echo_table, json_option, read_secret, with_administration
from chatgpt_agent.cli.options import changed, given, limits, listed, state, user_settings
from chatgpt_agent.cli.token import TOKEN_COLUMNS, token_cells
from chatgpt_agent.cli.user_import import import_
from chatgpt_agent.core.access.user_changes import UserChanges, check_upstream_key

_COLUMNS = ("name", "state", "tokens", "models", "limits", "comment", "since")

_from_stdin = click.option("--openai-key-stdin", is_flag=True, help="Read the OpenAI key from standard input.")


@click.group()
def user() -> None:
    """Users, each with an OpenAI key of their own."""


user.add_command(import_)


@user.command()
@click.argument("name")
@_from_stdin
@user_settings
@json_option
@with_administration
async def add(administration: Administration, name: str, openai_key_stdin: bool, json: bool, **options: Any) -> None:
    """Add a user and print a token for them, once, on the last line.

    Example: chatgpt-agent user add alice --comment 'Sales, Berlin' --models 'gpt-4o*'
    """
    await administration.users.check_new(name)  # before anybody types a key for nothing
    issued = await administration.users.add(name, _read_key(openai_key_stdin), **given(options))
    if json:
        echo_json(issued)
        return
    click.echo(f"User {name} is added. Their token, which is shown only now:", err=True)
    click.echo(issued.token)


@user.command(name="list")
@json_option
@with_administration
async def list_(administration: Administration, json: bool) -> None:
    """List all users.

    Example: chatgpt-agent user list
    """
    users = await administration.users.list()
    if json:
        echo_json(users)
    else:
        echo_table(_COLUMNS, map(_cells, users))


@user.command()
@click.argument("name")
@json_option
@with_administration
async def show(administration: Administration, name: str, json: bool) -> None:
    """Show a user and their tokens.

    Example: chatgpt-agent user show alice
    """
    found = await administration.users.get(name)
    tokens = await administration.tokens.list(name)
    if json:
        echo_json({"user": found, "tokens": tokens})
        return
    echo_table(_COLUMNS, [_cells(found)])
    click.echo()
    echo_table(TOKEN_COLUMNS, map(token_cells, tokens))


@user.command(name="set")
@click.argument("name")
@user_settings
@json_option
@with_administration
async def set_(administration: Administration, name: str, json: bool, **options: Any) -> None:
    """Change what a user may do, within a second. An empty value takes a setting away.

    Example: chatgpt-agent user set alice --models 'gpt-4o*,o3' --rpm 60 --tpm ''
    """
    found = await administration.users.change(name, UserChanges(**changed(options)))
    if json:
        echo_json(found)
    else:
        echo_table(_COLUMNS, [_cells(found)])


@user.command()
@click.argument("name")
@json_option
@with_administration
async def disable(administration: Administration, name: str, json: bool) -> None:
    """Stop a user's tokens from working, until `enable`.

    Example: chatgpt-agent user disable alice
    """
    found = await administration.users.change(name, UserChanges(disabled=True))
    _say(found, f"User {name} is disabled.", json=json)


@user.command()
@click.argument("name")
@json_option
@with_administration
async def enable(administration: Administration, name: str, json: bool) -> None:
    """Let a disabled user's tokens work again.

    Example: chatgpt-agent user enable alice
    """
    found = await administration.users.change(name, UserChanges(disabled=False))
    _say(found, f"User {name} is enabled.", json=json)


@user.command(name="set-key")
@click.argument("name")
@_from_stdin
@json_option
@with_administration
async def set_key(administration: Administration, name: str, openai_key_stdin: bool, json: bool) -> None:
    """Replace a user's OpenAI key.

    Example: chatgpt-agent user set-key alice
    """
    await administration.users.check_changeable(name)
    await administration.users.set_openai_key(name, _read_key(openai_key_stdin))
    _say(await administration.users.get(name), f"The OpenAI key of user {name} is replaced.", json=json)


@user.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name again.")
@json_option
@with_administration
async def remove(administration: Administration, name: str, yes: bool, json: bool) -> None:
    """Remove a user for good: their OpenAI key is destroyed and their tokens are revoked. Their rows stay in the books
    under their name, which nobody else can have.

    Example: chatgpt-agent user remove alice
    """
    await administration.users.check_changeable(name)
    confirm_name("Name of the user, again, to remove them for good", name, yes=yes)
    _say(await administration.users.remove(name), f"User {name} is removed.", json=json)


def _say(found: UserRow, text: str, *, json: bool) -> None:
    if json:
        echo_json(found)
    else:
        click.echo(text)


def _read_key(from_stdin: bool) -> str:
    key = read_secret("OpenAI key", from_stdin=from_stdin)
    check_upstream_key(key)
    return key


def _cells(found: UserRow) -> tuple[object, ...]:
    models = listed(found.allowed_models)
    return (found.name, state(found), found.tokens, models, limits(found), found.comment, found.created_at.date())
