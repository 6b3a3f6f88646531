"""The account that a data folder belongs to: PostgreSQL runs as its owner, and refuses to run as root."""

import os
import pwd
import shutil
from contextlib import suppress
from pathlib import Path

from chatgpt_agent.core.errors import SetupError

_SERVICE_ACCOUNTS = ("postgres", "nobody")  # for root: PostgreSQL refuses to run as root


def become_owner(data: Path, binaries: Path) -> tuple[list[str], dict[str, object]]:
    """Returns a prefix of the command and arguments of subprocess that run a program as the owner of a data folder."""
    owner = data.stat()
    if os.geteuid() != 0:
        if os.geteuid() != owner.st_uid:
            raise SetupError(f"{data} belongs to another account: run this as that account or as root")
        return [], {}
    closed = _closed_folder(owner, data, binaries / "postgres")
    if closed is None:
        return [], {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    # Root often runs this from a folder that other accounts cannot enter: its home, or a container's checkout. One
    # capability lets this program enter it (capabilities(7), ambient set), without opening the folder to all. Without
    # the securebit the kernel drops the capability in access(2), which initdb uses to find its programs.
    if shutil.which("setpriv") is None:
        raise SetupError(
            f"PostgreSQL does not run as root, and other accounts cannot enter {closed}: use another folder"
        )
    prefix = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    prefix += ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]
    return prefix, {}


def not_root(uid: int) -> pwd.struct_passwd:
    """Returns the account that PostgreSQL runs as when root starts it: the one with this id, or a service account for
    root's own folder."""
    if uid != 0:
        with suppress(KeyError):
            return pwd.getpwuid(uid)
    for name in _SERVICE_ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise SetupError(f"PostgreSQL does not run as root, and has no account: create {_SERVICE_ACCOUNTS[0]}")


def _closed_folder(owner: os.stat_result, *targets: Path) -> Path | None:
    """Returns the first parent folder of a target that this account cannot enter."""
    for target in targets:
        for folder in reversed(target.resolve().parents):
            status = folder.stat()
            bit = 0o100 if status.st_uid == owner.st_uid else 0o010 if status.st_gid == owner.st_gid else 0o001
            if not status.st_mode & bit:
                return folder
    return None
