"""Proof 3, power cuts: the real Outbox loses no acknowledged record on a disk that forgets what was not synced.

    python -m pytest tests/proofs/test_power_cut.py -s

The disk is an SQLite VFS. After a cut, writes that were not synced are complete, missing, or partial (any sectors, some
of them torn). The same cuts with `synchronous = NORMAL` lose records, which shows that the proof can fail.
"""

import asyncio
import contextlib
import itertools
import random
import sqlite3
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec
import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from tests.proofs.simulation import StillLoop, fast_folder, show, still_loop
from tests.support.factories import make_intent, make_row

pytestmark = pytest.mark.slow

CUTS = 300
ROUNDS = 25  # of work before the last possible cut
SECTOR = 512  # bytes that a disk writes as a whole, or tears
CHECKPOINT = 24  # pages, so that checkpoints come often and are cut, too

_names = (f"disk-{number}" for number in itertools.count())


class File(msgspec.Struct):
    """A file: its content for programs; on the disk `safe` (None: the file does not exist there), with writes (offset,
    bytes) and truncations (size, None) that are waiting to be synced, in order."""

    content: bytearray = msgspec.field(default_factory=bytearray)
    safe: bytes | None = None
    waiting: list[tuple[int, bytes | None]] = msgspec.field(default_factory=list)

    def after_cut(self, luck: random.Random) -> bytes | None:
        """Returns its content after a power failure."""
        if self.safe is None and luck.random() < 0.5:
            return None
        left = bytearray(self.safe or b"")
        keep = luck.choice([0.0, 0.5, 0.9, 1.0])
        for offset, data in self.waiting:
            if data is None:
                if luck.random() < keep:
                    _resize(left, offset)
                continue
            for at in range(0, len(data), SECTOR):
                if luck.random() < keep:
                    _write(left, offset + at, data[at : at + SECTOR])
                elif luck.random() < 0.2:
                    _write(left, offset + at, data[at : at + luck.randrange(SECTOR)])
        return bytes(left)


class Disk:
    """Files in memory. The `cut_at`-th write, sync, truncation or deletion does not end, and none after it begins."""

    def __init__(self, files: dict[str, bytes] | None = None, cut_at: int | None = None) -> None:
        self.files = {name: File(bytearray(data), data) for name, data in (files or {}).items()}
        self.deleted: dict[str, bytes] = {}  # whose deletion may be forgotten
        self.steps = self.syncs = 0
        self.off = False
        self._cut_at = cut_at

    def step(self) -> None:
        """Counts a step. Raises apsw.IOError when the power is gone."""
        if self.off:
            raise apsw.IOError("the power is gone")
        self.steps += 1
        self.off = self.steps == self._cut_at

    def end_step(self) -> None:
        """Raises apsw.IOError when the power went in this step."""
        if self.off:
            raise apsw.IOError("the power is gone")

    def after_cut(self, luck: random.Random) -> "Disk":
        """The disk when the power comes back."""
        left = {name: data for name, data in self.deleted.items() if luck.random() < 0.5}
        left |= {name: data for name, file in self.files.items() if (data := file.after_cut(luck)) is not None}
        return Disk(left)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    _resize(content, max(len(content), offset + len(data)))
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class DiskVFS(apsw.VFS):
    """SQLite's way to a disk. Registered under a name for as long as it lives."""

    def __init__(self, disk: Disk) -> None:
        self.name = next(_names)
        self.disk = disk
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        flags[1] = flags[0]
        return OpenFile(self.disk, self.disk.files.setdefault(path, File()))

    def xAccess(self, path: str, flags: int) -> bool:
        return path in self.disk.files

    def xFullPathname(self, path: str) -> str:
        return path

    def xDelete(self, path: str, sync: bool) -> None:
        self.disk.step()
        file = self.disk.files.pop(path, None)
        if file is not None and file.safe is not None and (self.disk.off or not sync):
            self.disk.deleted[path] = file.safe
        self.disk.end_step()


class OpenFile:
    """SQLite's way to a file."""

    def __init__(self, disk: Disk, file: File) -> None:
        self._disk = disk
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._file.content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.step()
        _write(self._file.content, offset, data)
        self._file.waiting.append((offset, bytes(data)))
        self._disk.end_step()

    def xTruncate(self, size: int) -> None:
        self._disk.step()
        _resize(self._file.content, size)
        self._file.waiting.append((size, None))
        self._disk.end_step()

    def xSync(self, flags: int) -> None:
        self._disk.step()
        self._disk.end_step()
        if self._file.safe is None:  # its name is synced with it, and with it the folder
            self._disk.deleted.clear()
        self._file.safe = bytes(self._file.content)
        self._file.waiting.clear()
        self._disk.syncs += 1

    def xFileSize(self) -> int:
        return len(self._file.content)

    def xLock(self, level: int) -> None:
        """One process at a time has it: the outbox's own lock sees to that."""

    xUnlock = xLock

    def xCheckReservedLock(self) -> bool:
        return False

    def xClose(self) -> None:
        """Nothing is kept open."""

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)  # as SQLite takes it of every disk on Unix


class Result(msgspec.Struct):
    """What the outbox asks of a cursor."""

    rows: list[tuple[Any, ...]]
    rowcount: int

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Every row."""
        return self.rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row."""
        return self.rows[0] if self.rows else None


class Connection:
    """What the outbox asks of sqlite3.Connection, on a disk of ours."""

    def __init__(self, path: Path, vfs: DiskVFS, synchronous: str) -> None:
        self._synchronous = synchronous
        self._db = apsw.Connection(str(path), vfs=vfs.name)
        self.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the log is then in memory; it is never synced
        self.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Result:
        """Runs a statement to its end; the outbox's own setting is put aside for another."""
        sql = sql.replace("synchronous = FULL", f"synchronous = {self._synchronous}")
        try:
            rows = list(self._db.execute(sql, parameters))
        except apsw.Error as error:
            raise sqlite3.OperationalError(str(error)) from None
        return Result(rows, self._db.changes())

    def executescript(self, sql: str) -> None:
        """Runs statements."""
        self.execute(sql)

    @property
    def total_changes(self) -> int:
        """Rows that were changed since it was opened."""
        return int(self._db.total_changes())

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._db.in_transaction)

    def close(self) -> None:
        """Closes it, with the power or without."""
        with contextlib.suppress(apsw.Error):
            self._db.close()


class Client:
    """Works with the outbox at random, and remembers what was acknowledged."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self._next = 0
        self.begun: set[int] = set()  # whose intent was acknowledged
        self.ending: set[int] = set()  # whose row the outbox is writing, or has written
        self.ended: set[int] = set()  # whose row was acknowledged
        self.dropping: set[int] = set()  # whose removal was requested

    async def work(self, outbox: Outbox) -> None:
        """Begins, ends and removes records, some of them at once, until the power fails."""
        for _ in range(ROUNDS):
            todo = [self._begin(outbox) for _ in range(self._luck.randint(1, 3))]
            todo += [self._end(outbox, n) for n in sorted(self.begun - self.ending) if self._luck.random() < 0.6]
            for done in await asyncio.gather(*todo, return_exceptions=True):
                if isinstance(done, BaseException):
                    assert isinstance(done, LedgerUnavailable)
                    return
            if self._luck.random() < 0.15:
                await self._drop(outbox)

    async def _begin(self, outbox: Outbox) -> None:
        number = self._next = self._next + 1
        await outbox.add_intent(make_intent(number))
        self.begun.add(number)

    async def _end(self, outbox: Outbox, number: int) -> None:
        self.ending.add(number)
        await outbox.settle(make_row(number))
        self.ended.add(number)

    async def _drop(self, outbox: Outbox) -> None:
        with contextlib.suppress(LedgerUnavailable):
            last, rows = await outbox.peek_batch(self._luck.randint(1, 20))
            self.dropping.update(_number(row.intent) for row in rows)
            await outbox.ack(last)

    def lost(self, intents: list[int], rows: list[int]) -> int:
        """Returns the number of acknowledged records that are missing; no record may be unknown or duplicated."""
        assert len({*intents, *rows}) == len(intents) + len(rows)
        assert {*intents, *rows} <= set(range(1, self._next + 1))
        held = self.ended - self.dropping
        return len(held - set(rows)) + len(self.begun - self.ended - self.dropping - {*intents, *rows})


def _number(intent: Any) -> int:
    return int.from_bytes(intent.request_id.bytes[-4:], "big") & 0xFFFF


async def until_cut(folder: Path, disk: Disk, client: Client, synchronous: str) -> None:
    """Works on an outbox until the power fails."""
    vfs = DiskVFS(disk)
    outbox = Outbox(folder, connect=lambda path: cast(sqlite3.Connection, Connection(path, vfs, synchronous)))
    try:
        await outbox.open()
    except SetupError:
        assert disk.off
    else:
        await client.work(outbox)
    await outbox.close()
    disk.off = True
    vfs.unregister()


async def read_numbers(folder: Path, disk: Disk, synchronous: str) -> tuple[list[int], list[int]]:
    """Returns the numbers of the intents and rows on a disk; checks the integrity of the file."""
    vfs = DiskVFS(disk)
    outbox = Outbox(folder, connect=lambda path: cast(sqlite3.Connection, Connection(path, vfs, synchronous)))
    await outbox.open()
    intents, (_, rows) = await outbox.intents(), await outbox.peek_batch(1000)
    await outbox.close()
    db = Connection(folder / "outbox.db", vfs, synchronous)
    assert db.execute("PRAGMA integrity_check").rows == [("ok",)]
    db.close()
    vfs.unregister()
    return [_number(intent) for intent in intents], [_number(row.intent) for row in rows]


def cut(loop: StillLoop, folder: Path, seed: int, *, steps: int, synchronous: str) -> tuple[Client, int]:
    """Works until the power fails, when the seed says; returns the client and the number of lost records."""
    luck = random.Random(seed)
    disk = Disk(cut_at=luck.randint(1, steps))
    client = Client(luck)
    folder.mkdir()
    loop.run(until_cut(folder, disk, client, synchronous))
    intents, rows = loop.run(read_numbers(folder, disk.after_cut(luck), synchronous))
    return client, client.lost(intents, rows)


def cuts(synchronous: str) -> tuple[int, int]:
    """Repeats this with many seeds; returns the numbers of acknowledged and of lost records."""
    acknowledged = lost = 0
    with fast_folder() as root, still_loop() as loop:
        whole = Disk()
        (root / "whole").mkdir()
        loop.run(until_cut(root / "whole", whole, Client(random.Random(0)), synchronous))
        for seed in range(CUTS):
            client, missing = cut(loop, root / str(seed), seed, steps=whole.steps, synchronous=synchronous)
            acknowledged += len(client.begun) + len(client.ended)
            lost += missing
    show(f"\nsynchronous = {synchronous}: {CUTS} cuts within {whole.steps} steps, {whole.syncs} of them syncs:")
    show(f"{acknowledged} records acknowledged, {lost} lost")
    return acknowledged, lost


def test_no_acknowledged_record_is_lost() -> None:
    """With the settings of the outbox no record is lost, and the file passes its integrity check."""
    acknowledged, lost = cuts("FULL")
    assert acknowledged > CUTS
    assert lost == 0


def test_the_proof_can_fail() -> None:
    """Without a sync at each commit, the same power cuts lose records."""
    _, lost = cuts("NORMAL")
    assert lost > 0
