"""The rows of an outbox: those to be shipped, and those that were shipped and are kept for a while, because a server
that takes over may not have them (docs/decisions/0027-shipped-rows-are-kept.md). Each function runs in a transaction.
"""

import sqlite3

import msgspec

MAX_KEPT = 100_000  # rows that are kept after they were shipped
PRUNED = 1000  # rows that one call deletes at most: requests wait meanwhile

_SHIPPED = "(SELECT shipped FROM position)"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far rows are shipped. `shipped`: all rows up to this number, which is also how many they are; `ledger_id`: of
    the database that has them; `lost`: rows that a database lost after it had confirmed them, and that were no longer
    here to be shipped again."""

    shipped: int
    ledger_id: str | None
    lost: int


def read_position(db: sqlite3.Connection) -> Position:
    """Returns how far the rows are shipped."""
    shipped, ledger_id, lost = db.execute("SELECT shipped, ledger_id, lost FROM position").fetchone()
    return Position(shipped=shipped, ledger_id=ledger_id, lost=lost)


def depth(db: sqlite3.Connection) -> int:
    """Returns the number of rows to be shipped."""
    return int(db.execute(f"SELECT count(*) FROM rows WHERE seq > {_SHIPPED}").fetchone()[0])


def peek(db: sqlite3.Connection, limit: int) -> list[tuple[int, bytes]]:
    """Returns the oldest rows to be shipped, with their numbers."""
    return db.execute(f"SELECT seq, record FROM rows WHERE seq > {_SHIPPED} ORDER BY seq LIMIT ?", (limit,)).fetchall()


def ack(db: sqlite3.Connection, seq: int, contact: float, keep: float) -> None:
    """Notes that the rows up to a number are shipped, and deletes some of the rows that were kept for long enough."""
    db.execute("UPDATE position SET shipped = max(shipped, ?), contact = contact + ?", (seq, contact))
    db.execute("INSERT INTO batches SELECT shipped, contact FROM position WHERE true ON CONFLICT DO NOTHING")
    _delete_old(db, keep)


def prune(db: sqlite3.Connection, contact: float, keep: float) -> None:
    """Deletes some of the rows that were kept for long enough. Writes nothing if there are none."""
    _delete_old(db, keep - contact)


def _delete_old(db: sqlite3.Connection, keep: float) -> None:
    """Deletes rows that were kept for `keep` seconds of contact, and those above MAX_KEPT; at most PRUNED."""
    [(due,)] = db.execute(
        """
        SELECT max(shipped - ?, (SELECT coalesce(max(seq), 0) FROM batches b WHERE b.contact <= p.contact - ?))
        FROM position p""",
        (MAX_KEPT, keep),
    )
    [(first,)] = db.execute("SELECT coalesce(min(seq), ? + 1) FROM rows", (due,))
    last = min(due, first + PRUNED - 1)
    if first <= due:
        db.execute("DELETE FROM rows WHERE seq <= ?", (last,))
        db.execute("DELETE FROM batches WHERE seq <= ?", (last,))


def rewind(db: sqlite3.Connection, shipped: int) -> int:
    """Marks the kept rows after a number as to be shipped. Returns how many rows after it were deleted already."""
    [(confirmed,)] = db.execute("SELECT shipped - max(base, ?) FROM position", (shipped,))
    [(available,)] = db.execute(f"SELECT count(*) FROM rows WHERE seq > ? AND seq <= {_SHIPPED}", (shipped,))
    lost = max(0, int(confirmed - available))
    db.execute("UPDATE position SET shipped = ?, lost = lost + ?", (shipped, lost))
    db.execute("DELETE FROM batches WHERE seq > ?", (shipped,))
    return lost


def adopt(db: sqlite3.Connection, ledger_id: str) -> None:
    """Notes the ledger that rows are shipped to, and deletes rows that were shipped to another one."""
    db.execute(f"DELETE FROM rows WHERE seq <= {_SHIPPED}")
    db.execute("DELETE FROM batches")
    db.execute("UPDATE position SET ledger_id = ?, base = shipped, lost = 0", (ledger_id,))


def drop_kept(db: sqlite3.Connection) -> bool:
    """Deletes all rows that are shipped, and returns whether there were any."""
    deleted = db.execute(f"DELETE FROM rows WHERE seq <= {_SHIPPED}").rowcount
    if deleted:
        db.execute("DELETE FROM batches")
    return deleted > 0
