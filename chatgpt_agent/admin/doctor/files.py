"""Checks of files: who may read and change them."""

import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from chatgpt_agent.adapters.config import FIELDS
from chatgpt_agent.adapters.config_view import settings_of
from chatgpt_agent.adapters.files import file_exists
from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.redaction import HIDDEN
from chatgpt_agent.adapters.webhook import read_webhook_secret
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, failure, ok, warning
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.master_key import master_key_path

_OWNER_RW = stat.S_IRUSR | stat.S_IWUSR


async def check_files(examination: Examination) -> list[Result]:
    """Secrets are private, and the agent's account owns what it writes."""
    return await in_own_thread(lambda: list(_check_files(examination)) or [ok(_folder_text(examination))])


def _check_files(examination: Examination) -> Iterator[Result]:
    yield from _check_config_file(examination)
    folder = examination.data_dir
    status = folder.stat() if file_exists(folder) else None
    if status is not None and examination.account not in (0, status.st_uid):
        owner = _account(status.st_uid)
        text = f"this is not the agent's account: {folder} belongs to {owner}"
        yield warning(text, f"sudo -u {owner} chatgpt-agent doctor")
        return
    yield from _check_secrets(examination)
    if status is None:
        yield from _check_new_folder(folder)
        return
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        result = failure if status.st_mode & stat.S_IWOTH else warning
        yield result(f"other accounts can replace files in {folder}", f"chmod go-w {folder}")
    for path in _own_files(folder):
        own = path.stat()
        if own.st_uid != status.st_uid:
            owner, expected = _account(own.st_uid), _account(status.st_uid)
            yield failure(f"{path} belongs to {owner}, and {folder} to {expected}", f"chown {expected} {path}")
        if own.st_mode & _OWNER_RW != _OWNER_RW and path.name.startswith("outbox."):
            yield failure(f"the agent's account cannot read and write {path}", f"chmod 600 {path}")
        if own.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and path.name.startswith("outbox.db"):
            yield warning(f"other accounts can read {path}, which has who used what", f"chmod 600 {path}")


def _own_files(folder: Path) -> list[Path]:
    names = ("master.key", "outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.lock")
    return [path for path in (folder / name for name in names) if file_exists(path)]


def _check_config_file(examination: Examination) -> Iterator[Result]:
    path = examination.config_file
    if path is None:
        return
    mode = path.stat().st_mode
    hidden = [s.key for s in settings_of(examination.config) if s.value == HIDDEN and s.source == str(path)]
    # The values of the example, which are the defaults, are known to everyone.
    secret = [key for key in hidden if getattr(examination.config, key) != FIELDS[key].default]
    if secret and mode & stat.S_IROTH:
        yield failure(f"every account can read {path}, which has {', '.join(secret)}", f"chmod o-rwx {path}")
    if mode & stat.S_IWOTH:
        yield failure(f"every account can change {path}", f"chmod o-w {path}")


def _check_secrets(examination: Examination) -> Iterator[Result]:
    config = examination.config
    path = master_key_path(config)
    if config.master_key_file is not None or file_exists(path):
        yield from _readable(lambda: read_master_key(path))
    if (secret := config.webhook_secret_file) is not None:
        yield from _readable(lambda: read_webhook_secret(secret))
    if config.tls_key is not None and config.tls_key.stat().st_mode & stat.S_IROTH:
        yield failure(
            f"every account can read {config.tls_key}, which is a private key", f"chmod o-rwx {config.tls_key}"
        )


def _readable(read: Callable[[], object]) -> Iterator[Result]:
    try:
        read()
    except SetupError as error:
        yield failure(error.message)


def _check_new_folder(folder: Path) -> Iterator[Result]:
    parent = next(path for path in folder.parents if path.exists())
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        yield failure(
            f"{folder} does not exist, and this account cannot create it in {parent}", f"mkdir -m 700 {folder}"
        )


def _folder_text(examination: Examination) -> str:
    folder = examination.data_dir
    if not folder.exists():
        return f"{folder} does not exist yet; the first start creates it"
    status = folder.stat()
    return f"{folder} belongs to {_account(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):o}"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
