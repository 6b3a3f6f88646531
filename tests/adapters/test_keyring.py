"""The master key and its uses."""

import base64
import hmac
import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

from chatgpt_agent.adapters.keyring import Keyring, make_master_key, read_master_key
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed
from chatgpt_agent.core.errors import KeyUnusable, SetupError
from tests.support.full_disk import full_disk, without_root

MASTER = b"m" * 32
OTHER = b"o" * 32
UPSTREAM = "sk-made-up"


@pytest.fixture
def keyring() -> Keyring:
    """The keyring of MASTER."""
    return Keyring(MASTER)


# Tokens.


def test_a_new_token_is_well_formed(keyring: Keyring) -> None:
    """A new token has a valid checksum."""
    assert is_well_formed(keyring.new_token()[0])


def test_a_new_token_comes_with_its_digest(keyring: Keyring) -> None:
    """The digest of a new token is the one by which it is looked up."""
    token, digest = keyring.new_token()
    assert keyring.digest(token) == digest


def test_new_tokens_are_different(keyring: Keyring) -> None:
    """A hundred new tokens are all different."""
    assert len({keyring.new_token()[0] for _ in range(100)}) == 100


def test_a_digest_has_32_bytes_and_does_not_contain_the_token(keyring: Keyring) -> None:
    """A digest has the length that the database requires."""
    token, digest = keyring.new_token()
    assert len(digest) == 32
    assert token.encode() not in digest


def test_a_digest_depends_on_the_master_key(keyring: Keyring) -> None:
    """A token cannot be planted or tried with access to the database alone."""
    assert Keyring(OTHER).digest("cga_x") != keyring.digest("cga_x")


def test_a_digest_is_the_same_in_all_versions(keyring: Keyring) -> None:
    """The digest equals that of another implementation of RFC 5869 and HMAC-SHA256, because a change would invalidate
    all tokens."""
    assert keyring.digest("cga_x") == hmac.digest(_subkey(b"token-hmac/1"), b"cga_x", "sha256")


def test_an_admin_token_has_its_own_prefix_and_subkey(keyring: Keyring) -> None:
    """The digest of an admin's token differs from that of a user's token with the same text."""
    token, digest = keyring.new_admin_token()
    assert is_well_formed(token, ADMIN_PREFIX)
    assert not is_well_formed(token)
    assert keyring.admin_digest(token) == digest != keyring.digest(token)


def test_an_admin_digest_is_the_same_in_all_versions(keyring: Keyring) -> None:
    """The digest equals that of another implementation of RFC 5869 and HMAC-SHA256."""
    assert keyring.admin_digest("cgm_x") == hmac.digest(_subkey(b"admin-token-hmac/1"), b"cgm_x", "sha256")


def test_a_secret_of_a_session_has_its_own_subkey(keyring: Keyring) -> None:
    """The digest equals that of another implementation of RFC 5869 and HMAC-SHA256."""
    secret, digest = keyring.new_session()
    assert (
        keyring.session_digest(secret) == digest == hmac.digest(_subkey(b"session-hmac/1"), secret.encode(), "sha256")
    )


@pytest.mark.parametrize("secret", ["", "x" * 42, "x" * 44, "é" * 43])
def test_a_text_that_is_no_secret_of_a_session_has_no_digest(keyring: Keyring, secret: str) -> None:
    """A cookie may have any text."""
    assert keyring.session_digest(secret) is None


# OpenAI keys.


def test_a_key_is_decrypted_for_its_user(keyring: Keyring) -> None:
    """A key that was encrypted for a user is decrypted for the same user."""
    assert keyring.decrypt(5, keyring.encrypt(5, UPSTREAM)) == UPSTREAM


def test_a_key_may_contain_colons(keyring: Keyring) -> None:
    """The first colon separates id and key, further ones are part of the key."""
    assert keyring.decrypt(5, keyring.encrypt(5, "a:b:c")) == "a:b:c"


def test_an_encrypted_key_does_not_contain_the_key(keyring: Keyring) -> None:
    """The stored text contains the key neither as it is nor in base64."""
    encrypted = keyring.encrypt(5, UPSTREAM)
    assert UPSTREAM.encode() not in encrypted
    assert UPSTREAM.encode() not in base64.urlsafe_b64decode(encrypted)


@pytest.mark.parametrize("user", [6, 55, 0, -5])
def test_a_key_copied_to_another_user_is_refused(keyring: Keyring, user: int) -> None:
    """Write access to the database does not allow spending another user's money."""
    with pytest.raises(KeyUnusable, match=f"the stored OpenAI key of user {user} was not encrypted for this user"):
        keyring.decrypt(user, keyring.encrypt(5, UPSTREAM))


def test_a_key_of_another_master_key_is_refused(keyring: Keyring) -> None:
    """The error tells the operator that the master key does not match."""
    with pytest.raises(KeyUnusable, match="was not encrypted for this user with this master key"):
        keyring.decrypt(5, Keyring(OTHER).encrypt(5, UPSTREAM))


@pytest.mark.parametrize("encrypted", [b"", b"not encrypted", UPSTREAM.encode(), b"\xff" * 100])
def test_a_value_that_was_not_encrypted_is_refused(keyring: Keyring, encrypted: bytes) -> None:
    """A key in the clear, added in SQL, is refused, too."""
    with pytest.raises(KeyUnusable):
        keyring.decrypt(5, encrypted)


def test_a_changed_key_is_refused(keyring: Keyring) -> None:
    """An encrypted key with one different bit is not decrypted."""
    encrypted = bytearray(keyring.encrypt(5, UPSTREAM))
    encrypted[len(encrypted) // 2] ^= 1
    with pytest.raises(KeyUnusable):
        keyring.decrypt(5, bytes(encrypted))


def test_an_error_does_not_show_the_key(keyring: Keyring) -> None:
    """The error contains neither the encrypted nor the decrypted key."""
    encrypted = keyring.encrypt(5, UPSTREAM)
    with pytest.raises(KeyUnusable) as caught:
        keyring.decrypt(6, encrypted)
    assert UPSTREAM not in str(caught.value)
    assert encrypted.decode() not in str(caught.value)


# Subkeys.


def test_each_purpose_has_its_own_subkey(keyring: Keyring) -> None:
    """The digests and the check value of a keyring are different, and only one subkey decrypts OpenAI keys."""
    assert len({keyring.digest("x").hex(), keyring.admin_digest("x").hex(), keyring.check_value}) == 3
    encrypted = keyring.encrypt(5, UPSTREAM)
    assert Fernet(_fernet_key(b"upstream-key/1")).decrypt(encrypted) == f"5:{UPSTREAM}".encode()
    for label in (b"token-hmac/1", b"admin-token-hmac/1", b"check/1"):
        with pytest.raises(InvalidToken):
            Fernet(_fernet_key(label)).decrypt(encrypted)


def test_different_master_keys_have_different_check_values(keyring: Keyring) -> None:
    """The check value identifies the master key in the database."""
    assert keyring.check_value == Keyring(MASTER).check_value
    assert keyring.check_value != Keyring(OTHER).check_value


def test_the_repr_shows_no_key(keyring: Keyring) -> None:
    """The repr of a keyring can be logged."""
    assert repr(keyring).startswith("<chatgpt_agent.adapters.keyring.Keyring object at ")


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_short_master_key_is_refused(length: int) -> None:
    """The error gives the actual and the minimum length."""
    with pytest.raises(SetupError, match=f"the master key is too short: {length} bytes, at least 32 are needed"):
        Keyring(b"m" * length)


# The key file.


def test_a_new_key_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The file has mode 0600, whatever the umask is."""
    before = os.umask(0)
    make_master_key(tmp_path / "key")
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_new_key_file_can_be_read(tmp_path: Path) -> None:
    """Every read returns the same key."""
    make_master_key(tmp_path / "key")
    assert read_master_key(tmp_path / "key").check_value == read_master_key(tmp_path / "key").check_value


def test_creating_a_key_leaves_no_draft(tmp_path: Path) -> None:
    """The folder contains the key file only."""
    make_master_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_an_existing_key_is_kept(tmp_path: Path) -> None:
    """A second call does not replace the key."""
    make_master_key(tmp_path / "key")
    first = (tmp_path / "key").read_bytes()
    make_master_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == first


def test_concurrent_calls_create_one_key(tmp_path: Path) -> None:
    """All callers read the same key afterwards, and no draft is left."""
    check_values: list[str] = []

    def make() -> None:
        together.wait()
        make_master_key(tmp_path / "key")
        check_values.append(read_master_key(tmp_path / "key").check_value)

    together = threading.Barrier(8)
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(check_values), len(set(check_values)), len(list(tmp_path.iterdir()))) == (8, 1, 1)


def test_a_full_disk_leaves_no_key(tmp_path: Path) -> None:
    """A failed write leaves neither a part of a key nor a draft."""
    with full_disk(), pytest.raises(SetupError, match="cannot be created"):
        make_master_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_in_a_closed_folder_is_an_error(tmp_path: Path) -> None:
    """The error is one line with the path."""
    (tmp_path / "closed").mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match="closed/key cannot be created: Permission denied"):
        make_master_key(tmp_path / "closed" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o777])
def test_a_key_file_accessible_to_other_accounts_is_refused(tmp_path: Path, mode: int) -> None:
    """The error gives the command that closes the file."""
    _write(tmp_path / "key", MASTER, mode)
    with pytest.raises(SetupError, match=f"is accessible to other accounts: run `chmod 600 {tmp_path}/key`"):
        read_master_key(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_for_its_owner_only_is_read(tmp_path: Path, mode: int) -> None:
    """A file may be read-only."""
    _write(tmp_path / "key", MASTER, mode)
    assert read_master_key(tmp_path / "key").check_value == Keyring(MASTER).check_value


def test_white_space_around_a_key_is_ignored(tmp_path: Path) -> None:
    """An editor may add a line break."""
    _write(tmp_path / "key", b"\n" + MASTER + b"\r\n")
    assert read_master_key(tmp_path / "key").check_value == Keyring(MASTER).check_value


@pytest.mark.parametrize("content", [b"", b"short", b" " * 40])
def test_a_key_file_with_a_short_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """White space does not count as part of the key."""
    _write(tmp_path / "key", content)
    with pytest.raises(SetupError, match="too short"):
        read_master_key(tmp_path / "key")


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    """The error contains the path."""
    with pytest.raises(SetupError, match=f"the master key {tmp_path}/key cannot be read: No such file"):
        read_master_key(tmp_path / "key")


def _subkey(label: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), MASTER, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")


def _fernet_key(label: bytes) -> bytes:
    return base64.urlsafe_b64encode(_subkey(label))


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)
