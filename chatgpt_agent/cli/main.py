"""`chatgpt-agent`: serve, migrate, and the groups of commands."""

import click

from chatgpt_agent import __version__, server
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.adapters.migrate import check_not_newer, migrate, rollback, schema_status
from chatgpt_agent.cli.admin import admin
from chatgpt_agent.cli.audit import audit
from chatgpt_agent.cli.budget import budget
from chatgpt_agent.cli.common import config_option, echo_json, echo_table, json_option
from chatgpt_agent.cli.ledger import ledger
from chatgpt_agent.cli.legacy import import_legacy
from chatgpt_agent.cli.price import price
from chatgpt_agent.cli.token import token
from chatgpt_agent.cli.usage import usage
from chatgpt_agent.cli.user import user
from chatgpt_agent.runtime.database import database


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chatgpt-agent")
def main() -> None:
    """A gateway that lets a team share the OpenAI API, with books that are right."""


@main.command()
@config_option
def serve(config: Config) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Example: chatgpt-agent serve --config config.yml
    """
    set_up_logging(config.log_level)
    server.serve(config)


@main.command(name="migrate")
@click.option("--status", is_flag=True, help="Show what is applied, and change nothing.")
@click.option("--rollback", "count", type=click.IntRange(1), metavar="N", help="Take the last N migrations back.")
@json_option
@config_option
def migrate_(config: Config, status: bool, count: int | None, json: bool) -> None:
    """Bring the database's schema up to this program's.

    Example: chatgpt-agent migrate --status
    """
    if status and count:
        raise click.UsageError("give --status or --rollback, not both")
    set_up_logging("warning")
    with database(config) as dsn:
        if status:
            found = schema_status(dsn)
            if json:
                echo_json({"applied": found.applied, "pending": found.pending, "unknown": found.unknown})
            else:
                lines = [(name, "applied") for name in found.applied]
                lines += [(name, "pending") for name in found.pending]
                lines += [(name, "unknown: of a newer program") for name in found.unknown]
                echo_table(["migration", "state"], lines)
            check_not_newer(found)
            return
        what, names = ("rolled back", rollback(dsn, count)) if count else ("applied", migrate(dsn))
    if json:
        echo_json({what.replace(" ", "_"): names})
        return
    for name in names:
        click.echo(f"{what} {name}")
    if not names:
        click.echo("nothing to do: the schema is up to date")


for command in (user, token, price, budget, usage, ledger, admin, audit, import_legacy):
    main.add_command(command)
