"""The format of the outbox file, stored in its `user_version`, and the upgrade of files with an older format."""

import sqlite3

import msgspec

FORMAT = 2
OLD_FORMATS = (1,)  # which `upgrade` converts

SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (request_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
"""


def upgrade(db: sqlite3.Connection) -> None:
    """Rewrites the records of format 1 with the field names of format 2, in one transaction. Both formats have the same
    tables."""
    db.create_function("upgrade_intent", 1, _upgrade_intent)
    db.create_function("upgrade_row", 1, _upgrade_row)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE intents SET record = upgrade_intent(record)")
    db.execute("UPDATE rows SET record = upgrade_row(record)")
    db.execute(f"PRAGMA user_version = {FORMAT}")
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
