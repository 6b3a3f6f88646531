"""The last backup is remembered in the database."""

from datetime import UTC, datetime

from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.backups import last_backup

BACKUP = LastBackup(
    at=datetime(2026, 11, 28, 3, tzinfo=UTC), host="vm", path="/b.tar", size=7, with_key=True, actor="carol"
)


async def test_last_backup_is_the_newest_recorded(dsn: str) -> None:
    """None before the first one; a value that an edit has broken counts as none."""
    async with Store(dsn) as store:
        assert await last_backup(store) is None
        await record_backup(store, BACKUP)
        newer = LastBackup(**{name: getattr(BACKUP, name) for name in BACKUP.__struct_fields__} | {"size": 8})
        await record_backup(store, newer)
        assert await last_backup(store) == newer
        await store.fetch("UPDATE settings SET value = '{' WHERE name = 'last_backup'")
        assert await last_backup(store) is None
