"""When the last good backup was made."""

from datetime import timedelta

from chatgpt_agent.adapters.postgres.backups import LastBackup, read_last_backup
from chatgpt_agent.adapters.postgres.connection import AnyStore

__all__ = ["BACKUP_AGE", "LastBackup", "last_backup"]

BACKUP_AGE = timedelta(days=2)  # of a backup that is made every night, with room for one that takes long


async def last_backup(store: AnyStore) -> LastBackup | None:
    """Returns the last backup that `chatgpt-agent backup` has written completely, or None. Raises StoreError."""
    return await read_last_backup(store)
