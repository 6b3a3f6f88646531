"""The commands `chatgpt-agent admin …`."""

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import AdminRow, Role
from chatgpt_agent.cli.common import echo_json, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.issued import committed_after_output, echo_issued
from chatgpt_agent.cli.tables import Columns, echo_rows

COLUMNS: Columns[AdminRow] = {
    "name": lambda admin: admin.name,
    "role": lambda admin: admin.role,
    "token": lambda admin: f"{admin.token_prefix}…",
    "state": lambda admin: "revoked" if admin.revoked_at else "active",
    "since": lambda admin: admin.created_at.date(),
}


@click.group()
def admin() -> None:
    """Admins and viewers of the REST API."""


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
    """Revoke an admin's token; it stops working at once.

    Example: chatgpt-agent admin revoke carol
    """
    admin = await administration.admins.revoke(name)
    if json:
        echo_json(admin)
    else:
        click.echo(f"The token of admin {name} has been revoked.")
