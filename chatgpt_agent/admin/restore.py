"""Restores a backup into an empty database and an empty data directory, or tries it in a temporary database.

A restore that is interrupted can be repeated: the database is restored in one transaction, and a mark in the data
directory says how far it has come. Until it is finished, no agent and no command uses this data directory.
"""

import asyncio
import contextlib
import math
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.backup_file import write_file
from chatgpt_agent.adapters.backup_reader import BackupReader
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.files import file_exists, make_folder
from chatgpt_agent.adapters.key_file import parse_keys
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.migrate import known_migrations, migrate
from chatgpt_agent.adapters.outbox_copy import FILE as OUTBOX_FILE
from chatgpt_agent.adapters.outbox_copy import check_outbox
from chatgpt_agent.adapters.postgres import programs, targets
from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.adapters.postgres.settings import read_key_state
from chatgpt_agent.adapters.postgres.snapshot import snapshot
from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.adapters.restore_marker import (
    LOCK,
    NAME,
    Unfinished,
    read_marker,
    remove_marker,
    restore_lock,
    write_marker,
)
from chatgpt_agent.adapters.sealed_key import unseal
from chatgpt_agent.admin.administration import LedgerAdministration, open_stores
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.core import backup
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.backup import Manifest, differences, newer_migrations
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.database import database
from chatgpt_agent.runtime.interruptible import interruptible
from chatgpt_agent.runtime.master_key import keyring_if_present, master_key_path

TIMEOUT_SETTING = 17  # before this version PostgreSQL refuses what a newer pg_restore sets
MONTHS = 2  # that get a partition: this one and the next, as an agent would make them
# What an empty data directory may have: a disk's own folder, archived months and master keys that were put back before.
NOT_OURS = {"lost+found", "archive", LOCK}
UNSAFE = "-c fsync=off -c full_page_writes=off"  # for a server that is thrown away


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was restored. `database`: its name; `migrated`: migrations that the backup did not have;
    `findings` of `ledger verify`: an empty list if the ledger is consistent; `warnings`: what is left to be done."""

    manifest: Manifest
    database: str
    migrated: list[str]
    findings: list[Finding]
    warnings: list[str]


def restore(
    config: Config, path: Path, *, actor: Actor, passphrase: str | None = None, database_only: bool = False
) -> Restored:
    """Restores a backup into the configured database and data directory, both of which must be empty, and verifies the
    ledger. `passphrase`: restores the master key, too; `database_only`: leaves the data directory as it is, for an
    agent whose outbox is newer than the backup. Raises SetupError, StoreUnavailable."""
    with BackupReader(path) as reader:
        key = _checked(reader, passphrase)
        begun = _begun(config, reader, database_only=database_only)
        if key is not None:
            _check_key_file(config, key)
        with database(config, restoring=True) as dsn:
            target = _target(dsn, reader, begun)
            folder = config.data_dir
            make_folder(folder)
            with restore_lock(folder):
                state = begun or Unfinished(backup=reader.id, path=str(path.absolute()), database_restored=False)
                write_marker(folder, state)
                _restore_database(dsn, reader, target, state)
                write_marker(folder, msgspec.structs.replace(state, database_restored=True))
                if not database_only:
                    _restore_files(config, reader, key)
                result = _finish(config, dsn, reader, key, actor=actor, data_dir=folder, name=target.name)
                remove_marker(folder)
    return result


def check(config: Config, path: Path, *, actor: Actor, passphrase: str | None = None) -> Restored:
    """Restores a backup into a temporary database and a temporary folder, verifies the ledger, and drops both. Raises
    SetupError, StoreUnavailable."""
    with BackupReader(path) as reader, tempfile.TemporaryDirectory(prefix="chatgpt-agent-check-") as name:
        key = _checked(reader, passphrase)
        folder = Path(name)
        with _temporary_database(config, folder) as (dsn, abandoned):
            _restore_database(dsn, reader, _target(dsn, reader, None), None)
            if backup.OUTBOX in reader.manifest.members:
                write_file(folder / OUTBOX_FILE, reader.pieces(backup.OUTBOX))
                check_outbox(folder / OUTBOX_FILE)
            result = _finish(config, dsn, reader, key, actor=actor, data_dir=folder, name="a temporary one")
    left = [f"an interrupted check has left the database {each}: drop it" for each in abandoned]
    return msgspec.structs.replace(result, warnings=result.warnings + left)


def _checked(reader: BackupReader, passphrase: str | None) -> bytes | None:
    """Checks a backup before anything is written. Returns the master key, if that is to be restored."""
    newer = newer_migrations(reader.manifest, known_migrations())
    if newer:
        raise SetupError(
            f"{reader.path} is a backup of a newer program, {reader.manifest.program}: it has {newer[-1]}, this one "
            f"knows migrations up to {known_migrations()[-1]}; install that program"
        )
    reader.check()
    if passphrase is None:
        return None
    if not reader.manifest.with_key:
        raise SetupError(f"{reader.path} has no master key: restore without --with-key, and put the key back yourself")
    return unseal(reader.content(backup.MASTER_KEY), passphrase)


# The places that a restore goes to.


def _begun(config: Config, reader: BackupReader, *, database_only: bool) -> Unfinished | None:
    """Checks that the data directory is empty, or that a restore of this backup was interrupted, which is returned.
    Raises SetupError."""
    folder = config.data_dir
    unfinished = read_marker(folder)
    if unfinished is not None and unfinished.backup != reader.id and unfinished.database_restored:
        raise SetupError(
            f"a restore of another backup, {unfinished.path}, into {folder} is not finished: repeat that one, or empty "
            "the folder and the database"
        )
    allowed = {*NOT_OURS, NAME, *([OUTBOX_FILE] if unfinished is not None else ())}
    if config.embedded:
        allowed.add("postgres")  # it may hold an empty database
    try:
        names = sorted(each.name for each in folder.iterdir() if not each.name.endswith(".part"))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise SetupError(f"{folder} cannot be read: {error.strerror}") from None
    key = master_key_path(config).name
    others = [name for name in names if name not in allowed and not name.startswith(key) and not database_only]
    if others:
        raise SetupError(
            f"the data directory {folder} is not empty, it has {others[0]}: restore into an empty one, or only the "
            "database with --database-only; nothing was changed"
        )
    return unfinished if unfinished is not None and unfinished.backup == reader.id else None


def _check_key_file(config: Config, key: bytes) -> None:
    """Raises SetupError if another master key is in the place of the one that is to be restored."""
    path = master_key_path(config)
    try:
        if path.exists() and path.read_bytes().strip() != key:
            raise SetupError(f"{path} is another master key than the one of the backup: move it away")
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _temporary_database(config: Config, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The connection string of a temporary database, and the names of those that were left by interrupted checks."""
    if config.embedded:
        folder.chmod(0o711)  # PostgreSQL runs as another account for root
        with EmbeddedPostgres(folder / "postgres", UNSAFE) as dsn:
            yield dsn, []
    else:
        with database(config, restoring=True) as configured:
            abandoned = targets.abandoned_databases(configured)
            with targets.temporary_database(configured) as dsn:
                yield dsn, abandoned


# The steps.


def _target(dsn: str, reader: BackupReader, begun: Unfinished | None) -> targets.Target:
    """Checks that a database is empty, or that an earlier try has begun to fill it, and that the dump can be restored
    into it. Raises SetupError, StoreUnavailable."""
    contents = reader.manifest.contents
    programs.check_sessions(dsn)
    target = interruptible(lambda: targets.prepare_target(dsn, contents.schema))
    if target.is_empty:
        _pg_restore(target, reader.manifest)
    elif begun is None or target.ledger_id != contents.ledger_id:
        raise _not_empty(target)
    return target


def _restore_database(dsn: str, reader: BackupReader, target: targets.Target, begun: Unfinished | None) -> None:
    """Restores the dump, if the database is empty, and compares the sums of all tables, unless an earlier try has done
    that. Raises SetupError, StoreUnavailable."""
    contents = reader.manifest.contents
    if target.is_empty:
        program = _pg_restore(target, reader.manifest)
        programs.restore(program, dsn, schema=contents.schema, pieces=reader.pieces(backup.DATABASE))
    elif begun is not None and begun.database_restored:
        return
    with snapshot(dsn) as moment:
        restored = interruptible(moment.contents)
    different = differences(contents.tables, restored.tables)
    if different and not target.is_empty:
        raise _not_empty(target)
    if different or restored.cost != contents.cost:
        raise SetupError(f"the restored database is not that of the backup: {'; '.join(different[:3]) or 'its cost'}")


def _not_empty(target: targets.Target) -> SetupError:
    return SetupError(f"the database {target.name} is not empty: restore into an empty one; nothing was changed")


def _pg_restore(target: targets.Target, manifest: Manifest) -> programs.Program:
    """Returns the program that restores a dump into a server. Raises SetupError."""
    if target.server < manifest.contents.server:
        raise SetupError(
            f"the backup is of PostgreSQL {manifest.contents.server}, and the server of database_url is older, "
            f"{target.server}: restore into the same or a newer version"
        )
    dumped_by = int(manifest.pg_dump.partition(".")[0])
    program = programs.find_program("pg_restore", max(dumped_by, target.server))
    if target.server < min(program.major, TIMEOUT_SETTING):
        raise SetupError(
            f"the dump of pg_dump {manifest.pg_dump} cannot be restored into PostgreSQL {target.server} by pg_restore "
            f"{program.version}: restore into PostgreSQL {TIMEOUT_SETTING} or newer"
        )
    return program


def _restore_files(config: Config, reader: BackupReader, key: bytes | None) -> None:
    """Puts the outbox and the master key into the data directory."""
    outbox = config.data_dir / OUTBOX_FILE
    if backup.OUTBOX in reader.manifest.members and not file_exists(outbox):
        write_file(outbox, reader.pieces(backup.OUTBOX))
        check_outbox(outbox)
    path = master_key_path(config)
    if key is not None and not file_exists(path):
        make_folder(path.parent)
        write_file(path, iter([key + b"\n"]))


def _finish(
    config: Config, dsn: str, reader: BackupReader, key: bytes | None, *, actor: Actor, data_dir: Path, name: str
) -> Restored:
    """Migrates the restored database and verifies the ledger."""
    migrated = interruptible(lambda: migrate(dsn))
    interruptible(lambda: targets.analyze(dsn))
    record = _record(reader)
    keyring = keyring_if_present(config) if key is None else Keyring(*parse_keys(key, master_key_path(config)))

    async def work() -> tuple[list[Finding], list[str]]:
        async with open_stores(dsn) as stores:
            first = datetime.now(UTC).replace(day=1)
            for month in range(MONTHS):
                await ensure_partition(stores.changes, first + timedelta(days=31 * month))
            await record_backup(stores.changes, record)
            state = await read_key_state(stores.reports)
            fits = keyring is not None and (state is None or state.check_value in keyring.check_values)
            if keyring is not None and state is not None and fits:
                keyring.use(state)
            # Without an agent, all rows of the outbox wait, however old they are.
            findings = await LedgerAdministration(config, stores, actor).ledger.verify(
                waiting=math.inf, data_dir=data_dir, keyring=keyring if fits else None
            )
            return findings, _key_warnings(config, keyring, fits=fits or state is None)

    findings, warnings = asyncio.run(work())
    return Restored(manifest=reader.manifest, database=name, migrated=migrated, findings=findings, warnings=warnings)


def _key_warnings(config: Config, keyring: Keyring | None, *, fits: bool) -> list[str]:
    path = master_key_path(config)
    if fits:
        return []
    if keyring is None:
        return [f"the OpenAI keys were not checked: put the master key back as {path} before you start the agent"]
    return [f"the master key {path} is not the one of this backup: put that one back before you start the agent"]


def _record(reader: BackupReader) -> LastBackup:
    """What the restored database knows as its last backup: this one."""
    manifest = reader.manifest
    size = reader.path.stat().st_size
    return LastBackup(
        at=manifest.at,
        host=manifest.host,
        path=str(reader.path.absolute()),
        size=size,
        with_key=manifest.with_key,
        actor="restore",
    )
