"""The commands `chatgpt-agent user …`."""

from typing import IO, Any

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.cli.common import confirm_name, echo_json, read_secret, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.issued import committed_after_output, echo_issued
from chatgpt_agent.cli.options import format_limits, format_list, require_change, user_settings
from chatgpt_agent.cli.tables import Columns, echo_rows
from chatgpt_agent.cli.token import TOKEN_COLUMNS, TOKEN_ESSENTIALS
from chatgpt_agent.cli.user_import import import_
from chatgpt_agent.core.access.key_import import read_keys
from chatgpt_agent.core.access.settings import NewUser, UserChanges, UserSettings, check_openai_key, check_settings
from chatgpt_agent.core.csv_reader import MAX_FILE, read_rows

COLUMNS: Columns[UserRow] = {
    "name": lambda user: user.name,
    "state": lambda user: user_state(user),
    "tokens": lambda user: user.tokens,
    "models": lambda user: format_list(user.allowed_models),
    "limits": lambda user: ", ".join(
        filter(None, [format_limits(user), "standard tier only" if user.standard_tier_only else ""])
    ),
    "comment": lambda user: user.comment,
    "since": lambda user: user.created_at.date(),
}

_key_from_stdin = click.option("--openai-key-stdin", is_flag=True, help="Read the OpenAI key from standard input.")


@click.group()
def user() -> None:
    """Users, each with an OpenAI key of their own."""


user.add_command(import_)


@user.command()
@click.argument("name")
@_key_from_stdin
@user_settings
@json_option
@with_administration
async def add(administration: Administration, name: str, openai_key_stdin: bool, json: bool, **settings: Any) -> None:
    """Add a user and print a token for them, once, on the last line.

    Example: chatgpt-agent user add alice --comment 'Sales, Berlin' --models 'gpt-6*'
    """
    # Before the prompt for the key.
    await administration.users.check_new(name)
    check_settings(UserSettings(**settings))
    new = NewUser(name=name, openai_key=_read_key(openai_key_stdin), **settings)
    async with committed_after_output(administration):
        issued = await administration.users.add(new)
        echo_issued(issued, json=json)
    if not json:
        click.echo(f"User {name} has been added. The token above is shown only now.", err=True)


@user.command(name="list")
@table_option
@with_administration
@reads
async def list_(administration: Administration, json: bool) -> None:
    """List all users.

    Example: chatgpt-agent user list
    """
    users = await administration.users.list()
    if json:
        echo_json(users)
    else:
        echo_rows(COLUMNS, users)


@user.command()
@click.argument("name")
@table_option
@with_administration
@reads
async def show(administration: Administration, name: str, json: bool) -> None:
    """Show a user and their tokens.

    Example: chatgpt-agent user show alice
    """
    user = await administration.users.get(name)
    tokens = await administration.tokens.list(name)
    if json:
        echo_json({"user": user, "tokens": tokens})
        return
    echo_rows(COLUMNS, [user])
    click.echo()
    echo_rows(TOKEN_COLUMNS, tokens, keep=TOKEN_ESSENTIALS)


@user.command(name="set")
@click.argument("name")
@user_settings
@table_option
@with_administration
async def set_(administration: Administration, name: str, json: bool, **settings: Any) -> None:
    """Change what a user may do, within a second. An empty value removes a setting.

    Example: chatgpt-agent user set alice --models 'gpt-6*,gpt-5.5' --rpm 60 --tpm ''
    """
    require_change(settings)
    user = await administration.users.change(name, UserChanges(**settings))
    if json:
        echo_json(user)
    else:
        echo_rows(COLUMNS, [user])


@user.command()
@click.argument("name")
@json_option
@with_administration
async def disable(administration: Administration, name: str, json: bool) -> None:
    """Reject a user's tokens until `enable`.

    Example: chatgpt-agent user disable alice
    """
    user = await administration.users.change(name, UserChanges(disabled=True))
    _echo_change(user, f"User {name} has been disabled.", json=json)


@user.command()
@click.argument("name")
@json_option
@with_administration
async def enable(administration: Administration, name: str, json: bool) -> None:
    """Accept a disabled user's tokens again.

    Example: chatgpt-agent user enable alice
    """
    user = await administration.users.change(name, UserChanges(disabled=False))
    _echo_change(user, f"User {name} has been enabled.", json=json)


@user.command()
@click.argument("name")
@click.argument("new_name")
@json_option
@with_administration
async def rename(administration: Administration, name: str, new_name: str, json: bool) -> None:
    """Give a user another name. Tokens, budgets and recorded requests stay theirs.

    A removed user can be renamed, too; then the name can be used again.

    Example: chatgpt-agent user rename alice alice.smith
    """
    user = await administration.users.rename(name, new_name)
    _echo_change(user, f"User {name} is now {new_name}.", json=json)


@user.command(name="set-key")
@click.argument("name", required=False)
@click.option("--all", "everyone", is_flag=True, help="Replace the keys of all users by this one.")
@click.option(
    "--csv", "csv_file", type=click.File("rb"), metavar="FILE",
    help="Replace the keys of the users in a CSV file with the columns name and openai_key; - is standard input.",
)  # fmt: skip
@_key_from_stdin
@json_option
@with_administration
async def set_key(
    administration: Administration,
    *,
    name: str | None,
    everyone: bool,
    csv_file: IO[bytes] | None,
    openai_key_stdin: bool,
    json: bool,
) -> None:
    """Replace OpenAI keys: of one user, of all, or of those in a file.

    Of several users, all keys are replaced, or none.

    Example: chatgpt-agent user set-key alice
    """
    if [name is not None, everyone, csv_file is not None].count(True) != 1:
        raise click.UsageError("give NAME, --all or --csv FILE, and only one of them")
    users = administration.users
    if name is not None:
        await users.check_changeable(name)  # before the prompt for the key
        user = await users.set_openai_key(name, _read_key(openai_key_stdin))
        _echo_change(user, f"The OpenAI key of user {name} has been replaced.", json=json)
        return
    if csv_file is not None:
        keys = read_keys(read_rows(csv_file.read(MAX_FILE + 1)))
    else:
        key = _read_key(openai_key_stdin)
        keys = {user.name: key for user in await users.list() if user.removed_at is None}
    names = await users.set_openai_keys(keys)
    if json:
        echo_json({"replaced": names})
    else:
        click.echo(f"The OpenAI keys of {len(names)} users have been replaced.")


@user.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name again.")
@json_option
@with_administration
async def remove(administration: Administration, name: str, yes: bool, json: bool) -> None:
    """Remove a user for good.

    The OpenAI key is destroyed, and the tokens are revoked. The user's rows stay in the ledger under their name, which
    can be used again only after `user rename`.

    Example: chatgpt-agent user remove alice
    """
    await administration.users.check_changeable(name)
    confirm_name("Name of the user, again, to remove them for good", name, yes=yes)
    _echo_change(await administration.users.remove(name), f"User {name} has been removed.", json=json)


def user_state(user: UserRow) -> str:
    """Returns the state of a user: active, disabled or removed."""
    return "removed" if user.removed_at else "disabled" if user.disabled_at else "active"


def _echo_change(user: UserRow, text: str, *, json: bool) -> None:
    if json:
        echo_json(user)
    else:
        click.echo(text)


def _read_key(from_stdin: bool) -> str:
    key = read_secret("OpenAI key", from_stdin=from_stdin)
    check_openai_key(key)
    return key
