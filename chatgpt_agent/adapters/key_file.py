"""The file of the master key: one key as it is, or, while it is changed, several of them, the newest first.

A file of several keys begins with `HEADER`, and has each key in base64 on a line.
"""

import base64
import binascii
import contextlib
import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from chatgpt_agent.adapters.files import read_secret_file, sync_folder
from chatgpt_agent.core.errors import SetupError

log = logging.getLogger(__name__)

HEADER = b"# Master keys of chatgpt-agent, the newest first."
KEY_BYTES = 32

Keys = tuple[bytes, ...]


class KeyFile:
    """A key file, which is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version: tuple[int, ...] = ()

    def read(self) -> Keys:
        """Returns the keys, the newest first. Raises SetupError: the file is missing, is accessible to other accounts,
        or has a line that is no key."""
        version = self._file_version()  # first: a file that changes meanwhile is read again
        keys = parse_keys(read_secret_file(self.path, "the master key"), self.path)
        self._version = version
        return keys

    def read_again(self) -> Keys | None:
        """Returns the keys if the file has changed since it was read; None if it has not, or cannot be read: then the
        log says so. It takes some microseconds, in which the event loop waits."""
        version = self._file_version()
        if version == self._version:
            return None
        try:
            return self.read()
        except SetupError as error:
            self._version = version  # once for each change
            log.warning("%s; the agent keeps the keys that it has", error.message)
            return None

    def _file_version(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)


def new_key() -> bytes:
    """Returns a new random key, as text in base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES))


def write_keys(path: Path, keys: Sequence[bytes]) -> None:
    """Replaces the content of a key file; owner and mode stay. It is on the disk when this returns. Raises
    SetupError."""
    try:
        _replace(path.resolve(), _formatted(keys))
    except OSError as error:
        raise SetupError(f"the master key {path} cannot be replaced: {error.strerror}") from None


def save_key(path: Path, key: bytes) -> None:
    """Writes one key to a file of its own, unless the file exists with this content. Raises SetupError."""
    try:
        if not path.exists() or path.read_bytes() != _formatted([key]):
            _replace(path, _formatted([key]))
    except OSError as error:
        raise SetupError(f"the former master key cannot be saved as {path}: {error.strerror}") from None


@contextlib.contextmanager
def only_changer(path: Path) -> Iterator[None]:
    """Only one process at a time changes a key file. Raises SetupError if another one does."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise SetupError(f"the folder of the master key {path} cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SetupError(f"another command changes the master key {path}: wait until it has ended") from None
    finally:
        os.close(folder)


def parse_keys(content: bytes, path: Path) -> Keys:
    """Returns the keys in the content of a key file, the newest first. Raises SetupError."""
    if not content.startswith(HEADER):
        return (content,)
    try:
        lines = content.removeprefix(HEADER).split()
        keys = tuple(base64.b64decode(line, altchars=b"-_", validate=True) for line in lines)
    except binascii.Error:
        raise SetupError(f"the master key {path} has a line that is not a key in base64") from None
    if not keys:
        raise SetupError(f"the master key {path} has no key")
    return keys


def _formatted(keys: Sequence[bytes]) -> bytes:
    lines = list(keys) if len(keys) == 1 else [HEADER, *map(base64.urlsafe_b64encode, keys)]
    return b"\n".join(lines) + b"\n"


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _as_before(path, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _as_before(path: Path, draft: Path) -> None:
    """Gives the new file the owner and mode of the former one; a new file is its folder's owner's."""
    former = path.stat() if path.exists() else None
    owner = former or path.parent.stat()
    if os.geteuid() == 0:
        os.chown(draft, owner.st_uid, owner.st_gid, follow_symlinks=False)
    if former is not None:
        draft.chmod(stat.S_IMODE(former.st_mode))
