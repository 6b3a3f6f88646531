"""Folders and files of the data directory: whose they are, and what is said where they cannot be made."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from chatgpt_agent.adapters.files import give_to_folder_owner, make_folder
from chatgpt_agent.core.errors import SetupError
from tests.support.full_disk import without_root


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """With those above it, and for nobody else."""
    make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Its mode is the operator's choice."""
    (tmp_path / "a").mkdir(mode=0o750)
    make_folder(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_a_folder_where_a_file_is_is_refused(tmp_path: Path) -> None:
    """In one line with the path."""
    (tmp_path / "a").write_text("")
    with pytest.raises(SetupError, match=rf"the folder {tmp_path}/a/b cannot be made"):
        make_folder(tmp_path / "a" / "b")


def test_a_folder_below_one_that_is_closed_is_refused(tmp_path: Path) -> None:
    """Whoever starts it as the wrong account is told so."""
    (tmp_path / "closed").mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match="closed/data cannot be made: Permission denied"):
        make_folder(tmp_path / "closed" / "data")


def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """So that a server that runs as that account can open it; without root nothing changes hands."""
    owner = _folder_of_nobody(tmp_path)
    make_folder(tmp_path / "theirs" / "made")
    assert (tmp_path / "theirs" / "made").stat().st_uid == owner


def test_a_link_in_that_folder_gives_nothing_else_away(tmp_path: Path) -> None:
    """The account could point it at any file of the system."""
    _folder_of_nobody(tmp_path)
    (tmp_path / "passwd").write_text("root's")
    (tmp_path / "theirs" / "gate.lock").symlink_to(tmp_path / "passwd")
    give_to_folder_owner(tmp_path / "theirs" / "gate.lock")
    assert (tmp_path / "passwd").stat().st_uid == os.geteuid()


def _folder_of_nobody(tmp_path: Path) -> int:
    """As root, a folder of another account; the number of its owner."""
    (tmp_path / "theirs").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "theirs", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    return (tmp_path / "theirs").stat().st_uid
