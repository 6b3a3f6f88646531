"""`chatgpt-agent`: serve, migrate, and the groups of commands."""

import functools
import resource

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_loading import config_from
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.cli.admin import admin
from chatgpt_agent.cli.audit import audit
from chatgpt_agent.cli.backup import backup, restore
from chatgpt_agent.cli.budget import budget
from chatgpt_agent.cli.common import config_option
from chatgpt_agent.cli.completion import completion
from chatgpt_agent.cli.config import config
from chatgpt_agent.cli.database import database
from chatgpt_agent.cli.demo import demo
from chatgpt_agent.cli.doctor import doctor
from chatgpt_agent.cli.health import healthcheck
from chatgpt_agent.cli.ledger import ledger
from chatgpt_agent.cli.legacy import import_legacy
from chatgpt_agent.cli.master_key import master_key
from chatgpt_agent.cli.migrate import migrate
from chatgpt_agent.cli.price import price
from chatgpt_agent.cli.program import Program
from chatgpt_agent.cli.token import token
from chatgpt_agent.cli.usage import usage
from chatgpt_agent.cli.user import user
from chatgpt_agent.cli.version import version, version_option


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
def main() -> None:
    """A gateway through which a team shares the OpenAI API, with a ledger of every request."""
    # No core dump: it would hold the keys and the messages that are in memory (getrlimit(2)).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@main.command()
@config_option
def serve(config: Config) -> None:
    """Run the agent until SIGTERM or SIGINT.

    SIGHUP lets it read its configuration again.

    Example: chatgpt-agent serve --config config.yml
    """
    from chatgpt_agent import server  # only here: it imports Tornado and curl, which no other command needs

    set_up_logging(config.log_level, config.log_format)
    file = click.get_current_context().params["config_file"]
    server.serve(config, functools.partial(config_from, file))


COMMANDS = (
    demo, healthcheck, config, doctor, migrate, user, token, price, budget, usage, ledger, admin, audit, master_key,
    backup, restore, database,
    import_legacy, completion, version,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
