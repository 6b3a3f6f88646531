"""The outbox: a local SQLite file that holds every row until PostgreSQL has it, and for a while longer. A method that
writes returns once the data is on the disk.

One thread owns the file. It commits all waiting work in one transaction (group commit), because an fsync takes 0.2 ms
at best and took 406 ms at worst: it must neither block the event loop nor run once per row.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import UUID, uuid4

import msgspec

from chatgpt_agent.adapters import outbox_rows
from chatgpt_agent.adapters.files import file_exists, give_to_folder_owner, make_folder
from chatgpt_agent.adapters.outbox_faults import describe_fault
from chatgpt_agent.adapters.outbox_format import FORMAT, KEEPS_SHIPPED_ROWS, OLD_FORMATS, SCHEMA, upgrade
from chatgpt_agent.adapters.outbox_rows import Position
from chatgpt_agent.adapters.outbox_space import Space
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from chatgpt_agent.core.ledger import Intent, Row

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

SQLITE_VERSION = sqlite3.sqlite_version
GROUP = 500  # pieces of work in one transaction, at most

_encoder = msgspec.json.Encoder(decimal_format="string")
_intent = msgspec.json.Decoder(Intent)
_row = msgspec.json.Decoder(Row)


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file in autocommit mode: transactions are explicit."""
    return sqlite3.connect(path, isolation_level=None, timeout=1.0)  # no other process writes to it


class Outbox:
    """The file `outbox.db` in a folder. `keep`: for how many seconds of contact with PostgreSQL rows stay after they
    were shipped. Methods that wait raise LedgerUnavailable if the write failed; nothing of a failed write is stored."""

    def __init__(
        self, folder: Path, *, keep: float = 3600.0, connect: Callable[[Path], sqlite3.Connection] = connect
    ) -> None:
        self._folder = folder
        self.keep = keep  # seconds
        self._connect_to = connect
        self._work: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock: IO[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._space = Space(folder / "outbox.db")
        self._last_write_succeeded = False
        self._writes = 0  # commits since the start, for `confirm_write`
        self._confirmed_writes = 0

    @property
    def writable(self) -> bool:
        """Whether the last write succeeded, and there is room for more."""
        return self._last_write_succeeded and not self._space.is_full

    async def open(self) -> None:
        """Opens or creates the file. Raises SetupError: in use by another process, unreadable, or damaged."""
        self._loop = asyncio.get_running_loop()
        make_folder(self._folder)
        self._take_lock()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="outbox", daemon=True)
        self._thread.start()
        try:
            await opened
        except SetupError:
            self._release()
            raise
        self._last_write_succeeded = True

    async def close(self) -> None:
        """Finishes the waiting work and releases the file."""
        thread, self._thread = self._thread, None  # further work is refused
        if thread is None:
            return
        self._work.put(None)
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        self._release()

    async def add_intent(self, intent: Intent) -> None:
        """Stores that a request is about to be sent."""
        if self._space.is_full:
            raise LedgerUnavailable
        record = (str(intent.request_id), _encoder.encode(intent))
        await self._do(lambda db: db.execute("INSERT INTO intents VALUES (?, ?)", record))

    async def settle(self, row: Row) -> None:
        """Replaces an intent by its row. Does nothing if that was done before: an attempt that was reported as failed
        may have succeeded."""
        key, record = str(row.intent.request_id), _encoder.encode(row)

        def work(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM intents WHERE request_id = ?", (key,)).rowcount == 1:
                db.execute("INSERT INTO rows (record) VALUES (?)", (record,))

        await self._do(work)

    async def intents(self) -> list[Intent]:
        """Returns the requests that were begun and have no row yet."""
        records = await self._do(lambda db: db.execute("SELECT record FROM intents").fetchall())
        return [_intent.decode(record) for (record,) in records]

    async def peek_batch(self, limit: int) -> tuple[int, list[Row]]:
        """Returns the oldest rows to be shipped (all with -1), which stay, and the number for `ack` once they are."""
        records = await self._do(lambda db: outbox_rows.peek(db, limit))
        return (records[-1][0] if records else 0), [_row.decode(record) for _, record in records]

    async def ack(self, seq: int, *, contact: float = 0.0) -> None:
        """Notes that PostgreSQL has the rows up to a number, and deletes rows that were kept for long enough.
        `contact`: seconds of contact with PostgreSQL since the last call of `ack`."""
        await self._do(lambda db: outbox_rows.ack(db, seq, contact, self.keep))

    async def prune(self, contact: float) -> None:
        """Deletes rows that were kept for long enough; `contact` as for `ack`."""
        await self._do(lambda db: outbox_rows.prune(db, contact, self.keep))

    async def position(self) -> Position:
        """Returns how far the rows are shipped, and to which ledger."""
        return await self._do(outbox_rows.read_position)

    async def rewind(self, shipped: int) -> int:
        """Marks the kept rows after this number as to be shipped again. Returns how many rows after it are no longer
        here."""
        return await self._do(lambda db: outbox_rows.rewind(db, shipped))

    async def adopt(self, ledger_id: str) -> None:
        """Ships to another ledger from now on: forgets the rows that were kept for the former one."""
        await self._do(lambda db: outbox_rows.adopt(db, ledger_id))

    async def probe(self) -> None:
        """Writes a record and deletes it, to find out whether the disk works again."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO intents VALUES ('probe', '')")
            db.execute("DELETE FROM intents WHERE request_id = 'probe'")

        await self._do(work)

    async def confirm_write(self) -> None:
        """Returns once the disk has accepted a write since the last call; if there was none, writes a record."""
        if self._writes == self._confirmed_writes:
            await self.probe()
        self._confirmed_writes = self._writes

    async def identity(self) -> UUID:
        """Returns the id of this outbox and its agent. The first call creates it."""

        def work(db: sqlite3.Connection) -> str:
            db.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (str(uuid4()),))
            return str(db.execute("SELECT id FROM identity").fetchone()[0])

        return UUID(await self._do(work))

    async def depth(self) -> int:
        """Returns the number of rows to be shipped."""
        return await self._do(outbox_rows.depth)

    async def pragma(self, name: str) -> Any:
        """Returns a setting of SQLite in the file's connection."""
        return await self._do(lambda db: db.execute(f"PRAGMA {name}").fetchone()[0])

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None or self._loop is None:
            raise LedgerUnavailable
        done: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, done))
        return await done

    def _take_lock(self) -> None:
        path = self._folder / "outbox.lock"
        try:
            self._lock = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            give_to_folder_owner(path)
        except BlockingIOError:
            self._release()
            raise SetupError(f"another agent is running on {self._folder}: give each its own data_dir") from None
        except OSError as error:
            self._release()
            raise SetupError(f"{path} cannot be opened: {error.strerror}") from None

    def _release(self) -> None:
        self._thread = None
        self._last_write_succeeded = False
        if self._lock is not None:
            self._lock.close()

    # In the thread.

    def _run(self, opened: "asyncio.Future[None]") -> None:
        try:
            db = self._connect()
        except Exception as error:  # any failure must reach `open`, which waits for it
            text = f"the outbox {self._folder / 'outbox.db'} cannot be used: {describe_fault(error)}"
            self._deliver([(opened, None, SetupError(text))])
            return
        self._deliver([(opened, None, None)])
        try:
            while group := self._next_group():
                self._commit(db, group)
        finally:
            db.close()

    def _connect(self) -> sqlite3.Connection:
        path = self._folder / "outbox.db"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        give_to_folder_owner(path)
        db = self._connect_to(path)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    @staticmethod
    def _prepare(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        db.execute("PRAGMA secure_delete = FAST")  # ON, Debian's default, writes each deleted page
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, *OLD_FORMATS, FORMAT):
            raise SetupError(f"it has format {version}, this program knows format {FORMAT}")
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":  # SQLite itself reports damage only when it reads that page
            raise SetupError(f"it is damaged: {damage}")
        if version in OLD_FORMATS:
            upgrade(db, version)
        db.executescript(SCHEMA)
        if version != FORMAT:  # nothing is written otherwise: the disk may be full
            db.execute(f"PRAGMA user_version = {FORMAT}")

    def _next_group(self) -> list[tuple[Work, asyncio.Future[Any]]]:
        """Waits for work and returns all that is there, up to GROUP; an empty list when the outbox closes."""
        group: list[tuple[Work, asyncio.Future[Any]]] = []
        item = self._work.get()
        while item is not None:
            group.append(item)
            if len(group) == GROUP:
                break
            try:
                item = self._work.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._work.put(None)  # finish this group first
        return group

    def _commit(self, db: sqlite3.Connection, group: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        try:
            db.execute("BEGIN IMMEDIATE")
            changes = db.total_changes
            results = [work(db) for work, _ in group]
            db.execute("COMMIT")
        except Exception as error:  # any failure must reach the callers, and the thread continues
            with contextlib.suppress(Exception):  # an open transaction makes the next group fail, too
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if self._last_write_succeeded:
                log.error("the outbox cannot be written: %s", error)
            self._last_write_succeeded = False
            self._deliver([(done, None, LedgerUnavailable()) for _, done in group])
            self._space.make_room(db)
        else:
            # A read also succeeds on a full disk, and does not show that writes work again.
            self._last_write_succeeded = self._last_write_succeeded or db.total_changes > changes
            self._writes += db.total_changes > changes
            self._deliver([(done, result, None) for (_, done), result in zip(group, results, strict=True)])
            if db.total_changes > changes:
                self._space.make_room(db)

    def _deliver(self, outcomes: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_resolve, outcomes)
        except RuntimeError:  # the loop is closed, and with it all waiting tasks
            log.warning("the event loop was closed before the outbox")


def _resolve(outcomes: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
    for done, result, error in outcomes:
        if done.cancelled():  # the caller was cancelled; the work is done nevertheless
            continue
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)


class OutboxState(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an outbox: requests in progress, rows to be shipped, and when the oldest of those began; the id of
    its agent, and how many rows that has shipped, to which ledger."""

    intents: int
    rows: int
    oldest_at: datetime | None
    agent_id: UUID | None
    shipped: int
    ledger_id: str | None


def read_state(folder: Path) -> OutboxState | None:
    """Returns the state of the outbox in a folder, which an agent may be using; None if there is no file. Raises
    SetupError."""
    path = folder / "outbox.db"
    try:
        if not file_exists(path):
            return None
    except OSError as error:  # a folder of another account
        raise SetupError(f"the outbox {path} cannot be read: {error.strerror}") from None
    return read_file(path)


def read_file(path: Path) -> OutboxState:
    """Returns the state of an outbox. Raises SetupError."""
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("BEGIN")  # one snapshot
            return _read_state(db)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise SetupError(f"the outbox {path} cannot be read: {describe_fault(error)}") from None


def file_bytes(folder: Path) -> int:
    """Returns the size of the outbox in a folder, with SQLite's log. Raises OSError."""
    size = 0
    for path in folder.glob("outbox.db*"):
        with contextlib.suppress(FileNotFoundError):  # SQLite has just removed its log
            size += path.stat().st_size
    return size


def _read_state(db: sqlite3.Connection) -> OutboxState:
    if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:  # a full disk has ended the first start
        return OutboxState(intents=0, rows=0, oldest_at=None, agent_id=None, shipped=0, ledger_id=None)
    if db.execute("PRAGMA user_version").fetchone()[0] >= KEEPS_SHIPPED_ROWS:
        position = outbox_rows.read_position(db)
    else:  # the agent that uses it is of an earlier version
        position = Position(shipped=0, ledger_id=None, lost=0)
    [(intents,)] = db.execute("SELECT count(*) FROM intents")
    [(rows,)] = db.execute("SELECT count(*) FROM rows WHERE seq > ?", (position.shipped,))
    oldest = db.execute("SELECT record FROM rows WHERE seq > ? LIMIT 1", (position.shipped,)).fetchone()
    agent = db.execute("SELECT id FROM identity").fetchone()
    return OutboxState(
        intents=intents,
        rows=rows,
        oldest_at=_row.decode(oldest[0]).intent.started_at if oldest else None,
        agent_id=UUID(agent[0]) if agent else None,
        shipped=position.shipped,
        ledger_id=position.ledger_id,
    )
