"""The commands `chatgpt-agent config …`."""

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.configuration import Setting, check_configuration, settings_of
from chatgpt_agent.cli.common import config_option, echo_json
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option, table_option
from chatgpt_agent.cli.tables import Columns, echo_rows

COLUMNS: Columns[Setting] = {
    "key": lambda setting: setting.key,
    "value": lambda setting: setting.value,
    "source": lambda setting: setting.source,
}


@click.group()
def config() -> None:
    """The configuration: a check, and the values in force."""


@config.command()
@json_option
@config_option
@reads
def check(config: Config, json: bool) -> None:
    """Check the configuration as `serve` reads it.

    Checks file, environment, and the files that they name, and needs no database. Prints `ok`, or a line for each
    error; the exit code is then 2, as of every command.

    Example: chatgpt-agent config check --config config.yml
    """
    check_configuration(config)
    if json:
        echo_json({"ok": True})
    else:
        click.echo("ok")


@config.command()
@table_option
@config_option
@reads
def show(config: Config, json: bool) -> None:
    """Show each key, its value in force, and its source.

    The source is a file, a variable of the environment, or the default. Secrets are not shown. Needs no database.

    Example: chatgpt-agent config show --config config.yml
    """
    settings = settings_of(config)
    if json:
        echo_json(settings)
    else:
        echo_rows(COLUMNS, settings, keep=COLUMNS)
