"""The agent that runs on a data directory. Its lock is looked at, and never taken: an agent that starts at this moment
would believe that another one runs."""

import os
import re
from pathlib import Path

_FLOCK = re.compile(r"FLOCK +ADVISORY +WRITE +(\d+) +([0-9a-f]+):([0-9a-f]+):(\d+) ")


LOCKS = Path("/proc/locks")


def sees_locks() -> bool:
    """Whether this process can tell which agents run: systemd and some containers hide the list of locks."""
    return LOCKS.exists()


def running_agent(data_dir: Path, locks: Path = LOCKS) -> int | None:
    """Returns the id of the process that uses the outbox of this folder; None: there is none, or it is not visible from
    here, as that of another container. Raises OSError: the folder cannot be entered."""
    try:
        lock = (data_dir / "outbox.lock").stat()
        lines = locks.read_text("ascii").splitlines()
    except FileNotFoundError:
        return None
    place = (os.major(lock.st_dev), os.minor(lock.st_dev), lock.st_ino)
    for match in filter(None, map(_FLOCK.search, lines)):  # proc_locks(5)
        if (int(match[2], 16), int(match[3], 16), int(match[4])) == place:
            return int(match[1])
    return None
