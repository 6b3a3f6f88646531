"""Reads the file of a backup, and trusts nothing in it before its SHA-256 was compared."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from chatgpt_agent.adapters.backup_file import CHUNK, mapped_errors, sum_line
from chatgpt_agent.core import backup
from chatgpt_agent.core.backup import Manifest
from chatgpt_agent.core.errors import SetupError

MAX_MANIFEST = 4 * 1024 * 1024  # bytes
MAX_SMALL = 1024 * 1024  # bytes of a member that is read as a whole


class BackupReader:
    """Reads a backup. Raises SetupError: the file is no backup, incomplete, damaged, or of a newer
    program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with mapped_errors(path, "read"):
            self._file = path.open("rb")
        try:
            self._tar = self._open_tar()
            self.manifest = self._read_manifest()
            self._check_members()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def id(self) -> str:
        """The SHA-256 of the manifest, which is different for each backup."""
        return hashlib.sha256(self._small(backup.MANIFEST, MAX_MANIFEST)).hexdigest()

    def check(self) -> None:
        """Reads all members and compares their SHA-256. Raises SetupError."""
        for name in self.manifest.members:
            for _ in self.pieces(name):
                pass

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yields the content of a member. Raises SetupError, at the end, if it is not that of the manifest."""
        digest = hashlib.sha256()
        with mapped_errors(self.path, "read"):
            source = self._member(name)
        while True:
            with mapped_errors(self.path, "read"):
                piece = source.read(CHUNK)
            if not piece:
                break
            digest.update(piece)
            yield piece
        if digest.hexdigest() != self.manifest.members[name].sha256:
            raise self._damaged(f"the SHA-256 of {name} is not that of the manifest")

    def content(self, name: str) -> bytes:
        """Returns the content of a small member."""
        if self.manifest.members[name].size > MAX_SMALL:
            raise self._damaged(f"{name} is too large")
        return b"".join(self.pieces(name))

    def _open_tar(self) -> tarfile.TarFile:
        try:
            tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - closed with its file
            names = tar.getnames()
        except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError):
            names = []
        if backup.MANIFEST in names and backup.MANIFEST_SUM in names:
            return tar
        self._file.seek(0)
        first = self._file.read(tarfile.BLOCKSIZE)[:100].rstrip(b"\0").decode("ascii", "replace")
        if first in backup.MEMBERS:
            raise SetupError(f"{self.path} is incomplete or damaged: its manifest is missing")
        raise SetupError(f"{self.path} is not a backup of chatgpt-agent")

    def _read_manifest(self) -> Manifest:
        content = self._small(backup.MANIFEST, MAX_MANIFEST)
        if self._small(backup.MANIFEST_SUM, MAX_SMALL) != sum_line(content):
            raise self._damaged("the SHA-256 of its manifest is wrong")
        try:
            format_ = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format", msgspec.Raw(b"0"))
            if int(bytes(format_)) > backup.FORMAT:
                raise SetupError(f"{self.path} is a backup of a newer program: install a newer chatgpt-agent")
            return msgspec.json.decode(content, type=Manifest)
        except ValueError:
            raise self._damaged("its manifest cannot be read") from None

    def _check_members(self) -> None:
        members = self.manifest.members
        if backup.DATABASE not in members or not set(members) <= set(backup.MEMBERS):
            raise self._damaged("its manifest names other members than a backup has")
        for name, member in members.items():
            if not self._has(name) or self._tar.getmember(name).size != member.size:
                raise self._damaged(f"{name} does not have the size that the manifest says")

    def _has(self, name: str) -> bool:
        return name in self._tar.getnames() and self._tar.getmember(name).isreg()

    def _member(self, name: str) -> IO[bytes]:
        source = self._tar.extractfile(name) if self._has(name) else None
        if source is None:
            raise self._damaged(f"{name} is no file")
        return source

    def _small(self, name: str, limit: int) -> bytes:
        with mapped_errors(self.path, "read"):
            content = self._member(name).read(limit + 1)
        if len(content) > limit:
            raise self._damaged(f"{name} is too large")
        return content

    def _damaged(self, reason: str) -> SetupError:
        return SetupError(f"{self.path} is damaged: {reason}")
