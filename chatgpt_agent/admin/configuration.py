"""The configuration in force: its values and their sources, and whether an agent can start with it."""

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_files import check_files
from chatgpt_agent.adapters.config_view import DEFAULT, Setting, settings_of
from chatgpt_agent.adapters.postgres.dsn import dsn_from
from chatgpt_agent.core.errors import ConfigError

__all__ = ["DEFAULT", "Setting", "check_configuration", "settings_of"]


def check_configuration(config: Config) -> None:
    """Checks what the start of an agent checks beyond single values: the files that they name, and the connection
    string. No database is reached. Raises ConfigError with a line for each error."""
    errors: list[str] = []
    for check in (check_files, _check_database_url):
        try:
            check(config)
        except ConfigError as error:
            errors += error.errors
    if errors:
        raise ConfigError(errors)


def _check_database_url(config: Config) -> None:
    if not config.embedded:
        dsn_from(config)
