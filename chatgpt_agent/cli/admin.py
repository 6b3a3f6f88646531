"""The commands `chatgpt-agent admin …`."""

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import AdminRow, Role
from chatgpt_agent.cli.common import echo_json, read_password, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.issued import committed_after_output, echo_issued
from chatgpt_agent.cli.tables import Columns, echo_rows

COLUMNS: Columns[AdminRow] = {
    "name": lambda admin: admin.name,
    "role": lambda admin: admin.role,
    "token": lambda admin: "-" if admin.token_prefix is None else f"{admin.token_prefix}…",
    "state": lambda admin: "revoked" if admin.revoked_at else "active",
    "password": lambda admin: "-" if admin.password_set_at is None else "set",
    "since": lambda admin: admin.created_at.date(),
}


@click.group()
def admin() -> None:
    """Admins and viewers of the REST API and the console."""


@admin.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.ADMIN),
    show_default=True,
    help="A viewer has read-only access.",
)
@json_option
@with_administration
async def token(administration: Administration, name: str, role: str, json: bool) -> None:
    """Issue an admin's token.

    It is printed once, on the last line.

    Example: chatgpt-agent admin token carol --role viewer
    """
    async with committed_after_output(administration):
        issued = await administration.admins.issue(name, Role(role))
        echo_issued(issued, json=json)
    if not json:
        click.echo(f"This token of {name} ({role}) for the administration port is shown only now.", err=True)


@admin.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    help="The admin's role from now on; default: as it is, or admin for a new name.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
@with_administration
async def password(
    administration: Administration, name: str, role: str | None, password_stdin: bool, json: bool
) -> None:
    """Set an admin's password for the console.

    A new name becomes an admin, a revoked one is active again. All browsers in which the admin is signed in are signed
    out. The token, if there is one, stays as it is.

    Example: chatgpt-agent admin password carol
    """
    administration.admins.check_name(name)  # before the prompt
    text = read_password(from_stdin=password_stdin)
    admin = await administration.admins.set_password(name, text, Role(role) if role else None)
    if json:
        echo_json(admin)
    else:
        click.echo(f"The password of {name} ({admin.role}) has been set.")


@admin.command(name="list")
@table_option
@with_administration
@reads
async def list_(administration: Administration, json: bool) -> None:
    """List the admins.

    Example: chatgpt-agent admin list
    """
    admins = await administration.admins.list()
    if json:
        echo_json(admins)
    else:
        echo_rows(COLUMNS, admins)


@admin.command()
@click.argument("name")
@json_option
@with_administration
async def revoke(administration: Administration, name: str, json: bool) -> None:
    """Revoke an admin.

    Token and password stop working at once, and all browsers are signed out.

    Example: chatgpt-agent admin revoke carol
    """
    admin = await administration.admins.revoke(name)
    if json:
        echo_json(admin)
    else:
        click.echo(f"Admin {name} has been revoked.")
