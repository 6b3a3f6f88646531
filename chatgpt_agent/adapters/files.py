"""Files: secrets that only their owner may read, and a data directory whose content belongs to its owner.

What root creates in the folder of another account is given to that account, so that `sudo chatgpt-agent user add`
leaves nothing that the server's account cannot open.
"""

import os
import stat
from pathlib import Path

from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.errors import InvalidValue, SetupError


def make_folder(folder: Path) -> None:
    """Creates a folder that only its owner can enter, and the folders above it, which other accounts cannot change
    whatever the umask is. Raises SetupError."""
    try:
        if folder.is_dir():
            return
        for parent in reversed(folder.parents):
            if not parent.exists():
                parent.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        give_to_folder_owner(folder)
    except FileExistsError:
        raise SetupError(f"{folder} is not a folder") from None
    except OSError as error:
        raise SetupError(f"the folder {folder} cannot be created: {error.strerror}") from None


def file_exists(path: Path) -> bool:
    """Returns whether a file or folder exists. Raises OSError if that cannot be known, as in a folder of another
    account: `Path.exists` is false there from Python 3.14 on."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def give_to_folder_owner(path: Path) -> None:
    """As root: gives a new file or folder to the owner of the folder that it is in. Links are not followed: that
    account could point one at any file of the system."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def read_secret_file(path: Path, name: str) -> bytes:
    """Returns the content of a file, without space at its ends. Raises SetupError, which begins with `name`: the file
    cannot be read, or accounts other than its owner can read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(64 * 1024).strip()
    except OSError as error:
        raise SetupError(f"{name} {path} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not is_credential(path):
        raise SetupError(f"{name} {path} is accessible to other accounts: run `chmod 600 {path}`")
    return content


def is_credential(path: Path) -> bool:
    """Returns whether systemd keeps a file for this service alone (LoadCredential= in systemd.exec(5)): it is in the
    folder of the service's credentials, which other accounts cannot enter, and no account may write to it. It belongs
    to root, and its access control list, which names the service's account, shows as rights of its group."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder or path.resolve().parent != Path(folder).resolve():
        return False
    status = path.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o337


def write_secret(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read; it is on the disk when this returns. Raises SetupError, also if
    the file exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SetupError(f"{path} cannot be created: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remove_file(path)
        raise SetupError(f"{path} cannot be written: {error.strerror}") from None


def remove_file(path: Path) -> None:
    """Removes a file if it exists."""
    path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Puts the names of a folder's files on the disk, after one was created or renamed. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_limited(path: Path, limit: int) -> bytes:
    """Returns a file's content without a byte order mark and without white space at its ends. Raises InvalidValue with
    the file's name: it cannot be read, is empty, or has more than `limit` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise InvalidValue(f"{path}: is larger than {limit} bytes")
    return trimmed(data, str(path))
