"""`chatgpt-agent admin …`"""

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.cli.common import echo_json, echo_table, json_option, with_administration


@click.group()
def admin() -> None:
    """Administrators: who may use the REST API, and who may only read there."""


@admin.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.ADMIN),
    show_default=True,
    help="A viewer changes nothing.",
)
@json_option
@with_administration
async def token(administration: Administration, name: str, role: str, json: bool) -> None:
    """Issue an administrator's token and print it, once, on the last line.

    Example: chatgpt-agent admin token carol --role viewer
    """
    issued = await administration.admins.issue(name, Role(role))
    if json:
        echo_json({"name": name, "role": role, "token": issued})
        return
    click.echo(f"A token for {name} ({role}) on the administration port, which is shown only now:", err=True)
    click.echo(issued)


@admin.command(name="list")
@json_option
@with_administration
async def list_(administration: Administration, json: bool) -> None:
    """List the administrators.

    Example: chatgpt-agent admin list
    """
    found = await administration.admins.list()
    if json:
        echo_json(found)
        return
    echo_table(
        ["name", "role", "token", "state", "since"],
        [
            (a.name, a.role, f"{a.token_prefix}…", "revoked" if a.revoked_at else "active", a.created_at.date())
            for a in found
        ],
    )


@admin.command()
@click.argument("name")
@json_option
@with_administration
async def revoke(administration: Administration, name: str, json: bool) -> None:
    """End an administrator's token; it stops working at once.

    Example: chatgpt-agent admin revoke carol
    """
    revoked = await administration.admins.revoke(name)
    if json:
        echo_json(revoked)
        return
    click.echo(f"The token of administrator {name} is revoked.")
