"""The file of a backup: a tar file that only its owner can read, written under another name until it is complete.

`tar xf` unpacks it, and `sha256sum -c manifest.sha256` checks its manifest, which has the SHA-256 of the other members.
"""

import contextlib
import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from chatgpt_agent.adapters.files import give_to_folder_owner, sync_folder
from chatgpt_agent.core import backup
from chatgpt_agent.core.backup import Manifest, Member
from chatgpt_agent.core.errors import SetupError

CHUNK = 1024 * 1024  # bytes


class BackupWriter:
    """Writes a backup to `path`. Nothing is left if its context ends by an exception. Raises SetupError: the file
    exists, unless `force` replaces it, or cannot be written."""

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._path = path
        self._force = force
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._file: IO[bytes] | None = None
        self.members: dict[str, Member] = {}
        self.size = 0  # bytes, once it is finished

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise SetupError(f"{self._path} is a folder: name a file")
        self._check_absent()
        with self._writing():
            handle = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(handle, "w+b")
            give_to_folder_owner(self._draft)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk refuses is in the buffer
                self._file.close()
            self._draft.unlink(missing_ok=True)

    def draft(self, name: str) -> Path:
        """Returns the path of another temporary file beside this one, for a member that is copied first."""
        return self._draft.with_name(f"{self._draft.name}.{name}")

    @contextlib.contextmanager
    def member(self, name: str, *, mtime: float) -> Iterator["MemberWriter"]:
        """A member that is written in pieces; its size is known at the end."""
        file = self._opened
        with self._writing():
            begin = file.tell()
            file.write(bytes(tarfile.BLOCKSIZE))
        writer = MemberWriter(file, self._path)
        yield writer
        with self._writing():
            file.write(bytes(-writer.size % tarfile.BLOCKSIZE))
            end = file.tell()
            file.seek(begin)
            file.write(_header(name, writer.size, mtime))
            file.seek(end)
        self.members[name] = writer.member

    def add(self, name: str, content: bytes, *, mtime: float) -> None:
        """Adds a member."""
        with self.member(name, mtime=mtime) as writer:
            writer.write(content)

    def add_file(self, name: str, path: Path, *, mtime: float) -> None:
        """Adds a file as a member."""
        with path.open("rb") as source, self.member(name, mtime=mtime) as writer:
            while piece := source.read(CHUNK):
                writer.write(piece)

    def finish(self, manifest: Manifest) -> None:
        """Adds the manifest and gives the file its name. It is on the disk when this returns."""
        mtime = manifest.at.timestamp()
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        self.add(backup.MANIFEST, text, mtime=mtime)
        self.add(backup.MANIFEST_SUM, sum_line(text), mtime=mtime)
        file = self._opened
        with self._writing():
            file.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar file
            file.flush()
            os.fsync(file.fileno())
            self.size = file.tell()
            if self._force:
                self._draft.replace(self._path)
            else:
                self._link()
            sync_folder(self._path.parent)

    def _link(self) -> None:
        """Gives the file its name, unless another program has just made a file of this name."""
        try:
            os.link(self._draft, self._path)
        except FileExistsError:
            raise self._exists() from None
        except OSError:  # a file system without hard links
            self._check_absent()
            self._draft.rename(self._path)

    def _check_absent(self) -> None:
        if not self._force and os.path.lexists(self._path):
            raise self._exists()

    def _exists(self) -> SetupError:
        return SetupError(f"{self._path} exists: give another name, or --force to replace it")

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None
        return self._file

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with mapped_errors(self._path, "written"):
            yield


class MemberWriter:
    """Writes the content of a member."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Writes a piece. Raises SetupError."""
        with mapped_errors(self._path, "written"):
            self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    @property
    def member(self) -> Member:
        """What was written."""
        return Member(self.size, self._hash.hexdigest())


def write_file(path: Path, pieces: Iterator[bytes]) -> None:
    """Writes a new file that only its owner can read, as it comes out of a backup. It gets its name once it is complete
    and on the disk. Raises SetupError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with mapped_errors(path, "written"):
            file = os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        with file:
            for piece in pieces:
                with mapped_errors(path, "written"):
                    file.write(piece)
            with mapped_errors(path, "written"):
                file.flush()
                os.fsync(file.fileno())
        with mapped_errors(path, "written"):
            give_to_folder_owner(draft)
            draft.rename(path)
            sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _header(name: str, size: int, mtime: float) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(mtime), 0o600
    return info.tobuf(tarfile.GNU_FORMAT)  # 512 bytes, however large the member is


def sum_line(content: bytes) -> bytes:
    """Returns the line of sha256sum for a manifest."""
    return f"{hashlib.sha256(content).hexdigest()}  {backup.MANIFEST}\n".encode()


@contextlib.contextmanager
def mapped_errors(path: Path, action: str) -> Iterator[None]:
    """Raises errors of the disk, and of a tar file that ends too early, as SetupError."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"{path} cannot be {action}: {error.strerror or error}") from None
    except tarfile.TarError as error:
        raise SetupError(f"{path} is damaged: {error}") from None
