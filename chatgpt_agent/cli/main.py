"""`chatgpt-agent`: serve, migrate, and the groups of commands."""

import click

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin.schema import SchemaStatus, apply_migrations, check_not_newer, roll_back, schema_status
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chatgpt-agent")
def main() -> None:
    """A gateway through which a team shares the OpenAI API, with a ledger of every request."""


@main.command()
@config_option
def serve(config: Config) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Example: chatgpt-agent serve --config config.yml
    """
    from chatgpt_agent import server  # only here: it imports Tornado and curl, which no other command needs

    set_up_logging(config.log_level)
    server.serve(config)


@main.command()
@click.option("--status", is_flag=True, help="Show which migrations are applied, and change nothing.")
@click.option("--rollback", "count", type=click.IntRange(1), metavar="N", help="Roll the last N migrations back.")
@json_option
@config_option
def migrate(config: Config, status: bool, count: int | None, json: bool) -> None:
    """Migrate the database to this program's schema.

    Example: chatgpt-agent migrate --status
    """
    if status and count:
        raise click.UsageError("give --status or --rollback, not both")
    set_up_logging("warning")
    if status:
        schema = schema_status(config)
        _echo_status(schema, json=json)
        check_not_newer(schema)
    elif count:
        _echo_changes("rolled back", roll_back(config, count), json=json)
    else:
        _echo_changes("applied", apply_migrations(config), json=json)


def _echo_status(schema: SchemaStatus, *, json: bool) -> None:
    if json:
        echo_json(schema)
        return
    rows = [(name, "applied") for name in schema.applied]
    rows += [(name, "pending") for name in schema.pending]
    rows += [(name, "unknown: from a newer program") for name in schema.unknown]
    echo_table(["migration", "state"], rows)


def _echo_changes(verb: str, names: list[str], *, json: bool) -> None:
    if json:
        echo_json({verb.replace(" ", "_"): names})
        return
    for name in names:
        click.echo(f"{verb} {name}")
    if not names:
        click.echo("nothing to do: the schema is up to date")


for command in (user, token, price, budget, usage, ledger, admin, audit, import_legacy):
    main.add_command(command)
