"""The limit of open files. An agent needs one for each client, and one for each exchange with OpenAI."""

import contextlib
import re
import resource
from pathlib import Path

ADMIN_CONNECTIONS = 16
RESERVED_FILES = 56  # open without any client, including the few that migrating and shipping open
UNLIMITED = 1 << 30

_LIMIT = re.compile(r"^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)", re.MULTILINE)


def raise_file_limit() -> None:
    """Raises the soft limit of open files to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_limit() -> int:
    """Returns how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else UNLIMITED


def hard_file_limit() -> int:
    """Returns to how many open files this process may raise its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else UNLIMITED


def file_limit_of(pid: int) -> int | None:
    """Returns how many files another process may have open (proc(5)); None: the process is gone."""
    try:
        match = _LIMIT.search(Path(f"/proc/{pid}/limits").read_text("ascii"))
    except OSError:
        return None
    if match is None:
        return None
    return UNLIMITED if match[1] == "unlimited" else int(match[1])


def split_file_limit(limit: int, max_exchanges: int) -> tuple[int, int]:
    """Splits a limit of open files between exchanges and client connections; returns both numbers, at least 1
    each. Together they stay below the limit, so that each connected client can be served and EMFILE is never met."""
    room = max(limit - RESERVED_FILES - ADMIN_CONNECTIONS, 2)
    exchanges = min(max_exchanges, room // 2)
    return exchanges, room - exchanges


def files_needed(exchanges: int) -> int:
    """Returns the limit of open files with which an agent has room for so many exchanges, each with its client."""
    return 2 * exchanges + RESERVED_FILES + ADMIN_CONNECTIONS
