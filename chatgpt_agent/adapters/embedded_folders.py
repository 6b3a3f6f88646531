"""The folders of an embedded PostgreSQL whose data is upgraded: the new data takes the place of the old, which stays.

Two renames cannot be one step. If the process is killed between them there is no data folder, and no process creates an
empty one, because `pg.upgraded` exists: the next upgrade finishes the second rename.
"""

import shutil
from pathlib import Path

from chatgpt_agent.adapters.embedded_postgres import DATA, UPGRADED, EmbeddedPostgres
from chatgpt_agent.adapters.files import sync_folder
from chatgpt_agent.core.errors import SetupError

DRAFT = "upgrade"  # the folder of the new server, until its data is complete
OLD = "pg.old-"  # and the major version


def begin(folder: Path) -> Path:
    """Returns the folder for the new server, without what an interrupted upgrade has left there. Raises SetupError."""
    if (folder / DRAFT).exists():
        EmbeddedPostgres(folder / DRAFT, alone=True).stop_abandoned()
    try:
        for name in (DRAFT, UPGRADED):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise _failed(folder, error) from None
    return folder / DRAFT


def switch(folder: Path, version: int) -> Path:
    """Puts the new data in the place of the old data, which is of this version. Returns the folder of the old data.
    Raises SetupError."""
    old = folder / f"{OLD}{version}"
    if old.exists():
        raise SetupError(f"{old} exists: move it away, or remove it with --remove-old")
    try:
        (folder / DRAFT / DATA).rename(folder / UPGRADED)
        (folder / DATA).rename(old)
        sync_folder(folder)
    except OSError as error:
        raise _failed(folder, error) from None
    finish(folder)
    return old


def finish(folder: Path) -> bool:
    """Finishes a switch that was interrupted, or that `switch` has begun. Returns whether there was one. Raises
    SetupError."""
    if (folder / DATA).exists() or not (folder / UPGRADED).exists():
        return False
    try:
        (folder / UPGRADED).rename(folder / DATA)
        sync_folder(folder)
        shutil.rmtree(folder / DRAFT, ignore_errors=True)
    except OSError as error:
        raise _failed(folder, error) from None
    return True


def old_data(folder: Path) -> list[Path]:
    """Returns the folders of old data."""
    return sorted(folder.glob(f"{OLD}*"))


def remove(folder: Path) -> None:
    """Removes a folder. Raises SetupError."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise SetupError(f"{folder} cannot be removed: {error.strerror}") from None


def _failed(folder: Path, error: OSError) -> SetupError:
    return SetupError(f"{folder} cannot be changed: {error.strerror}")
