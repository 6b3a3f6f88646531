"""The files of archived months: rows as compressed CSV, and a manifest as JSON beside them.

A file gets its name once it is on the disk as a whole, and is read back before anything is deleted.
"""

import contextlib
import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from chatgpt_agent.adapters.files import give_to_folder_owner, make_folder
from chatgpt_agent.core.archive import Archive, ArchiveSums, sums_of
from chatgpt_agent.core.errors import InvalidValue, SetupError
from chatgpt_agent.core.plain_json import plain_values

_DRAFT = ".part"


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a file: its SHA-256, its size in bytes, what its rows add up to."""

    sha256: str
    bytes: int
    sums: ArchiveSums


@contextlib.contextmanager
def new_archive(path: Path) -> Iterator[BinaryIO]:
    """A compressed file to write CSV into; it has its name, and is on the disk, when the context ends without an
    exception. A file of this name is replaced: it is of an archiving that was interrupted. Raises SetupError."""
    make_folder(path.parent)
    draft = path.with_name(path.name + _DRAFT)
    try:
        with _new_file(draft) as raw:
            # Without name and time in its head, the same rows make the same file.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file:
                yield cast(BinaryIO, file)
            raw.flush()
            os.fsync(raw.fileno())
        _rename(draft, path)
    except OSError as error:
        raise SetupError(f"the archive {path} cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)


def write_manifest(path: Path, archive: Archive, **more: object) -> None:
    """Writes what is recorded of an archive beside its file, for programs that do not have the database. Raises
    SetupError."""
    draft = path.with_name(path.name + _DRAFT)
    values = plain_values({**msgspec.structs.asdict(archive), **more})
    content = msgspec.json.format(msgspec.json.encode(values, enc_hook=str), indent=2) + b"\n"
    try:
        with _new_file(draft) as raw:
            raw.write(content)
            raw.flush()
            os.fsync(raw.fileno())
        _rename(draft, path)
    except OSError as error:
        raise SetupError(f"the manifest {path} cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)


def manifest_path(path: Path) -> Path:
    """Returns the path of the manifest of an archive."""
    return path.with_name(path.name.removesuffix(".csv.gz") + ".json")


def read_archive(path: Path) -> ArchiveFile:
    """Reads a file from its beginning to its end. Raises InvalidValue with the path: it is missing, or damaged."""
    try:
        with path.open("rb") as raw:
            hashed = _Hashed(raw)
            with gzip.GzipFile(fileobj=cast(Any, hashed), mode="rb") as file:
                sums = sums_of(csv.reader(io.TextIOWrapper(file, "utf-8", newline="")))
            while hashed.read(64 * 1024):
                pass  # what stands behind the compressed data belongs to the file
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path}: is damaged: {error}") from None
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error.message}") from None
    return ArchiveFile(sha256=hashed.digest.hexdigest(), bytes=hashed.bytes, sums=sums)


class _Hashed(io.RawIOBase):
    """A file that is hashed and counted while it is read."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Reads the next bytes."""
        data = self._raw.read(size)
        self.digest.update(data)
        self.bytes += len(data)
        return data


def _new_file(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    give_to_folder_owner(path)
    return file


def _rename(draft: Path, path: Path) -> None:
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
