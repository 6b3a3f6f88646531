"""`chatgpt-agent healthcheck`."""

import sys

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.health import check_health
from chatgpt_agent.cli.common import config_option, echo_json
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option
from chatgpt_agent.cli.output import echo_error


@click.command()
@click.option("--ready", is_flag=True, help="Ask whether requests can be served (/readyz), not whether it is alive.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the agent may take to answer.",
)
@json_option
@config_option
@reads
def healthcheck(config: Config, ready: bool, timeout: float, json: bool) -> None:
    """Ask the agent on this machine whether it is alive.

    Asks /healthz at `bind_address` and `port`, at this machine's own address where the agent listens on all. Prints one
    line; the exit code is 0 if the answer is 200, otherwise 1. It is the health check of a container.

    Example: chatgpt-agent healthcheck --ready --config config.yml
    """
    health = check_health(config, ready=ready, seconds=timeout)
    if json:
        echo_json(health)
    elif health.ok:
        click.echo(health.line)
    else:
        echo_error(f"Error: {health.line}")
    if not health.ok:
        sys.exit(1)
