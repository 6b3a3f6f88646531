"""The file of the master key, with one key or, during a change, several."""

import os
import stat
from pathlib import Path

import pytest

from chatgpt_agent.adapters.key_file import HEADER, KeyFile, new_key, save_key, write_keys
from chatgpt_agent.adapters.keyring import Keyring, KeyState, read_master_key
from chatgpt_agent.core.errors import KeyUnusable, SetupError
from tests.support.full_disk import full_disk, without_root

FIRST, SECOND = b"\x00\xff binary key of 32 bytes, or so\x01", new_key()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file with one key."""
    write(tmp_path / "key", FIRST)
    return tmp_path / "key"


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


@pytest.mark.parametrize("keys", [[FIRST], [SECOND], [SECOND, FIRST], [SECOND, FIRST, new_key()]])
def test_keys_are_read_as_they_were_written(path: Path, keys: list[bytes]) -> None:
    """In their order; a key may have any bytes."""
    write_keys(path, keys)
    assert KeyFile(path).read() == tuple(keys)
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_one_key_is_written_as_earlier_versions_read_it(path: Path) -> None:
    """After a change the file looks as if nothing had been."""
    write_keys(path, [SECOND])
    assert path.read_bytes() == SECOND + b"\n"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_mode_of_the_file_stays(path: Path, mode: int) -> None:
    """A file that its owner may only read stays so."""
    path.chmod(mode)
    write_keys(path, [SECOND, FIRST])
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_link_to_the_file_stays(path: Path) -> None:
    """The file that it points to is replaced."""
    (path.parent / "link").symlink_to(path)
    write_keys(path.parent / "link", [SECOND, FIRST])
    assert (path.parent / "link").is_symlink()
    assert KeyFile(path).read() == (SECOND, FIRST)


@pytest.mark.parametrize("rest", [b"", b"\nnot base64!\n"])
def test_file_with_a_line_that_is_no_key_is_refused(path: Path, rest: bytes) -> None:
    """A damaged copy is found before it is used."""
    write(path, HEADER + rest)
    with pytest.raises(SetupError, match=r"has no key|has a line that is not a key"):
        KeyFile(path).read()


def test_full_disk_leaves_the_former_file(path: Path) -> None:
    """A failed write leaves neither a part of a file nor a draft."""
    with full_disk(), pytest.raises(SetupError, match="cannot be replaced"):
        write_keys(path, [SECOND, FIRST])
    assert KeyFile(path).read() == (FIRST,)
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_folder_that_cannot_be_written_is_an_error(path: Path) -> None:
    """As that of a secret which the system provides."""
    path.parent.chmod(0o500)
    with without_root(), pytest.raises(SetupError, match="key cannot be replaced: Permission denied"):
        write_keys(path, [SECOND, FIRST])
    path.parent.chmod(0o700)


def test_key_that_is_saved_already_is_left_alone(path: Path) -> None:
    """The command may be run again."""
    save_key(path.parent / "former", FIRST)
    before = (path.parent / "former").stat().st_mtime_ns
    save_key(path.parent / "former", FIRST)
    assert (path.parent / "former").stat().st_mtime_ns == before
    assert read_master_key(path.parent / "former").key_ids == read_master_key(path).key_ids


# Keyrings of it.


def test_changed_file_is_read_again_for_a_key_that_is_not_known(path: Path) -> None:
    """An agent needs no signal."""
    keyring, newer = read_master_key(path), Keyring(SECOND, FIRST)
    newer.use(newer.next_state())
    sealed = newer.encrypt(5, "sk-made-up")
    with pytest.raises(KeyUnusable):
        keyring.decrypt(5, sealed)
    write_keys(path, [SECOND, FIRST])
    assert keyring.decrypt(5, sealed) == "sk-made-up"


def test_unchanged_file_is_not_read_again(path: Path) -> None:
    """A key that cannot be opened costs no more than a look at the file."""
    file = KeyFile(path)
    file.read()
    assert file.read_again() is None
    os.utime(path, ns=(1, 1))
    assert file.read_again() == (FIRST,)


def test_keys_stay_where_the_file_is_gone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An agent that runs goes on; the log says so once."""
    keyring = read_master_key(path)
    path.unlink()
    assert [keyring.refresh(), keyring.refresh()] == [False, False]
    assert [record.message.partition(";")[2] for record in caplog.records] == [" the agent keeps the keys that it has"]


def test_newest_key_is_not_used_before_the_database_says_so() -> None:
    """Agents that do not have it could not read what it encrypted."""
    keyring = Keyring(SECOND, FIRST)
    keyring.use(KeyState(Keyring(FIRST).check_value))
    assert Keyring(FIRST).decrypt(5, keyring.encrypt(5, "sk-made-up")) == "sk-made-up"
    assert keyring.digest("cga_x") == Keyring(FIRST).digest("cga_x")


def test_digests_stay_after_a_change() -> None:
    """Their secrets are encrypted with the newest key, which opens them alone."""
    keyring = Keyring(SECOND, FIRST)
    keyring.use(KeyState(Keyring(FIRST).check_value))
    alone = Keyring(SECOND)
    alone.use(keyring.next_state())
    assert alone.digest("cga_x") == Keyring(FIRST).digest("cga_x")
    assert alone.admin_digest("cgm_x") == Keyring(FIRST).admin_digest("cgm_x")
    assert alone.session_digest("x" * 43) != Keyring(FIRST).session_digest("x" * 43)
    assert alone.cookie_secret != Keyring(FIRST).cookie_secret


def test_secrets_of_another_key_are_refused() -> None:
    """They cannot be planted with access to the database alone."""
    keyring = Keyring(FIRST)
    with pytest.raises(SetupError, match="does not open the secrets of token digests"):
        keyring.use(KeyState(keyring.check_value, Keyring(SECOND).next_state().digest_secrets))


def test_key_that_is_not_in_the_file_is_refused() -> None:
    """A database that is changed to another key, while the agent runs, stops its changes."""
    with pytest.raises(SetupError, match="is not the one that this database uses"):
        Keyring(FIRST).use(Keyring(SECOND).state)
