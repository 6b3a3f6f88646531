"""The outbox: a local SQLite file that holds every row until PostgreSQL has it. What is acknowledged is on the disk.

One thread owns the file. It commits everything that waits in one transaction (group commit), because an fsync costs
0.2 ms at best and was seen to take 406 ms: never on the event loop's thread, and never one per row.
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

from chatgpt_agent.adapters.files import give_to_folder_owner, make_folder
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from chatgpt_agent.core.ledger import Intent, Row

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

GROUP = 500  # at most so many pieces of work in one transaction
FORMAT = 2  # of the file, in its `user_version`

_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (request_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
"""

_encoder = msgspec.json.Encoder(decimal_format="string")
_intent = msgspec.json.Decoder(Intent)
_row = msgspec.json.Decoder(Row)


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, without transactions of its own making."""
    return sqlite3.connect(path, isolation_level=None, timeout=1.0)  # nobody else should be writing


class Outbox:
    """The file `outbox.db` in a folder. Its methods that wait return when the disk has it, or raise
    LedgerUnavailable; nothing of a failed write stays."""

    def __init__(self, folder: Path, *, connect: Callable[[Path], sqlite3.Connection] = connect) -> None:
        self._folder = folder
        self._connect_to = connect
        self._work: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock: IO[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.writable = False  # whether the last write worked

    async def open(self) -> None:
        """Opens or makes the file. Raises SetupError: in use by another process, foreign, or broken."""
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
        self.writable = True

    async def close(self) -> None:
        """Waits for the work that was given, and lets the file go."""
        thread, self._thread = self._thread, None  # from here on it takes no work
        if thread is None:
            return
        self._work.put(None)
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        self._release()

    async def add_intent(self, intent: Intent) -> None:
        """Writes that a request is about to be sent."""
        record = (str(intent.request_id), _encoder.encode(intent))
        await self._do(lambda db: db.execute("INSERT INTO intents VALUES (?, ?)", record))

    async def settle(self, row: Row) -> None:
        """Puts a row in the place of its intent."""
        key, record = str(row.intent.request_id), _encoder.encode(row)

        def work(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM intents WHERE request_id = ?", (key,)).rowcount == 1:
                db.execute("INSERT INTO rows (record) VALUES (?)", (record,))
            # else: it is settled already; a try that was told it had failed may have worked

        await self._do(work)

    async def intents(self) -> list[Intent]:
        """The requests that were begun and have no outcome."""
        found = await self._do(lambda db: db.execute("SELECT record FROM intents").fetchall())
        return [_intent.decode(record) for (record,) in found]

    async def batch(self, limit: int) -> tuple[int, list[Row]]:
        """The oldest rows that are not dropped yet, and the number up to which `drop` forgets them."""
        found = await self._do(
            lambda db: db.execute("SELECT seq, record FROM rows ORDER BY seq LIMIT ?", (limit,)).fetchall()
        )
        return (found[-1][0] if found else 0), [_row.decode(record) for _, record in found]

    async def drop(self, seq: int) -> None:
        """Forgets the rows up to a number: PostgreSQL has them."""
        await self._do(lambda db: db.execute("DELETE FROM rows WHERE seq <= ?", (seq,)))

    async def probe(self) -> None:
        """Writes and takes it back: after a failure, that is how to know that the disk is well again."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO intents VALUES ('probe', '')")
            db.execute("DELETE FROM intents WHERE request_id = 'probe'")

        await self._do(work)

    async def identity(self) -> UUID:
        """What tells this outbox from those of other agents; made when it is first asked for."""

        def work(db: sqlite3.Connection) -> str:
            db.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (str(uuid4()),))
            return str(db.execute("SELECT id FROM identity").fetchone()[0])

        return UUID(await self._do(work))

    async def depth(self) -> int:
        """How many rows wait."""
        return int(await self._do(lambda db: db.execute("SELECT count(*) FROM rows").fetchone()[0]))

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None or self._loop is None:
            raise LedgerUnavailable
        done: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, done))
        return await done

    def _take_lock(self) -> None:
        path = self._folder / "outbox.lock"
        try:
            self._lock = path.open("ab")
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
        self.writable = False
        if self._lock is not None:
            self._lock.close()

    # The thread.

    def _run(self, opened: "asyncio.Future[None]") -> None:
        try:
            db = self._connect()
        except Exception as error:  # of whatever kind: the start waits for this thread's word
            text = f"the outbox {self._folder / 'outbox.db'} cannot be used: {error}"
            self._tell([(opened, None, SetupError(text))])
            return
        self._tell([(opened, None, None)])
        try:
            while group := self._take_group():
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
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, 1, FORMAT):
            raise SetupError(f"it has format {found}, this program knows format {FORMAT}")
        fault = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":  # SQLite itself would only tell when it comes to read that page
            raise SetupError(f"it is damaged: {fault}")
        if found == 1:
            _upgrade(db)
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {FORMAT}")

    def _take_group(self) -> list[tuple[Work, asyncio.Future[Any]]]:
        """The work that waits, at least one piece of it; nothing when the outbox closes."""
        group: list[tuple[Work, asyncio.Future[Any]]] = []
        first = self._work.get()
        while first is not None:
            group.append(first)
            if len(group) == GROUP:
                break
            try:
                first = self._work.get_nowait()
            except queue.Empty:
                break
            if first is None:
                self._work.put(None)  # finish this group first
        return group

    def _commit(self, db: sqlite3.Connection, group: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        try:
            db.execute("BEGIN IMMEDIATE")
            before = db.total_changes
            results = [work(db) for work, _ in group]
            db.execute("COMMIT")
        except Exception as error:  # of whatever kind: who waits must hear of it, and the thread goes on
            with contextlib.suppress(Exception):  # then the transaction stays open, and the next group fails, too
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if self.writable:
                log.error("the outbox cannot be written: %s", error)
            self.writable = False
            self._tell([(done, None, LedgerUnavailable()) for _, done in group])
        else:
            # A full disk still lets us read: that says nothing.
            self.writable = self.writable or db.total_changes > before
            self._tell([(done, result, None) for (_, done), result in zip(group, results, strict=True)])

    def _tell(self, answers: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_resolve, answers)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("the event loop ended before the outbox")


def _resolve(answers: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
    for done, result, error in answers:
        if done.cancelled():  # nobody waits any more; the work was done all the same
            continue
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)


def _upgrade(db: sqlite3.Connection) -> None:
    """Rewrites the records of format 1 with the field names of format 2, in one transaction."""

    def upgrade_intent(record: bytes) -> bytes:
        return _encoder.encode(_intent_fields(msgspec.json.decode(record)))

    def upgrade_row(record: bytes) -> bytes:
        fields = msgspec.json.decode(record)
        fields["uncertain_cost"] = fields.pop("reserved", "0")
        return _encoder.encode(fields | {"intent": _intent_fields(fields["intent"])})

    db.create_function("upgrade_intent", 1, upgrade_intent)
    db.create_function("upgrade_row", 1, upgrade_row)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE intents SET record = upgrade_intent(record)")
    db.execute("UPDATE rows SET record = upgrade_row(record)")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("COMMIT")


def _intent_fields(fields: dict[str, object]) -> dict[str, object]:
    fields["max_cost"] = fields.pop("reserved", "0")
    return fields


class OutboxState(msgspec.Struct, frozen=True):
    """What waits in an outbox: requests under way, rows to be shipped, and when the oldest of those rows began."""

    intents: int
    rows: int
    oldest_at: datetime | None


def peek(folder: Path) -> OutboxState | None:
    """Looks into the outbox of a folder from outside, also while an agent works on it; None where there is none.
    Raises SetupError."""
    path = folder / "outbox.db"
    if not path.exists():
        return None
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            [intents] = db.execute("SELECT count(*) FROM intents").fetchone()
            [rows] = db.execute("SELECT count(*) FROM rows").fetchone()
            oldest = db.execute("SELECT record FROM rows ORDER BY seq LIMIT 1").fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise SetupError(f"the outbox {path} cannot be read: {error}") from None
    return OutboxState(intents, rows, _row.decode(oldest[0]).intent.started_at if oldest else None)
