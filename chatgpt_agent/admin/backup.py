"""A backup: the database, the outbox, the configuration without secrets and, encrypted, the master key, in one file.

The outbox is copied first and the database is dumped after it. So each row that was written before is in the copy, or
was shipped and is in the dump. A row in both is shipped again after a restore, which adds nothing: its request id is
there already. The other order would lose rows: one could be shipped after the dump, and be gone from the outbox before
the copy (docs/decisions/0037-the-outbox-is-backed-up-first.md).
"""

import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.adapters.backup_file import BackupWriter
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_view import settings_of
from chatgpt_agent.adapters.files import read_secret_file
from chatgpt_agent.adapters.outbox_copy import copy_outbox
from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.programs import check_sessions, dump, find_program
from chatgpt_agent.adapters.postgres.snapshot import snapshot
from chatgpt_agent.adapters.sealed_key import seal
from chatgpt_agent.core import backup
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.backup import Contents, Manifest, OutboxSums
from chatgpt_agent.core.errors import InvalidValue, SetupError, StoreError
from chatgpt_agent.runtime.database import database
from chatgpt_agent.runtime.interruptible import interruptible
from chatgpt_agent.runtime.master_key import master_key_path

MIN_PASSPHRASE = 12  # characters
TIMEOUT_SETTING = 17  # the first version of PostgreSQL that accepts all that a newer pg_restore sets
RECORD_SECONDS = 10.0


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was written: its size in bytes, and what an administrator should know about it."""

    path: str
    size: int
    manifest: Manifest
    warnings: list[str]


def back_up(config: Config, path: Path, *, actor: Actor, force: bool = False, passphrase: str | None = None) -> Backup:
    """Writes a backup, beside a running agent or without one, and records that it was made. `passphrase`: encrypts the
    master key, which otherwise is not in it; `force`: replaces an existing file. Raises InvalidValue, SetupError,
    StoreUnavailable; then no file is left."""
    if passphrase is not None and len(passphrase) < MIN_PASSPHRASE:
        raise InvalidValue(f"passphrase: must have at least {MIN_PASSPHRASE} characters")
    with BackupWriter(path, force=force) as writer, database(config, create=False) as dsn:
        run = BackupRun(config, dsn, writer)
        if passphrase is not None:
            run.add_key(passphrase)
        run.copy_outbox()
        run.dump_database()
        manifest = run.finish()
        warnings = run.warnings + _record(dsn, manifest, path, writer.size, actor)
    return Backup(path=str(path), size=writer.size, manifest=manifest, warnings=warnings)


def passphrase_in(file: Path) -> str:
    """Returns the passphrase in a file. Raises SetupError: it cannot be read, or other accounts can read it."""
    try:
        return read_secret_file(file, "the passphrase file").decode()
    except UnicodeDecodeError:
        raise SetupError(f"the passphrase file {file} is not UTF-8") from None


class BackupRun:
    """The steps of a backup, in their order."""

    def __init__(self, config: Config, dsn: str, writer: BackupWriter) -> None:
        self._config = config
        self._dsn = dsn
        self._writer = writer
        self._at = datetime.now(UTC)
        self._outbox: OutboxSums | None = None
        self._contents: Contents | None = None
        self._pg_dump = ""
        self.warnings: list[str] = []

    def add_key(self, passphrase: str) -> None:
        """Adds the encrypted master key. Raises SetupError."""
        key = read_secret_file(master_key_path(self._config), "the master key")
        self._add(backup.MASTER_KEY, seal(key, passphrase))

    def copy_outbox(self) -> None:
        """Copies the outbox of the data directory. Raises SetupError."""
        draft = self._writer.draft(backup.OUTBOX)
        self._at = datetime.now(UTC)
        try:
            self._outbox = copy_outbox(self._config.data_dir, draft)
            if self._outbox is not None:
                self._writer.add_file(backup.OUTBOX, draft, mtime=self._at.timestamp())
        finally:
            draft.unlink(missing_ok=True)
        if self._outbox is None:
            self.warnings.append(
                f"there is no outbox in {self._config.data_dir}: what agents have not shipped is not in this backup"
            )

    def dump_database(self) -> None:
        """Dumps the database, and reads its sums from the same snapshot. Raises SetupError, StoreUnavailable."""
        check_sessions(self._dsn)
        with snapshot(self._dsn) as moment:
            program = find_program("pg_dump", moment.server)
            self._pg_dump = program.version
            if program.major > moment.server and moment.server < TIMEOUT_SETTING:
                self.warnings.append(
                    f"pg_dump {program.version} is newer than the server: to be able to restore into PostgreSQL "
                    f"{moment.server} again, install postgresql-client-{moment.server}"
                )
            with self._writer.member(backup.DATABASE, mtime=self._at.timestamp()) as member:
                dump(program, self._dsn, snapshot=moment.id, schema=moment.schema, write=member.write)
            self._contents = interruptible(moment.contents)
            agents = interruptible(moment.waiting_agents)
        own = self._outbox.agent_id if self._outbox else None
        for agent, rows in agents.items():
            if agent != own:
                self.warnings.append(
                    f"the outbox of agent {agent} is not in this backup, and had {rows} rows to ship: back it up on "
                    "its machine, too"
                )

    def finish(self) -> Manifest:
        """Adds configuration and manifest, and gives the file its name. Raises SetupError."""
        assert self._contents is not None
        self._add(backup.SETTINGS, msgspec.json.format(msgspec.json.encode(settings_of(self._config)), indent=2))
        manifest = Manifest(
            format=backup.FORMAT,
            program=__version__,
            pg_dump=self._pg_dump,
            host=platform.node(),
            at=self._at,
            contents=self._contents,
            outbox=self._outbox,
            members=dict(self._writer.members),
        )
        self._writer.finish(manifest)
        return manifest

    def _add(self, name: str, content: bytes) -> None:
        self._writer.add(name, content, mtime=self._at.timestamp())


def _record(dsn: str, manifest: Manifest, path: Path, size: int, actor: Actor) -> list[str]:
    """Records the backup in the database; returns a warning if that is not possible, as on a read-only server."""
    record = LastBackup(
        at=manifest.at,
        host=manifest.host,
        path=str(path.absolute()),
        size=size,
        with_key=manifest.with_key,
        actor=actor.name,
    )

    async def store_record() -> None:
        async with Store(dsn, seconds=RECORD_SECONDS) as store:
            await record_backup(store, record)

    try:
        asyncio.run(store_record())
    except StoreError as error:
        return [f"the backup was written, but its time could not be recorded: {error}"]
    return []
