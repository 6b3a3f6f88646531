"""The master key and what is derived from it."""

import base64
import hmac
import os
import stat
import threading
from pathlib import Path

import pytest

from chatgpt_agent.adapters.keyring import Keyring, make_master_key, read_master_key
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed
from chatgpt_agent.core.errors import KeyUnusable, SetupError
from tests.support.full_disk import full_disk, without_root

MASTER = b"m" * 32
OTHER = b"o" * 32
UPSTREAM = "sk-made-up"


@pytest.fixture
def keyring() -> Keyring:
    """What one master key can do."""
    return Keyring(MASTER)


# Tokens.


def test_a_new_token_is_one_of_ours(keyring: Keyring) -> None:
    """With its checksum, so that the request path takes it."""
    assert is_well_formed(keyring.new_token()[0])


def test_a_new_token_comes_with_its_digest(keyring: Keyring) -> None:
    """It is what the token will be found by."""
    token, digest = keyring.new_token()
    assert keyring.digest(token) == digest


def test_no_two_tokens_are_the_same(keyring: Keyring) -> None:
    """They are random."""
    assert len({keyring.new_token()[0] for _ in range(100)}) == 100


def test_a_digest_has_32_bytes_that_show_nothing_of_the_token(keyring: Keyring) -> None:
    """As PostgreSQL's column demands."""
    token, digest = keyring.new_token()
    assert len(digest) == 32
    assert token.encode() not in digest


def test_a_digest_needs_the_master_key(keyring: Keyring) -> None:
    """Whoever can write the database cannot plant a token, and whoever has a dump cannot try one."""
    assert Keyring(OTHER).digest("cga_x") != keyring.digest("cga_x")


def test_a_digest_stays_the_same_from_version_to_version(keyring: Keyring) -> None:
    """All issued tokens would end if it did not. RFC 5869 and HMAC-SHA256, done by another library."""
    extracted = hmac.digest(bytes(32), MASTER, "sha256")
    subkey = hmac.digest(extracted, b"token-hmac/1\x01", "sha256")
    assert keyring.digest("cga_x") == hmac.digest(subkey, b"cga_x", "sha256")


def test_an_administrators_token_has_a_prefix_and_a_key_of_its_own(keyring: Keyring) -> None:
    """The digest of one kind is never that of the other, whatever text somebody sends."""
    token, digest = keyring.new_admin_token()
    assert is_well_formed(token, ADMIN_PREFIX)
    assert not is_well_formed(token)
    assert keyring.admin_digest(token) == digest != keyring.digest(token)


def test_an_administrators_digest_stays_the_same_from_version_to_version(keyring: Keyring) -> None:
    """As that of a user's."""
    extracted = hmac.digest(bytes(32), MASTER, "sha256")
    subkey = hmac.digest(extracted, b"admin-token-hmac/1\x01", "sha256")
    assert keyring.admin_digest("cgm_x") == hmac.digest(subkey, b"cgm_x", "sha256")


# OpenAI keys.


def test_a_key_is_opened_for_its_user(keyring: Keyring) -> None:
    """What was sealed for them."""
    assert keyring.decrypt(5, keyring.encrypt(5, UPSTREAM)) == UPSTREAM


def test_a_key_may_hold_the_sign_between_id_and_key(keyring: Keyring) -> None:
    """A colon in it belongs to it."""
    assert keyring.decrypt(5, keyring.encrypt(5, "a:b:c")) == "a:b:c"


def test_a_key_is_not_readable_where_it_is_stored(keyring: Keyring) -> None:
    """It is encrypted, not encoded."""
    sealed = keyring.encrypt(5, UPSTREAM)
    assert UPSTREAM.encode() not in sealed
    assert UPSTREAM.encode() not in base64.urlsafe_b64decode(sealed)


@pytest.mark.parametrize("user", [6, 55, 0, -5])
def test_a_key_that_was_copied_to_another_user_is_refused(keyring: Keyring, user: int) -> None:
    """Whoever can write the database could else spend another's money."""
    with pytest.raises(KeyUnusable, match=f"the stored OpenAI key of user {user} was not encrypted for this user"):
        keyring.decrypt(user, keyring.encrypt(5, UPSTREAM))


def test_a_key_of_another_master_key_is_refused(keyring: Keyring) -> None:
    """With a line for the operator."""
    with pytest.raises(KeyUnusable, match="was not encrypted for this user with this master key"):
        keyring.decrypt(5, Keyring(OTHER).encrypt(5, UPSTREAM))


@pytest.mark.parametrize("sealed", [b"", b"not sealed", UPSTREAM.encode(), b"\xff" * 100])
def test_what_was_never_sealed_is_refused(keyring: Keyring, sealed: bytes) -> None:
    """A key in the clear, put there by hand, too."""
    with pytest.raises(KeyUnusable):
        keyring.decrypt(5, sealed)


def test_a_key_that_was_changed_is_refused(keyring: Keyring) -> None:
    """In any of its bits."""
    sealed = bytearray(keyring.encrypt(5, UPSTREAM))
    sealed[len(sealed) // 2] ^= 1
    with pytest.raises(KeyUnusable):
        keyring.decrypt(5, bytes(sealed))


def test_a_refusal_shows_no_key(keyring: Keyring) -> None:
    """Neither the sealed one nor the one inside."""
    sealed = keyring.encrypt(5, UPSTREAM)
    with pytest.raises(KeyUnusable) as caught:
        keyring.decrypt(6, sealed)
    assert UPSTREAM not in str(caught.value)
    assert sealed.decode() not in str(caught.value)


# Subkeys.


def test_each_purpose_has_a_key_of_its_own(keyring: Keyring) -> None:
    """What one signs, the other never accepts: the check value opens nothing, and is no digest."""
    token_key, admin_key, fernet = keyring._token_key, keyring._admin_key, keyring._fernet
    subkeys = {
        token_key,
        admin_key,
        fernet._signing_key + fernet._encryption_key,
        bytes.fromhex(keyring.check_value),
        MASTER,
    }
    assert len(subkeys) == 5


def test_the_check_value_tells_master_keys_apart(keyring: Keyring) -> None:
    """It is what the database remembers of the key."""
    assert keyring.check_value == Keyring(MASTER).check_value
    assert keyring.check_value != Keyring(OTHER).check_value


def test_a_keyring_shows_nothing_of_itself(keyring: Keyring) -> None:
    """In a log line, say."""
    assert repr(keyring).startswith("<chatgpt_agent.adapters.keyring.Keyring object at ")


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_short_master_key_is_refused(length: int) -> None:
    """With how long it is, and how long it must be."""
    with pytest.raises(SetupError, match=f"the master key is too short: {length} bytes, at least 32 are needed"):
        Keyring(b"m" * length)


# The file.


def test_a_key_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """0600, whatever the umask says."""
    before = os.umask(0)
    make_master_key(tmp_path / "key")
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_key_file_that_was_made_can_be_read(tmp_path: Path) -> None:
    """And it is always the same key."""
    make_master_key(tmp_path / "key")
    assert read_master_key(tmp_path / "key").check_value == read_master_key(tmp_path / "key").check_value


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    """The draft is gone, so a backup has the key once."""
    make_master_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    """A second maker never takes its place."""
    make_master_key(tmp_path / "key")
    first = (tmp_path / "key").read_bytes()
    make_master_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == first


def test_many_makers_at_once_end_with_one_key(tmp_path: Path) -> None:
    """Everyone reads the same afterwards, and no draft is left."""
    found: list[str] = []

    def make() -> None:
        together.wait()
        make_master_key(tmp_path / "key")
        found.append(read_master_key(tmp_path / "key").check_value)

    together = threading.Barrier(8)
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), len(list(tmp_path.iterdir()))) == (8, 1, 1)


def test_a_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    """A full disk leaves neither half a key nor a draft."""
    with full_disk(), pytest.raises(SetupError, match="cannot be made"):
        make_master_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_in_a_folder_of_another_account_is_not_made(tmp_path: Path) -> None:
    """In one line, and without a traceback."""
    (tmp_path / "closed").mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match="closed/key cannot be made: Permission denied"):
        make_master_key(tmp_path / "closed" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o777])
def test_a_key_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """To the group or to everybody, for reading or for writing; it says how to close it."""
    _write(tmp_path / "key", MASTER, mode)
    with pytest.raises(SetupError, match=f"is accessible to other accounts: run `chmod 600 {tmp_path}/key`"):
        read_master_key(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_for_its_owner_is_read(tmp_path: Path, mode: int) -> None:
    """Read-only is fine."""
    _write(tmp_path / "key", MASTER, mode)
    assert read_master_key(tmp_path / "key").check_value == Keyring(MASTER).check_value


def test_white_space_around_a_key_does_not_count(tmp_path: Path) -> None:
    """An editor adds a line's end."""
    _write(tmp_path / "key", b"\n" + MASTER + b"\r\n")
    assert read_master_key(tmp_path / "key").check_value == Keyring(MASTER).check_value


@pytest.mark.parametrize("content", [b"", b"short", b" " * 40])
def test_a_key_file_with_too_little_in_it_is_refused(tmp_path: Path, content: bytes) -> None:
    """White space is not a key."""
    _write(tmp_path / "key", content)
    with pytest.raises(SetupError, match="too short"):
        read_master_key(tmp_path / "key")


def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(SetupError, match=f"the master key {tmp_path}/key cannot be read: No such file"):
        read_master_key(tmp_path / "key")


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)
