"""The last good backup, as a row of the table `settings`."""

from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore

_NAME = "last_backup"


class LastBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was written completely. `at`: it has what the ledger had at this moment; `path`, on the machine
    `host`; `size` in bytes; `with_key`: whether it has the master key; `actor`: by which account."""

    at: datetime
    host: str
    path: str
    size: int
    with_key: bool
    actor: str


async def read_last_backup(store: AnyStore) -> LastBackup | None:
    """Returns the last backup; None if there was none, or if an edit in SQL has left something else."""
    rows = await store.fetch("SELECT value FROM settings WHERE name = %s", [_NAME])
    try:
        return msgspec.json.decode(rows[0][0], type=LastBackup) if rows else None
    except msgspec.MsgspecError:
        return None


async def record_backup(store: AnyStore, backup: LastBackup) -> None:
    """Stores that a backup was written."""
    sql = "INSERT INTO settings VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    await store.fetch(sql, [_NAME, msgspec.json.encode(backup).decode()])
