"""The format of the outbox file, stored in its `user_version`, and the upgrade of files with an older format."""

import sqlite3

import msgspec

FORMAT = 3
OLD_FORMATS = (1, 2)  # which `upgrade` converts
KEEPS_SHIPPED_ROWS = 3  # the first format that keeps rows after they were shipped

# Rows are numbered without gaps, and shipped in this order. Those up to `position.shipped` have been shipped; they are
# kept until they have stayed in PostgreSQL for long enough, in seconds of contact with it: `batches` holds the last row
# of each batch, and the contact when it was shipped. Rows up to `position.base` were shipped before positions were
# compared.
SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (request_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1), shipped INTEGER NOT NULL, base INTEGER NOT NULL DEFAULT 0, ledger_id TEXT,
    contact REAL NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS batches (seq INTEGER PRIMARY KEY, contact REAL NOT NULL);
INSERT OR IGNORE INTO position (one, shipped) VALUES (1, (
    SELECT coalesce((SELECT min(seq) - 1 FROM rows), (SELECT seq FROM sqlite_sequence WHERE name = 'rows'), 0)
));
"""


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Converts a file of an older format, in one transaction. Format 2 renamed fields of records; format 3 added
    tables, which SCHEMA creates: until then each row in the file had still to be shipped."""
    db.create_function("upgrade_intent", 1, _upgrade_intent)
    db.create_function("upgrade_row", 1, _upgrade_row)
    db.execute("BEGIN IMMEDIATE")
    if version == 1:
        db.execute("UPDATE intents SET record = upgrade_intent(record)")
        db.execute("UPDATE rows SET record = upgrade_row(record)")
    db.execute("PRAGMA user_version = 2")
    db.execute("COMMIT")


def _upgrade_intent(record: bytes) -> bytes:
    return msgspec.json.encode(_intent_fields(msgspec.json.decode(record)))


def _upgrade_row(record: bytes) -> bytes:
    fields = msgspec.json.decode(record)
    fields["uncertain_cost"] = fields.pop("reserved", "0")
    return msgspec.json.encode(fields | {"intent": _intent_fields(fields["intent"])})


def _intent_fields(fields: dict[str, object]) -> dict[str, object]:
    fields["max_cost"] = fields.pop("reserved", "0")
    return fields
