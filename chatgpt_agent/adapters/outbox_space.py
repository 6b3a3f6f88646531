"""Room for the outbox on a disk that is nearly full, or smaller than SQLite's log would grow.

SQLite moves its write-ahead log into the file after 1,000 pages, 4 MB, and needs room for that, as it needs room to
delete rows: a disk that log and rows have filled would never be written again
(https://www.sqlite.org/wal.html#ckpt). So the log may take a third of what is free, and the last
of it is only for what has begun.
"""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from chatgpt_agent.adapters import outbox_rows

log = logging.getLogger(__name__)

LOW_SPACE = 16 * 1024 * 1024  # bytes; with less room, rows are not kept after they were shipped
LITTLE_SPACE = 1024 * 1024  # bytes; with less room, the log is emptied after each write
RESERVE = 256 * 1024  # bytes; with less room, no request begins


class Space:
    """The room for the outbox in a file. `is_full`: only what has begun may still be written."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._log = path.with_name(f"{path.name}-wal")
        self._keeps_rows = True
        self.is_full = False

    def make_room(self, db: sqlite3.Connection) -> None:
        """Looks how much room there is after a write, and makes some: deletes rows that are only kept, and empties the
        log. Called outside of a transaction."""
        with contextlib.suppress(Exception):  # the thread continues, and the next write shows whether the disk works
            free = self._free()
            if free >= LOW_SPACE and self._log_size() <= free // 2:  # as after nearly every write
                self._set_full(False)
                return
            self._empty_log(db)
            if self._free() < LOW_SPACE and outbox_rows.drop_kept(db):
                self._empty_log(db)
                if self._keeps_rows:
                    self._keeps_rows = False
                    log.warning("the disk of the outbox is nearly full: rows are not kept after they were shipped")
            free = self._free()
            self._set_full(free < RESERVE // 4 or free + _unused(db) < RESERVE)

    def _empty_log(self, db: sqlite3.Connection) -> None:
        free = self._free()
        if self._log_size() > (free // 2 if free > LITTLE_SPACE else 0):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _set_full(self, is_full: bool) -> None:
        if is_full and not self.is_full:
            log.error("the disk of the outbox is full: no request is served until there are %d kB", RESERVE // 1024)
        self.is_full = is_full

    def _free(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0


def _unused(db: sqlite3.Connection) -> int:
    """Returns the bytes of pages in the file that hold nothing."""
    pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages * size)
