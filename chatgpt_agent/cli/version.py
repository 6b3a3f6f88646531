"""`chatgpt-agent --version` and `chatgpt-agent version`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.cli.common import config_option, echo_json
from chatgpt_agent.cli.completion import PROGRAM
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option

F = TypeVar("F", bound=Callable[..., Any])


def version_option(command: F) -> F:
    """Adds `--version`, which reads no configuration and asks no database."""
    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_and_exit,
        help="Show the versions of program and libraries, and exit.",
    )(command)


def _print_and_exit(context: click.Context, _: click.Parameter, chosen: bool) -> None:
    if chosen and not context.resilient_parsing:
        from chatgpt_agent.admin.versions import versions  # only here: it imports all that has a version

        _print(versions())
        context.exit()


@click.command()
@json_option
@config_option
@reads
def version(config: Config, json: bool) -> None:
    """Show the versions of program, libraries and PostgreSQL.

    As `--version`, and asks the configured database for its version, too. If that does not answer, a line says why, and
    the exit code is 0 all the same.

    Example: chatgpt-agent version --config config.yml
    """
    from chatgpt_agent.admin.versions import SERVER, read_versions  # only here, as above

    report = read_versions(config)
    if json:
        echo_json(report)
        return
    _print(report.versions)
    if report.database_error is not None:
        click.echo(f"{SERVER} unknown: {report.database_error}")


def _print(versions: dict[str, str]) -> None:
    """Prints a line for each version; the first is as click prints a program's, for scripts that read it."""
    click.echo(f"{PROGRAM}, version {__version__}")
    for name, value in versions.items():
        if name != PROGRAM:
            click.echo(f"{name} {value}")
