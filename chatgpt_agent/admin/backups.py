"""When the last good backup was made."""

from chatgpt_agent.adapters.postgres.backups import LastBackup, read_last_backup
from chatgpt_agent.adapters.postgres.connection import AnyStore

__all__ = ["LastBackup", "last_backup"]


async def last_backup(store: AnyStore) -> LastBackup | None:
    """Returns the last backup that `chatgpt-agent backup` has written completely, or None. Raises StoreError."""
    return await read_last_backup(store)
