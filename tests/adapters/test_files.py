"""Folders and files of the data directory: owners, modes, and errors."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from chatgpt_agent.adapters.files import file_exists, give_to_folder_owner, make_folder, read_secret_file
from chatgpt_agent.core.errors import SetupError
from tests.support.full_disk import without_root


def test_a_new_folder_is_accessible_to_its_owner_only(tmp_path: Path) -> None:
    """A new folder and missing parents are created; the folder has mode 0700."""
    make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_new_parents_cannot_be_changed_by_others(tmp_path: Path) -> None:
    """The folder of the embedded database creates `data_dir`, in which others could replace the master key."""
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a/b")] == [0o755, 0o755]


def test_an_existing_folder_is_unchanged(tmp_path: Path) -> None:
    """The mode of an existing folder is the operator's choice."""
    (tmp_path / "a").mkdir(mode=0o750)
    make_folder(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_a_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    """The error contains the path."""
    (tmp_path / "a").write_text("")
    with pytest.raises(SetupError, match=rf"the folder {tmp_path}/a/b cannot be created"):
        make_folder(tmp_path / "a" / "b")


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    """The error says so."""
    (tmp_path / "a").write_text("")
    with pytest.raises(SetupError, match=f"^{tmp_path}/a is not a folder$"):
        make_folder(tmp_path / "a")


def test_a_folder_below_a_closed_folder_is_an_error(tmp_path: Path) -> None:
    """The error says that permission is denied."""
    (tmp_path / "closed").mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match="closed/data cannot be created: Permission denied"):
        make_folder(tmp_path / "closed" / "data")


def test_a_file_that_cannot_be_seen_is_no_missing_file(tmp_path: Path) -> None:
    """In a closed folder neither answer is known, with each version of Python."""
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "file").write_text("")
    assert [file_exists(tmp_path / name) for name in ("file", "missing", "file/below")] == [True, False, False]
    with without_root(), pytest.raises(PermissionError):
        file_exists(tmp_path / "closed" / "data")


def test_a_folder_created_by_root_belongs_to_the_owner_of_its_parent(tmp_path: Path) -> None:
    """A server that runs as that account can open it; without root the owner stays."""
    owner = _folder_of_another_account(tmp_path)
    make_folder(tmp_path / "theirs" / "made")
    assert (tmp_path / "theirs" / "made").stat().st_uid == owner


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The target of a link in the folder keeps its owner."""
    _folder_of_another_account(tmp_path)
    (tmp_path / "passwd").write_text("root's")
    (tmp_path / "theirs" / "start-stop.lock").symlink_to(tmp_path / "passwd")
    give_to_folder_owner(tmp_path / "theirs" / "start-stop.lock")
    assert (tmp_path / "passwd").stat().st_uid == os.geteuid()


def _folder_of_another_account(tmp_path: Path) -> int:
    """As root, creates a folder of another account; returns the id of its owner."""
    (tmp_path / "theirs").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "theirs", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    return (tmp_path / "theirs").stat().st_uid


@pytest.mark.parametrize(("mode", "is_accepted"), [(0o400, True), (0o440, True), (0o640, False), (0o444, False)])
def test_secret_in_the_folder_of_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_accepted: bool
) -> None:
    """systemd's files have the mode 0440 where the service has an account of its own; others are as elsewhere."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = tmp_path / "master.key"
    path.write_text("made-up-secret")
    path.chmod(mode)
    if is_accepted:
        assert read_secret_file(path, "the secret") == b"made-up-secret"
    else:
        with pytest.raises(SetupError, match="is accessible to other accounts"):
            read_secret_file(path, "the secret")


def test_link_out_of_the_folder_of_credentials_is_no_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be in a folder that other accounts can enter."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    path = tmp_path / "secret"
    path.write_text("made-up-secret")
    path.chmod(0o440)
    (folder / "secret").symlink_to(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with pytest.raises(SetupError, match="is accessible to other accounts"):
        read_secret_file(folder / "secret", "the secret")
